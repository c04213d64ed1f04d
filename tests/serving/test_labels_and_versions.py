"""Labels told to the API, and versions listed by it."""

import concurrent.futures
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from examples.flights.air_time import air_time
from examples.flights.flight_delay import flight_delay
from mlops_assets.data.labels import with_reported_labels
from mlops_assets.state.label_log import ReportedLabel
from mlops_assets.state.workspace import Workspace
from tests.serving.running_api import Json, a_client, eventually, everywhere
from tests.tiny_bundle import deploy_tiny, write_tiny_bundle

PREDICT, LABELS = (f"/v1/models/flight_delay/{what}" for what in ("predict", "labels"))


@pytest.fixture
def client(workspace: Workspace) -> Iterator[TestClient[Litestar]]:
    deploy_tiny(workspace.of(flight_delay))
    with a_client(workspace) as client:
        yield client


def test_labels_are_on_disk_when_they_are_taken_and_the_last_word_counts(
    client: TestClient[Litestar], workspace: Workspace
) -> None:
    told = [
        {"prediction_id": "a", "label": True, "observed_at": "2013-07-05T10:00:00+02:00"},
        {"prediction_id": "b", "label": "false"},
    ]
    answer = client.post(LABELS, json={"labels": told})
    client.post(LABELS, json={"labels": [{"prediction_id": "b", "label": True}]})

    rows = {row["prediction_id"]: row for row in workspace.labels().read("flight_delay").to_dicts()}

    assert (answer.status_code, answer.json()) == (200, {"product": "flight_delay", "labels": 2})
    assert (rows["a"]["label"], rows["b"]["label"], len(rows)) == ("true", "true", 2)
    assert rows["a"]["observed_at"] == datetime(2013, 7, 5, 8, tzinfo=UTC)


@everywhere
def test_a_told_label_reaches_the_row_that_was_predicted(
    client: TestClient[Litestar], workspace: Workspace, row: Json
) -> None:
    client.post(PREDICT, json={"rows": [{**row, "prediction_id": "mine"}]}).raise_for_status()
    client.post(LABELS, json={"labels": [{"prediction_id": "mine", "label": True}]}).raise_for_status()
    log, told = workspace.predictions(), workspace.labels().read("flight_delay")
    eventually(lambda: not log.read("flight_delay").is_empty())
    rows = pl.DataFrame({name: [row[name]] for name in flight_delay.entity_key}).with_columns(
        pl.col("scheduled_departure").str.to_datetime("%+", time_unit="us", time_zone="UTC")
    )
    known = rows.clear().with_columns(label=pl.lit(None, pl.Float64), known_at=pl.col("scheduled_departure"))

    found, count, _ = with_reported_labels(flight_delay, known, rows, log.read("flight_delay"), told)

    assert (count, found["label"].to_list(), found["known_at"].to_list()) == (1, [1.0], told["received_at"].to_list())


def test_a_regression_takes_numbers(client: TestClient[Litestar], workspace: Workspace) -> None:
    client.post("/v1/models/air_time/labels", json={"labels": [{"prediction_id": "a", "label": 183.5}]})

    (row,) = workspace.labels().read("air_time").to_dicts()

    assert (row["value"], row["label"]) == (183.5, None)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"labels": []}, 422, "length >= 1"),
        ({}, 422, "labels"),
        (
            {"labels": [{"prediction_id": "a", "label": "maybe"}]},
            422,
            "there is no class 'maybe'. Known: false, true.",
        ),
        ({"labels": [{"prediction_id": "a", "label": 1}]}, 422, "label"),
        ({"labels": [{"prediction_id": "", "label": True}]}, 422, "prediction_id"),
        ({"labels": [{"prediction_id": "a", "label": True, "observed_at": "2013-07-05T10:00:00"}]}, 422, "timezone"),
        ({"labels": [{"prediction_id": "a", "label": True, "when": 1}]}, 422, "when"),
        (
            {"labels": [{"prediction_id": name, "label": True} for name in "aba"]},
            422,
            "labels 0 and 2 are both for the prediction 'a'. Send only the valid one.",
        ),
        ({"labels": [{"prediction_id": "a", "label": True}] * 10_001}, 413, "more than 10,000 labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    client: TestClient[Litestar], workspace: Workspace, body: Json, status: int, says: str
) -> None:
    answer = client.post(LABELS, json=body)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert says in answer.json()["detail"]
    assert workspace.labels().read("flight_delay").is_empty()


