"""Labels told to the API, and versions listed by it."""

import concurrent.futures
import json
from collections.abc import Iterator
from datetime import UTC, datetime

import polars as pl
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from mlops_assets.data.labels import with_told_labels
from mlops_assets.products.air_time import air_time
from mlops_assets.products.flight_delay import flight_delay
from mlops_assets.stores.home import Home
from mlops_assets.stores.label_log import LabelLog
from mlops_assets.stores.prediction_log import PredictionLog
from tests.serving.running_api import Json, a_client, eventually
from tests.tiny_bundle import deploy_tiny, write_tiny_bundle

PREDICT, LABELS = (f"/v1/models/flight_delay/{what}" for what in ("predict", "labels"))


@pytest.fixture
def client(home: Home) -> Iterator[TestClient[Litestar]]:
    deploy_tiny(home, flight_delay)
    with a_client(home) as client:
        yield client


def test_labels_are_on_disk_when_they_are_taken_and_the_last_word_counts(
    client: TestClient[Litestar], home: Home
) -> None:
    told = [
        {"prediction_id": "a", "label": True, "observed_at": "2013-07-05T10:00:00+02:00"},
        {"prediction_id": "b", "label": "false"},
    ]
    answer = client.post(LABELS, json={"labels": told})
    client.post(LABELS, json={"labels": [{"prediction_id": "b", "label": True}]})

    rows = {row["prediction_id"]: row for row in LabelLog(home.label_log).read("flight_delay").to_dicts()}

    assert (answer.status_code, answer.json()) == (200, {"product": "flight_delay", "labels": 2})
    assert (rows["a"]["label"], rows["b"]["label"], len(rows)) == ("true", "true", 2)
    assert rows["a"]["observed_at"] == datetime(2013, 7, 5, 8, tzinfo=UTC)


def test_a_told_label_reaches_the_row_that_was_predicted(client: TestClient[Litestar], home: Home, row: Json) -> None:
    client.post(PREDICT, json={"rows": [{**row, "prediction_id": "mine"}]}).raise_for_status()
    client.post(LABELS, json={"labels": [{"prediction_id": "mine", "label": True}]}).raise_for_status()
    log, told = PredictionLog(home.prediction_log), LabelLog(home.label_log).read("flight_delay")
    eventually(lambda: not log.read("flight_delay").is_empty())
    rows = pl.DataFrame({name: [row[name]] for name in flight_delay.entity_key}).with_columns(
        pl.col("scheduled_departure").str.to_datetime("%+", time_unit="us", time_zone="UTC")
    )
    known = rows.clear().with_columns(label=pl.lit(None, pl.Float64), known_at=pl.col("scheduled_departure"))

    found, count = with_told_labels(flight_delay, known, rows, log.read("flight_delay"), told)

    assert (count, found["label"].to_list(), found["known_at"].to_list()) == (1, [1.0], told["received_at"].to_list())


def test_a_regression_takes_numbers(client: TestClient[Litestar], home: Home) -> None:
    client.post("/v1/models/air_time/labels", json={"labels": [{"prediction_id": "a", "label": 183.5}]})

    (row,) = LabelLog(home.label_log).read("air_time").to_dicts()

    assert (row["value"], row["label"]) == (183.5, None)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"labels": []}, 422, "length >= 1"),
        ({}, 422, "labels"),
        ({"labels": [{"prediction_id": "a", "label": "maybe"}]}, 422, "no class 'maybe'. Known: false, true."),
        ({"labels": [{"prediction_id": "a", "label": 1}]}, 422, "label"),
        ({"labels": [{"prediction_id": "", "label": True}]}, 422, "prediction_id"),
        ({"labels": [{"prediction_id": "a", "label": True, "observed_at": "2013-07-05T10:00:00"}]}, 422, "timezone"),
        ({"labels": [{"prediction_id": "a", "label": True, "when": 1}]}, 422, "when"),
        ({"labels": [{"prediction_id": "a", "label": True}] * 10_001}, 413, "more than 10,000 labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    client: TestClient[Litestar], home: Home, body: Json, status: int, says: str
) -> None:
    answer = client.post(LABELS, json=body)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert says in answer.json()["detail"]
    assert LabelLog(home.label_log).read("flight_delay").is_empty()


@pytest.mark.parametrize(("content", "status"), [(b"{", 400), (b"", 400), (b"\xff", 400)])
def test_a_body_that_is_no_json_is_refused(client: TestClient[Litestar], content: bytes, status: int) -> None:
    assert client.post(LABELS, content=content).status_code == status


def test_labels_of_several_processes_lie_side_by_side(home: Home) -> None:
    deploy_tiny(home, flight_delay)
    with a_client(home) as first, a_client(home) as second:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = [
                pool.submit(client.post, LABELS, json={"labels": [{"prediction_id": f"{n}", "label": True}]})
                for n, client in enumerate([first, second] * 5)
            ]
        assert {answer.result().status_code for answer in answers} == {200}

    assert sorted(LabelLog(home.label_log).read("flight_delay")["prediction_id"]) == [str(n) for n in range(10)]


def test_versions_tell_their_states_and_when_each_served(home: Home) -> None:
    for version in (1, 2, 1):
        deploy_tiny(home, air_time, version)
    for version in (3, 4):
        write_tiny_bundle(home.bundle("air_time", version), air_time, version)
    deploy_tiny(home, air_time, 4)

    with a_client(home) as client:
        versions = client.get("/v1/models/air_time/versions").json()["versions"]

    assert [(item["version"], item["state"]) for item in versions] == [
        (4, "champion"),
        (3, "passed over"),
        (2, "former"),
        (1, "former"),
    ]
    served = versions[3]["served"]
    assert len(served) == 2
    assert served[0]["until"] == versions[2]["served"][0]["since"]
    assert versions[0]["served"][0]["until"] is None


def test_a_version_above_every_deployed_one_is_the_challenger(home: Home) -> None:
    deploy_tiny(home, air_time, 1)
    write_tiny_bundle(home.bundle("air_time", 2), air_time, 2)

    with a_client(home) as client:
        versions = client.get("/v1/models/air_time/versions").json()["versions"]

    assert [(item["version"], item["state"]) for item in versions] == [(2, "challenger"), (1, "champion")]


def test_a_told_label_is_documented_with_its_type(client: TestClient[Litestar]) -> None:
    document = json.loads(client.get("/schema/openapi.json").content)

    body = document["paths"]["/v1/models/air_time/labels"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["$ref"].endswith("ValueLabels")
