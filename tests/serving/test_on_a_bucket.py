"""The API on a bucket that several machines share: it serves what lies there, and goes on while the bucket is away."""

import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from litestar.testing import TestClient

from examples.flights.flight_delay import flight_delay
from mlops_assets.state.workspace import Workspace
from serving.app import create_app
from tests.servers.gate import Gate, a_gate
from tests.serving.running_api import Json, RunningServer, a_client, a_server, eventually, settings_on
from tests.tiny_bundle import deploy_tiny

MODEL = "/v1/models/flight_delay"
# a request waits for nothing of the bucket, which is given up after seconds; some time for a machine with other work
AT_ONCE_SECONDS = 2.0


@pytest.fixture
def elsewhere(bucket: str, tmp_path: Path) -> Workspace:
    """As another machine has the state; it reaches the bucket always."""
    return Workspace(f"{bucket}/state", tmp_path / "elsewhere")


@pytest.fixture
def here(elsewhere: Workspace, tmp_path: Path) -> Workspace:
    """As the machine of the server has it."""
    return replace(elsewhere, local=tmp_path / "here")


@pytest.fixture
def gate(s3_endpoint: str) -> Iterator[Gate]:
    """What the server reaches the bucket by."""
    with a_gate(s3_endpoint) as gate:
        yield gate


@dataclass
class Api:
    server: RunningServer
    client: httpx.Client

    def predict(self, *rows: Json) -> Json:
        answer: Json = self.client.post(f"{MODEL}/predict", json={"rows": rows}).raise_for_status().json()
        return answer

    def ready(self) -> Json:
        found: Json = self.client.get("/health/ready").json()
        return found

    def tell(self, prediction_id: str) -> None:
        told = {"prediction_id": prediction_id, "label": True}
        self.client.post(f"{MODEL}/labels", json={"labels": [told]}).raise_for_status()


@contextmanager
def an_api(here: Workspace, gate: Gate, health: str = "/health/ready") -> Iterator[Api]:
    """`python -m serving` on this machine, once `health` says that it is well."""
    variables = {"MLOPS_PRODUCT": "flight_delay", "AWS_ENDPOINT_URL": gate.address}
    with (
        tempfile.TemporaryFile("w+") as output,
        a_server(here, output, health=health, **variables) as server,
        httpx.Client(base_url=server.address, timeout=60) as client,
    ):
        yield Api(server, client)


def named(row: Json, *names: str) -> list[Json]:
    return [{**row, "prediction_id": name} for name in names]


def kept_predictions(workspace: Workspace) -> list[str]:
    return sorted(workspace.predictions().read("flight_delay")["prediction_id"])


def kept_labels(workspace: Workspace) -> list[str]:
    return sorted(workspace.labels().read("flight_delay")["prediction_id"])


def test_champions_and_reports_come_from_the_bucket(
    elsewhere: Workspace, here: Workspace, gate: Gate, row: Json
) -> None:
    deploy_tiny(elsewhere.of(flight_delay), 1)
    elsewhere.of(flight_delay).reports.save("data_drift", "2013-05-06", "<p>4.2 %</p>")

    with an_api(here, gate) as api:
        first = api.predict(row)["version"]
        deploy_tiny(elsewhere.of(flight_delay), 2)
        eventually(lambda: api.predict(row)["version"] == 2)
        report = api.client.get("/reports/flight_delay/data_drift/2013-05-06.html")
        absent = api.client.get("/reports/flight_delay/data_drift/2013-05-13.html")
        versions = api.client.get(f"{MODEL}/versions").json()["versions"]
        former = api.client.post(f"{MODEL}/versions/1/predict", json={"rows": [row]}).json()

    assert first == 1
    assert (report.status_code, report.text) == (200, "<p>4.2 %</p>")
    assert absent.status_code == 404
    assert [(item["version"], item["state"]) for item in versions] == [(2, "champion"), (1, "former")]
    assert former["version"] == 1


def test_while_the_bucket_is_away_the_champion_serves_and_a_new_one_is_taken_up_afterwards(
    elsewhere: Workspace, here: Workspace, gate: Gate, row: Json
) -> None:
    deploy_tiny(elsewhere.of(flight_delay), 1)

    with an_api(here, gate) as api:
        with gate.closed():
            deploy_tiny(elsewhere.of(flight_delay), 2)
            eventually(lambda: api.ready()["ledger_error"] is not None)
            away, status = api.ready(), api.client.get("/health/ready").status_code
            served = {api.predict(row)["version"] for _ in range(20)}
            report = api.client.get("/reports/any.html")
            versions = api.client.get(f"{MODEL}/versions")
        eventually(lambda: api.predict(row)["version"] == 2)
        eventually(lambda: api.ready()["ledger_error"] is None)

    assert status == 200
    assert away["ledger_error"].startswith(f"the deployment ledger cannot be read: {elsewhere.url} cannot be used: ")
    assert away["products"] == {"flight_delay": "serving"}
    assert served == {1}
    assert (report.status_code, versions.status_code) == (503, 503)
    assert "cannot be used" in report.json()["detail"]
    assert "cannot be used" in versions.json()["detail"]


