"""MLflow's scoring protocol, spoken by MLflow's own client to the API as a process."""

import json
import tempfile
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pandas as pd
import pytest

from examples.flights.air_time import air_time
from mlops_assets.state.workspace import Workspace
from serving.protocols.mlflow import PROTOCOL_VERSION
from tests.serving.conftest import a_row
from tests.serving.running_api import Json, RunningServer, a_server
from tests.tiny_bundle import deploy_tiny

ROWS = [{**a_row(), "flight": number, "seats": 20 * number} for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    workspace = Workspace(tmp_path_factory.mktemp("mlflow"))
    deploy_tiny(workspace.of(air_time), weight=1e-2, bias=30)
    with tempfile.TemporaryFile("w+") as output, a_server(workspace, output, MLOPS_PRODUCT="air_time") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns of its own type hints when it is imported
        from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    parts = urlsplit(server.address)
    return ScoringServerClient(parts.hostname, parts.port)


@pytest.fixture(scope="module")
def expected(server: RunningServer) -> list[float]:
    return native(server, ROWS)


def native(server: RunningServer, rows: list[Json]) -> list[float]:
    answer = httpx.post(f"{server.address}/v1/models/air_time/predict", json={"rows": rows}).raise_for_status()
    return [item["value"] for item in answer.json()["predictions"]]


def values(predictions: Any) -> list[float]:
    return [float(value) for value in predictions["value"]]


def test_mlflow_s_client_pings_and_knows_the_version(client: Any) -> None:
    client.wait_server_ready(timeout=10)

    assert client.get_version() == PROTOCOL_VERSION
    assert version("mlflow").split(".")[0] == PROTOCOL_VERSION.split(".")[0]


def test_a_data_frame_is_answered_as_the_native_route_does(client: Any, expected: list[float]) -> None:
    assert values(client.invoke(pd.DataFrame(ROWS)).get_predictions()) == expected


def test_timestamps_and_gaps_of_a_data_frame_arrive(client: Any, server: RunningServer) -> None:
    frame = pd.DataFrame([{**ROWS[0], "seats": np.nan}, ROWS[1]])
    frame["scheduled_departure"] = pd.to_datetime(frame["scheduled_departure"])

    # MLflow's client writes the gap as a bare NaN, and with it whole numbers of the column as 40.0
    predictions = client.invoke(frame).get_predictions()

    assert values(predictions) == native(server, [{**ROWS[0], "seats": None}, ROWS[1]])


@pytest.mark.parametrize(
    "body",
    [
        {
            "dataframe_split": {
                "columns": list(ROWS[0]),
                "index": [0, 1, 2],
                "data": [list(row.values()) for row in ROWS],
            }
        },
        {"dataframe_records": ROWS},
        {"inputs": {name: [row[name] for row in ROWS] for name in ROWS[0]}},
        {"inputs": ROWS},
        {"instances": ROWS},
        {"instances": [list(row.values()) for row in ROWS]},
    ],
    ids=["split", "records", "inputs by column", "inputs by row", "instances", "instances as lists"],
)
def test_every_format_is_answered_alike(client: Any, body: Json, expected: list[float]) -> None:
    assert values(client.invoke(json.dumps(body)).get_predictions()) == expected


def test_csv_as_pandas_writes_it_is_answered_alike(server: RunningServer) -> None:
    rows = [{**ROWS[0], "seats": None}, ROWS[1]]
    text = pd.DataFrame(rows).to_csv(index=False)  # a gap is an empty cell, 40 becomes 40.0

    answer = httpx.post(f"{server.address}/invocations", content=text, headers={"content-type": "text/csv"})

    assert [item["value"] for item in answer.json()["predictions"]] == native(server, rows)


def invoke(server: RunningServer, content: bytes, kind: str = "application/json") -> httpx.Response:
    return httpx.post(f"{server.address}/invocations", content=content, headers={"content-type": kind})


@pytest.mark.parametrize("body", [b"{}", b'{"inputs": [], "instances": []}', b'{"rows": []}', b"[1]", b"7"])
def test_exactly_one_input_field_is_asked_for(server: RunningServer, body: bytes) -> None:
    answer = invoke(server, body)

    assert (answer.status_code, answer.json()["error_code"]) == (400, "BAD_REQUEST")
    assert "exactly one of the input fields" in answer.json()["message"]


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/json; charset=latin-1"])
def test_other_media_types_are_415_in_plain_text(server: RunningServer, kind: str) -> None:
    answer = invoke(server, b'{"inputs": []}', kind)

    assert answer.status_code == 415
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"instances": [NaN}', "not JSON"),
        (b'{"instances": ["\xff"]}', "not JSON"),
        (b'{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}', "row 0 does not have 1 values"),
        (b'{"dataframe_split": {"columns": ["a", "a"], "data": []}}', "a split table is"),
        (b'{"inputs": {"a": [1], "b": [1, 2]}}', "lists of equal length"),
        (b'{"instances": [[1]]}', "neither an object nor a list of 8 values"),
    ],
)
def test_tables_that_do_not_hold_together_are_refused(server: RunningServer, body: bytes, says: str) -> None:
    answer = invoke(server, body)

    assert answer.status_code == 400
    assert says in answer.json()["message"]


def test_rows_that_do_not_fit_are_refused_in_mlflow_s_words_with_the_field(server: RunningServer) -> None:
    infinite = (
        b'{"instances": [%s]}'
        % str({**a_row(), "distance": 1}).replace("'", '"').replace("1,", "Infinity,", 1).encode()
    )
    unknown = invoke(server, b'{"dataframe_records": [{"carrier": "UAA"}]}')

    assert (unknown.status_code, unknown.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "Did you mean 'UA'?" in unknown.json()["message"]
    assert invoke(server, infinite).status_code == 400


def test_with_several_products_the_route_says_what_to_do(two_products: RunningServer) -> None:
    answer = httpx.post(f"{two_products.address}/invocations", json={"instances": [a_row()]})

    assert answer.status_code == 400
    assert "Start it with MLOPS_PRODUCT" in answer.json()["message"]