@pytest.mark.parametrize(("content", "status"), [(b"{", 400), (b"", 400), (b"\xff", 400)])
def test_a_body_that_is_no_json_is_refused(client: TestClient[Litestar], content: bytes, status: int) -> None:
    assert client.post(LABELS, content=content).status_code == status


def spool_of(workspace: Workspace) -> Path:
    """Where labels lie on this machine until they are sealed."""
    return workspace.home / "spool" / "labels"


def a_label(**changes: Any) -> ReportedLabel:
    return ReportedLabel(**{"prediction_id": "a", "label": "true", "value": None, "observed_at": None, **changes})


def test_the_label_that_arrived_last_counts_where_the_clock_went_back(workspace: Workspace) -> None:
    noon = datetime(2013, 7, 5, 12, tzinfo=UTC)
    first, second = workspace.labels(), workspace.labels()  # as two processes hold it
    first.append("flight_delay", [a_label(received_at=noon)])
    second.append("flight_delay", [a_label(received_at=noon - timedelta(hours=3), label="false")])
    first.append("flight_delay", [a_label(received_at=noon - timedelta(hours=1), prediction_id="b")])
    second.close()

    told = workspace.labels().read("flight_delay")

    assert told.select("prediction_id", "label", "is_corrected").rows() == [("a", "false", True), ("b", "true", False)]
    assert told["arrival"].is_sorted()


@pytest.mark.parametrize("is_held", [False, True], ids=["from the start", "once labels were taken"])
def test_while_the_disk_of_the_labels_is_away_they_are_refused_with_the_reason(
    client: TestClient[Litestar], workspace: Workspace, is_held: bool
) -> None:
    told = {"labels": [{"prediction_id": "a", "label": True}]}
    spool = spool_of(workspace)
    if is_held:
        client.post(LABELS, json=told).raise_for_status()
        spool.rename(workspace.home / "away")
    spool.parent.mkdir(exist_ok=True)
    spool.write_text("a disk that takes nothing")

    refused = client.post(LABELS, json=told)
    spool.unlink()
    taken = client.post(LABELS, json=told)

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["type"] == "urn:mlops-assets:problem:not-kept"
    assert "Not a directory" in refused.json()["detail"]
    assert taken.status_code == 200
    assert workspace.labels().read("flight_delay").height == 1


def test_a_label_is_on_disk_also_where_the_folder_was_taken_away_and_put_back(
    client: TestClient[Litestar], workspace: Workspace
) -> None:
    told = {"labels": [{"prediction_id": "a", "label": True}]}
    client.post(LABELS, json=told).raise_for_status()
    spool_of(workspace).rename(workspace.home / "away")
    spool_of(workspace).mkdir()

    client.post(LABELS, json=told).raise_for_status()

    assert workspace.labels().read("flight_delay").height == 1


def test_labels_of_several_processes_lie_side_by_side(workspace: Workspace) -> None:
    deploy_tiny(workspace.of(flight_delay))
    with a_client(workspace) as first, a_client(workspace) as second:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            answers = [
                pool.submit(client.post, LABELS, json={"labels": [{"prediction_id": f"{n}", "label": True}]})
                for n, client in enumerate([first, second] * 5)
            ]
        assert {answer.result().status_code for answer in answers} == {200}

    assert sorted(workspace.labels().read("flight_delay")["prediction_id"]) == [str(n) for n in range(10)]


@everywhere
def test_versions_tell_their_states_and_when_each_served(workspace: Workspace) -> None:
    for version in (1, 2, 1):
        deploy_tiny(workspace.of(air_time), version)
    for version in (3, 4):
        write_tiny_bundle(workspace.of(air_time), version)
    deploy_tiny(workspace.of(air_time), 4)

    with a_client(workspace) as client:
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


def test_a_version_above_every_deployed_one_is_the_challenger(workspace: Workspace) -> None:
    deploy_tiny(workspace.of(air_time), 1)
    write_tiny_bundle(workspace.of(air_time), 2)

    with a_client(workspace) as client:
        versions = client.get("/v1/models/air_time/versions").json()["versions"]

    assert [(item["version"], item["state"]) for item in versions] == [(2, "challenger"), (1, "champion")]


def test_a_told_label_is_documented_with_its_type(client: TestClient[Litestar]) -> None:
    document = json.loads(client.get("/schema/openapi.json").content)

    body = document["paths"]["/v1/models/air_time/labels"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["$ref"].endswith("ValueLabels")