def test_a_request_waits_for_no_bucket_that_says_nothing(
    elsewhere: Workspace, here: Workspace, gate: Gate, row: Json
) -> None:
    deploy_tiny(elsewhere.of(flight_delay), 1)
    longest = 0.0

    with an_api(here, gate) as api, gate.silent():
        until = time.monotonic() + 2 * AT_ONCE_SECONDS
        while time.monotonic() < until:
            started = time.monotonic()
            api.predict(row)
            api.tell("any")
            api.ready()
            longest = max(longest, time.monotonic() - started)

    assert longest < AT_ONCE_SECONDS


def test_a_server_that_starts_while_the_bucket_is_away_says_why_it_waits_and_serves_once_it_is_back(
    elsewhere: Workspace, here: Workspace, gate: Gate, row: Json
) -> None:
    deploy_tiny(elsewhere.of(flight_delay), 1)

    with ExitStack() as stack:
        with gate.closed():
            api = stack.enter_context(an_api(here, gate, health="/health/live"))
            eventually(lambda: api.ready()["ledger_error"] is not None)
            away, status = api.ready(), api.client.get("/health/ready").status_code
            refused = api.client.post(f"{MODEL}/predict", json={"rows": [row]})
        eventually(lambda: api.client.get("/health/ready").status_code == 200)
        served = api.predict(row)["version"]

    assert (status, away["products"]) == (503, {"flight_delay": "loading"})
    assert refused.status_code == 503
    assert served == 1


def test_predictions_and_labels_of_the_time_without_the_bucket_are_in_it_afterwards(
    elsewhere: Workspace, here: Workspace, gate: Gate, row: Json
) -> None:
    deploy_tiny(elsewhere.of(flight_delay), 1)

    with an_api(here, gate) as api:
        api.predict(*named(row, "before"))
        with gate.closed():
            eventually(lambda: api.ready()["ledger_error"] is not None)
            api.predict(*named(row, "without", "without too"))
            api.tell("without")
            eventually(lambda: api.ready()["prediction_log"]["waiting_rows"] == 0)
            log = api.ready()["prediction_log"]
        exit_code = api.server.stop()

    assert (log["is_writing"], log["dropped_rows"]) == (True, 0)
    assert exit_code in (0, -signal.SIGTERM)
    assert kept_predictions(elsewhere) == ["before", "without", "without too"]
    assert kept_labels(elsewhere) == ["without"]


def test_what_a_killed_server_left_on_its_machine_is_brought_to_the_bucket_by_the_next_one(
    elsewhere: Workspace, here: Workspace, gate: Gate, row: Json
) -> None:
    deploy_tiny(elsewhere.of(flight_delay), 1)
    with an_api(here, gate) as api, gate.closed():
        api.predict(*named(row, "mine"))
        api.tell("mine")
        eventually(lambda: api.ready()["prediction_log"]["written_rows"] == 1)
        api.server.process.kill()
        api.server.process.wait()
    before = kept_predictions(elsewhere), kept_labels(elsewhere)

    with a_client(here, [flight_delay]):
        eventually(lambda: kept_predictions(elsewhere) == ["mine"] == kept_labels(elsewhere))

    assert before == ([], [])


def test_a_server_that_is_ended_while_the_bucket_is_away_leaves_its_rows_for_the_next_one(
    elsewhere: Workspace, here: Workspace, gate: Gate, row: Json
) -> None:
    deploy_tiny(elsewhere.of(flight_delay), 1)
    with an_api(here, gate) as api, gate.closed():
        api.predict(*named(row, "mine"))
        exit_code = api.server.stop()

    with a_client(here, [flight_delay]):
        eventually(lambda: kept_predictions(elsewhere) == ["mine"])

    assert exit_code in (0, -signal.SIGTERM)


def test_a_file_of_a_bundle_that_went_wrong_on_this_machine_is_fetched_anew(
    elsewhere: Workspace, here: Workspace, row: Json
) -> None:
    deploy_tiny(elsewhere.of(flight_delay), 1, weight=1e-4)
    with a_client(here, [flight_delay]) as client:
        answered = client.post(f"{MODEL}/predict", json={"rows": named(row, "a")}).json()
    kept = {path: path.read_bytes() for path in (here.home / "cache").iterdir()}
    for path, content in kept.items():
        path.write_bytes(content[: len(content) // 2])

    with a_client(here, [flight_delay]) as client:
        again = client.post(f"{MODEL}/predict", json={"rows": named(row, "a")}).json()

    assert kept
    assert again["predictions"] == answered["predictions"]
    assert {path: path.read_bytes() for path in (here.home / "cache").iterdir()} == kept


def test_a_bucket_that_does_not_exist_is_named_and_serving_begins_once_it_does(
    s3_endpoint: str, bucket: str, tmp_path: Path, row: Json
) -> None:
    missing = f"{bucket}-not-made"
    here = Workspace(missing, tmp_path / "here")

    with TestClient(create_app(settings_on(here), [flight_delay]), "http://127.0.0.1") as client:
        eventually(lambda: client.get("/health/ready").json()["ledger_error"] is not None)
        before = client.get("/health/ready")
        httpx.put(f"{s3_endpoint}/{missing.removeprefix('s3://')}").raise_for_status()
        deploy_tiny(Workspace(missing, tmp_path / "elsewhere").of(flight_delay), 1)
        eventually(lambda: client.get("/health/ready").json()["products"] == {"flight_delay": "serving"})
        answer = client.post(f"{MODEL}/predict", json={"rows": [row]})

    assert before.status_code == 503
    assert f"{missing} cannot be used" in before.json()["ledger_error"]
    assert "the bucket does not exist" in before.json()["ledger_error"]
    assert answer.status_code == 200
