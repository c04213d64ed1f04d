"""SageMaker: boto3's own client against the API, and the container started as SageMaker starts it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from examples.flights.flight_delay import flight_delay
from mlops_assets.state.workspace import Workspace
from tests.serving.conftest import a_row
from tests.serving.running_api import Json, RunningServer, a_server
from tests.tiny_bundle import write_tiny_folder

ROWS = [{**a_row(), "flight": number, "seats": 20 * number} for number in (1, 2)]


@pytest.fixture(scope="module")
def runtime(two_products: RunningServer) -> Any:
    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=two_products.address,
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=Config(retries={"total_max_attempts": 1}),
    )


def native(server: RunningServer, product: str) -> list[Json]:
    answer = httpx.post(f"{server.address}/v1/models/{product}/predict", json={"rows": ROWS}).raise_for_status()
    found: list[Json] = answer.json()["predictions"]
    return found


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", json.dumps({"instances": ROWS})),
        ("application/jsonlines", "\n".join(map(json.dumps, ROWS))),
        ("text/csv", "\n".join([",".join(ROWS[0]), *(",".join(map(str, row.values())) for row in ROWS)])),
        # SageMaker's own algorithms know no header: the required fields in their order
        ("text/csv", "\n".join(",".join(map(str, row.values())) for row in ROWS)),
    ],
    ids=["json", "json lines", "csv", "csv without header"],
)
def test_boto3_gets_what_the_native_route_answers(
    runtime: Any, two_products: RunningServer, kind: str, body: str
) -> None:
    answer = runtime.invoke_endpoint(EndpointName="air_time", ContentType=kind, Body=body)

    assert answer["InvokedProductionVariant"] == "version-7"
    found = json.loads(answer["Body"].read())["predictions"]
    assert [item["value"] for item in found] == [item["value"] for item in native(two_products, "air_time")]


def test_the_answer_comes_as_accept_asks(runtime: Any, two_products: RunningServer) -> None:
    asked = {"EndpointName": "flight_delay", "ContentType": "application/json", "Body": json.dumps({"inputs": ROWS})}

    as_lines = runtime.invoke_endpoint(**asked, Accept="application/jsonlines")["Body"].read().splitlines()
    as_csv = runtime.invoke_endpoint(**asked, Accept="text/csv")["Body"].read().decode().splitlines()

    probabilities = [item["probability"] for item in native(two_products, "flight_delay")]
    assert [json.loads(line)["probability"] for line in as_lines] == probabilities
    column = as_csv[0].split(",").index("probability")
    assert [float(line.split(",")[column]) for line in as_csv[1:]] == probabilities


@pytest.mark.parametrize(
    ("endpoint", "body", "says"),
    [
        ("air_tim", b"{}", "Did you mean 'air_time'"),
        ("air_time", b"{}", "exactly one of the input fields"),
        ("air_time", b'{"instances": [{"carrier": "UAA"}]}', "Did you mean 'UA'"),
    ],
)
def test_refusals_are_validation_errors_to_boto3(runtime: Any, endpoint: str, body: bytes, says: str) -> None:
    with pytest.raises(ClientError) as refused:
        runtime.invoke_endpoint(EndpointName=endpoint, ContentType="application/json", Body=body)

    assert refused.value.response["Error"]["Code"] == "ValidationError"
    assert says in refused.value.response["Error"]["Message"]


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """`docker run <image> serve`, with the model folder mounted and nothing else told."""
    folder = tmp_path_factory.mktemp("sagemaker")
    write_tiny_folder(folder / "model" / "3", flight_delay, 3, weight=1e-4)
    variables = {"SM_MODEL_DIR": str(folder / "model"), "SAGEMAKER_BIND_TO_PORT": "0", "MLOPS_PORT": ""}
    with (
        tempfile.TemporaryFile("w+") as output,
        a_server(Workspace(folder / "home"), output, ("-m", "serving", "serve"), **variables) as server,
    ):
        yield server


def test_a_method_that_the_route_does_not_take_is_the_client_s_fault(two_products: RunningServer) -> None:
    answer = httpx.get(f"{two_products.address}/endpoints/flight_delay/invocations")

    assert answer.status_code == 400
    assert answer.headers["x-amzn-errortype"] == "ValidationError"
    assert answer.json()["OriginalStatusCode"] == 405


def test_the_container_pings_and_answers_invocations_without_a_key(container: RunningServer) -> None:
    ping = httpx.get(f"{container.address}/ping")
    answer = httpx.post(f"{container.address}/invocations", json={"instances": ROWS})

    assert (ping.status_code, answer.status_code) == (200, 200)
    assert len(answer.json()["predictions"]) == 2


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/v2/models/flight_delay", "/reports/a.html", "/schema"])
def test_what_is_not_of_the_platform_s_contract_needs_a_key(container: RunningServer, path: str) -> None:
    assert httpx.get(f"{container.address}{path}").status_code == 401


def test_a_model_folder_without_a_bundle_is_said_in_one_line(tmp_path: Path) -> None:
    variables = {**os.environ, "SM_MODEL_DIR": str(tmp_path), "MLOPS_HOME": str(tmp_path / "home")}

    ended = subprocess.run(
        [sys.executable, "-m", "serving", "serve"], env=variables, capture_output=True, text=True, timeout=30
    )

    assert ended.returncode == 2
    assert ended.stderr.startswith("BundleError: ")
    assert "contains no bundles" in ended.stderr
