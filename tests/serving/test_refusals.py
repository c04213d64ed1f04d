"""What the API says to a request it does not answer: a problem document that names row, field and remedy."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from litestar import Litestar
from litestar.testing import TestClient

from examples.flights.flight_delay import flight_delay
from mlops_assets.state.workspace import Workspace
from serving.decoding import BodyDecoder
from serving.errors import Refused
from serving.schemas import body_schema
from tests.serving.running_api import Json, a_client
from tests.tiny_bundle import deploy_tiny

PREDICT = "/v1/models/flight_delay/predict"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient[Litestar]]:
    workspace = Workspace(tmp_path_factory.mktemp("refusals"))
    deploy_tiny(workspace.of(flight_delay))
    with a_client(workspace) as client:
        yield client


def refusal(
    client: TestClient[Litestar],
    status: int,
    body: bytes | Json,
    content_type: str = "application/json",
    **headers: str,
) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(PREDICT, content=content, headers={"content-type": content_type, **headers})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert {"type", "title", "detail", "errors"} < set(problem)
    return problem


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("carrier", "UAA", "Did you mean 'UA'?"),
        ("carrier", 7, "7 is not one of the choices"),
        ("carrier", None, "null is not one of the choices"),
        ("flight", "1545", '"1545" is not a whole number from 1 to 9999'),
        ("flight", 0, "0 is not a whole number from 1 to 9999"),
        ("flight", 10_000, "10000 is not a whole number from 1 to 9999"),
        ("flight", 10**30, "is not a whole number from 1 to 9999"),
        ("flight", 1.5, "1.5 is not a whole number"),
        ("flight", True, "true is not a whole number"),
        ("distance", None, "null is not a whole number from 1 to 6000 (mi)"),
        ("dest", "X" * 1_001, "is not a text of at most 1,000 characters"),
        ("scheduled_departure", "2013-07-04T11:15:00", "has no time zone"),
        ("scheduled_departure", "yesterday", "is not an ISO 8601 timestamp"),
        ("scheduled_departure", 1_372_936_500, "is not an ISO 8601 timestamp"),
        ("scheduled_departure", "0001-01-01T00:00:00+14:00", "outside the calendar"),
        ("temperature", float("nan"), "temperature is nan, which is not a JSON number"),
        ("temperature", float("inf"), "temperature is inf, which is not a JSON number"),
        ("temperature", 1e300, "1e+300 is not a number"),
        ("temperature", "warm", '"warm" is not a number'),
        ("prediction_id", 7, "7 is not a text"),
    ],
)
def test_a_wrong_value_is_refused_by_row_and_field(
    client: TestClient[Litestar], row: Json, field: str, value: object, says: str
) -> None:
    problem = refusal(client, 422, {"rows": [row, {**row, field: value}]})

    (fault,) = problem["errors"]
    assert (fault["row"], fault["field"]) == (1, field)
    assert says in fault["problem"]
    assert fault["problem"] in problem["detail"]


def test_an_unknown_carrier_names_the_choices(client: TestClient[Litestar], row: Json) -> None:
    (fault,) = refusal(client, 422, {"rows": [{**row, "carrier": "U"}]})["errors"]

    assert fault["choices"] == list(flight_delay.source.main.column("carrier").choices)


def test_a_missing_field_says_what_to_give(client: TestClient[Litestar], row: Json) -> None:
    del row["seats"]

    (fault,) = refusal(client, 422, {"rows": [row]})["errors"]

    assert fault["problem"] == "seats is missing. Give a whole number from 1 to 900 or null, such as 149."


def test_an_extra_field_says_which_exist_and_what_was_meant(client: TestClient[Litestar], row: Json) -> None:
    (fault,) = refusal(client, 422, {"rows": [{**row, "seat": 1}]})["errors"]

    assert (fault["row"], fault["field"]) == (0, "seat")
    assert "Did you mean 'seats'?" in fault["problem"]


def test_every_fault_of_a_request_is_listed(client: TestClient[Litestar], row: Json) -> None:
    problem = refusal(client, 422, {"rows": [{**row, "carrier": "ZZ", "flight": 0}, row, "no row"]})

    assert [(fault["row"], fault["field"]) for fault in problem["errors"]] == [(0, "carrier"), (0, "flight"), (2, None)]


def test_one_prediction_id_for_two_rows_is_refused(client: TestClient[Litestar], row: Json) -> None:
    named = {**row, "prediction_id": "a"}

    (fault,) = refusal(client, 422, {"rows": [named, named]})["errors"]

    assert fault["field"] == "prediction_id"


@pytest.mark.parametrize("body", [{"rows": []}, {}, {"rows": None}, {"rows": {}}])
def test_no_rows_are_refused(client: TestClient[Litestar], body: Json) -> None:
    (fault,) = refusal(client, 422, body)["errors"]

    assert fault["field"] == "rows"


def test_a_second_member_beside_rows_is_refused(client: TestClient[Litestar], row: Json) -> None:
    (fault,) = refusal(client, 422, {"rows": [row], "rowz": []})["errors"]

    assert (fault["row"], fault["field"]) == (None, "rowz")


def test_too_many_rows_are_refused_with_the_limit(client: TestClient[Litestar], row: Json) -> None:
    problem = refusal(client, 413, {"rows": [row] * (flight_delay.serving.max_rows + 1)})

    assert problem["detail"] == "10,001 rows in one request; flight_delay takes at most 10,000."


def test_a_body_above_the_limit_is_refused(client: TestClient[Litestar]) -> None:
    problem = refusal(client, 413, b" " * 20_100_000)

    assert "several requests" in problem["detail"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b'{"rows": [', "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'"rows"', "not a JSON object"),
        (b"\xff\xfe", "not JSON"),
        (b'{"rows": ["\xff"]}', "not UTF-8"),
        (b"[" * 100_000 + b"]" * 100_000, "that cannot be read"),
        (b'{"rows": [{"flight": ' + b"9" * 5_000 + b"}]}", "that cannot be read"),
    ],
    ids=["empty", "cut off", "a list", "a text", "no text", "half a letter", "deep", "long number"],
)
def test_a_body_that_is_no_json_object_is_refused(client: TestClient[Litestar], body: bytes, says: str) -> None:
    problem = refusal(client, 400, body)

    assert says in problem["detail"]


def test_other_content_types_are_refused(client: TestClient[Litestar], row: Json) -> None:
    problem = refusal(client, 415, {"rows": [row]}, content_type="text/plain")

    assert "'text/plain'" in problem["detail"]
    assert "application/json" in problem["detail"]


def test_compressed_bodies_are_refused(client: TestClient[Litestar]) -> None:
    refusal(client, 415, b"\x1f\x8b", **{"content-encoding": "gzip"})


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/models/flight_dely/predict"), ("GET", "/v1/models/flight_dely")]
)
def test_an_unknown_product_names_the_known_ones(client: TestClient[Litestar], method: str, path: str) -> None:
    answer = client.request(method, path)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Known: air_time, flight_delay. Did you mean 'flight_delay'?" in answer.json()["detail"]


def test_a_product_without_champion_says_how_to_deploy_one(client: TestClient[Litestar], row: Json) -> None:
    answer = client.post("/v1/models/air_time/predict", json={"rows": [row]})

    assert answer.status_code == 503
    assert "Materialise air_time/deployment" in answer.json()["detail"]
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("DELETE", "/v1/models", 405)])
def test_paths_and_methods_that_do_not_exist_are_problems_too(
    client: TestClient[Litestar], method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_a_query_parameter_of_the_wrong_type_is_refused(client: TestClient[Litestar], row: Json) -> None:
    answer = client.post(f"{PREDICT}?features=perhaps", json={"rows": [row]})

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("features: ")


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
)
some_fields = st.sampled_from([*flight_delay.request, "temperature", "prediction_id", "nonsense"])


@settings(max_examples=150, deadline=None)
@given(changes=st.dictionaries(some_fields, json_values, max_size=3))
def test_a_body_is_decoded_or_refused_with_a_reason_never_worse(changes: Json) -> None:
    schema = body_schema(flight_delay)
    body = json.dumps({"rows": [{**schema.example_row(), **changes}]}).encode()

    try:
        rows = BodyDecoder(schema).decode(body, {}).rows
    except Refused as refused:
        reason = str(refused)
    else:
        reason = f"{len(rows)} row"

    assert reason
