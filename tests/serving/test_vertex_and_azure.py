"""Vertex AI and Azure ML: the container as each platform starts it, asked as each platform asks.

Their client libraries talk to the platform, never to a container, so the contract that they document is HTTP.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from examples.flights.air_time import air_time
from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import BundleError, DeclarationError
from mlops_assets.state.workspace import Workspace
from serving.platforms import platform_of
from tests.serving.conftest import a_row
from tests.serving.running_api import RunningServer, a_server
from tests.tiny_bundle import write_tiny_folder

ROWS = [{**a_row(), "flight": number} for number in (1, 2)]


@pytest.fixture(scope="module")
def vertex(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("vertex")
    write_tiny_folder(folder / "bundle", air_time, 5, bias=120)
    variables = {
        "AIP_HTTP_PORT": "0",
        "AIP_HEALTH_ROUTE": "/healthz",
        "AIP_PREDICT_ROUTE": "/v1/endpoints/1/deployedModels/2:predict",
        "AIP_STORAGE_URI": f"file://{folder / 'bundle'}",
    }
    with tempfile.TemporaryFile("w+") as output, a_server(Workspace(folder / "home"), output, **variables) as server:
        yield server


def test_vertex_gets_a_prediction_per_instance_on_the_route_it_named(vertex: RunningServer) -> None:
    route = f"{vertex.address}/v1/endpoints/1/deployedModels/2:predict"

    answer = httpx.post(route, json={"instances": [*ROWS, list(a_row().values())], "parameters": {}})

    assert answer.status_code == 200
    assert [item["value"] for item in answer.json()["predictions"]] == [120, 120, 120]
    assert answer.json()["deployedModelId"] == "air_time-5"


def test_vertex_s_health_route_tells_when_the_model_is_warm(vertex: RunningServer) -> None:
    assert httpx.get(f"{vertex.address}/healthz").status_code == 200


def test_vertex_is_refused_as_google_s_apis_refuse(vertex: RunningServer) -> None:
    answer = httpx.post(f"{vertex.address}/v1/endpoints/1/deployedModels/2:predict", json={"rows": []})

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == 400
    assert "instances" in answer.json()["error"]["message"]


@pytest.mark.parametrize("route", ["/v1/models/air_time/labels", "/{model}"])
def test_a_route_that_cannot_be_vertex_s_is_said_in_one_sentence(tmp_path: Path, route: str) -> None:
    write_tiny_folder(tmp_path / "bundle", air_time)
    variables = {
        "MLOPS_HOME": str(tmp_path / "home"),
        "AIP_HTTP_PORT": "0",
        "AIP_PREDICT_ROUTE": route,
        "AIP_STORAGE_URI": f"file://{tmp_path / 'bundle'}",
    }
    ended = subprocess.run(
        [sys.executable, "-m", "serving"], env={**os.environ, **variables}, capture_output=True, text=True, timeout=90
    )

    assert ended.returncode == 2
    assert ended.stderr.startswith("DeclarationError: the routes cannot be built")
    assert ended.stderr.count("\n") == 1


def test_beyond_vertex_s_routes_a_key_is_needed(vertex: RunningServer) -> None:
    assert httpx.post(f"{vertex.address}/v1/models/air_time/predict", json={"rows": ROWS}).status_code == 401


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("azure")
    write_tiny_folder(folder / "model" / "flight_delay", flight_delay, 2)
    variables = {"AZUREML_MODEL_DIR": str(folder / "model"), "MLOPS_PORT": "0"}
    with tempfile.TemporaryFile("w+") as output, a_server(Workspace(folder / "home"), output, **variables) as server:
        yield server


@pytest.mark.parametrize(
    "body",
    [
        {"input_data": {"columns": list(a_row()), "index": [0, 1], "data": [list(row.values()) for row in ROWS]}},
        {"input_data": ROWS},
        {"data": ROWS},
    ],
    ids=["split", "records", "data"],
)
def test_azure_gets_a_list_of_predictions(azure: RunningServer, body: dict[str, object]) -> None:
    answer = httpx.post(f"{azure.address}/score", json=body, headers={"x-ms-client-request-id": "abc"})

    assert answer.status_code == 200
    assert [item["probability"] for item in answer.json()] == [0.5, 0.5]
    assert answer.headers["x-ms-client-request-id"] == "abc"


def test_azure_asks_for_liveness_and_readiness_apart(azure: RunningServer) -> None:
    assert httpx.get(f"{azure.address}/livez").status_code == 200
    assert httpx.get(f"{azure.address}/readyz").status_code == 200


def test_azure_is_refused_in_its_own_shape(azure: RunningServer) -> None:
    answer = httpx.post(f"{azure.address}/score", json={"input_data": [{**a_row(), "carrier": "UAA"}]})

    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "InvalidRows"
    assert "Did you mean 'UA'?" in answer.json()["error"]["message"]


def test_a_bucket_s_address_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="name its folder in MLOPS_BUNDLE"):
        platform_of({"AIP_HTTP_PORT": "8080", "AIP_STORAGE_URI": "gs://bucket/model"})


def test_several_bundles_in_one_folder_are_refused(tmp_path: Path) -> None:
    for version in (1, 2):
        write_tiny_folder(tmp_path / str(version), air_time, version)

    with pytest.raises(BundleError, match="contains 2 bundles"):
        platform_of({"AZUREML_MODEL_DIR": str(tmp_path)})


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(DeclarationError, match="there is no argument 'train'"):
        platform_of({}, ["train"])


def test_on_a_machine_of_one_s_own_there_is_no_platform() -> None:
    assert platform_of({}) is None
