"""A new champion is taken up without a restart, and without an answer that fails or mixes versions."""

import math
import signal
import tempfile
import threading

import httpx
import pytest
from litestar.testing import TestClient

from examples.flights.air_time import air_time
from examples.flights.flight_delay import flight_delay
from mlops_assets.state.manifest import MODEL
from mlops_assets.state.workspace import Workspace
from serving.app import create_app
from tests.serving.running_api import Json, a_client, a_server, eventually, everywhere, settings_on
from tests.tiny_bundle import deploy_tiny, write_tiny_bundle

PREDICT = "/v1/models/flight_delay/predict"
NEXT_ENTRY = "ledger/flight_delay/000002.json"
SECOND = f"bundles/flight_delay/2/{MODEL}"
BIAS = {1: -1.0, 2: 0.5, 3: 2.0}


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def test_swaps_and_a_rollback_under_load_fail_no_request_and_every_answer_is_logged(
    workspace: Workspace, row: Json
) -> None:
    deploy_tiny(workspace.of(flight_delay), 1, bias=BIAS[1])
    answers: list[tuple[int, int, float]] = []
    ids: list[str] = []
    stop = threading.Event()

    def ask(address: str) -> None:
        with httpx.Client(base_url=address) as client:
            while not stop.is_set():
                answer = client.post(PREDICT, json={"rows": [row]})
                body = answer.json()
                answers.append((answer.status_code, body["version"], body["predictions"][0]["probability"]))
                ids.append(body["predictions"][0]["prediction_id"])

    with tempfile.TemporaryFile("w+") as output, a_server(workspace, output) as server:
        clients = [threading.Thread(target=ask, args=(server.address,)) for _ in range(2)]
        for client in clients:
            client.start()
        try:
            for version in (1, 2, 3, 2):
                deploy_tiny(workspace.of(flight_delay), version, bias=BIAS[version])
                eventually(lambda wanted=version: bool(answers) and answers[-1][1] == wanted)  # type: ignore[misc]
        finally:
            stop.set()
            for client in clients:
                client.join()
        exit_code = server.stop()

    assert {status for status, _, _ in answers} == {200}
    for _, version, probability in answers:
        assert probability == pytest.approx(sigmoid(BIAS[version]), rel=1e-5)
    # ended in good order; uvicorn raises the signal again where it came before its own handlers were gone
    assert exit_code in (0, -signal.SIGTERM)
    assert list(dict.fromkeys(version for _, version, _ in answers)) == [1, 2, 3]
    assert sorted(workspace.predictions().read("flight_delay")["prediction_id"]) == sorted(ids)


def test_the_log_holds_the_row_as_it_was_served(workspace: Workspace, row: Json) -> None:
    deploy_tiny(workspace.of(flight_delay), 3, bias=2)
    with a_client(workspace) as client:
        body = {"rows": [{**row, "prediction_id": "mine", "temperature": 60}]}
        client.post(PREDICT, json=body, headers={"x-request-id": "abc"})

    (logged,) = workspace.predictions().read("flight_delay").to_dicts()

    assert (logged["prediction_id"], logged["request_id"], logged["version"]) == ("mine", "abc", 3)
    assert logged["event_time"].isoformat() == "2013-07-04T11:15:00+00:00" == logged["scheduled_departure"].isoformat()
    assert logged["prediction"] == pytest.approx(sigmoid(2), rel=1e-6)
    assert logged["label"] == "true"
    assert (logged["flight"], logged["hour"], logged["temperature"], logged["humidity"]) == (1545, 7, 60, None)


@everywhere
def test_a_damaged_bundle_leaves_the_old_champion_serving_until_it_is_repaired(workspace: Workspace, row: Json) -> None:
    deploy_tiny(workspace.of(flight_delay), 1)
    with a_client(workspace) as client:

        def information() -> Json:
            found: Json = client.get("/v1/models/flight_delay").json()
            return found

        second = deploy_and_damage(workspace)
        eventually(lambda: information()["last_swap_error"] is not None)
        answer = client.post(PREDICT, json={"rows": [row]}).json()
        error = information()["last_swap_error"]
        is_ready = client.get("/health/ready").status_code == 200
        workspace.objects.put(SECOND, second)
        eventually(lambda: information()["version"]["version"] == 2)

        assert information()["last_swap_error"] is None

    assert answer["version"] == 1
    assert "model.onnx is damaged" in error
    assert is_ready


def test_a_champion_that_is_damaged_at_the_start_lets_the_former_one_serve_and_is_loud_about_it(
    workspace: Workspace, row: Json
) -> None:
    deploy_tiny(workspace.of(flight_delay), 1, bias=BIAS[1])
    second = deploy_and_damage(workspace)

    with (
        tempfile.TemporaryFile("w+") as output,
        a_server(workspace, output) as server,
        httpx.Client(base_url=server.address) as client,
    ):
        get = client.get
        answer = client.post(PREDICT, json={"rows": [row]}).json()
        ready = get("/health/ready")
        eventually(lambda: 'mlops_newest_serves{product="flight_delay"' in get("/metrics").text)
        metrics = get("/metrics").text
        workspace.objects.put(SECOND, second)
        eventually(lambda: get("/health/ready").json()["swap_errors"] == {})
        repaired = client.post(PREDICT, json={"rows": [row]}).json()
        eventually(lambda: metric(get("/metrics").text, "mlops_newest_serves") == 1)
        output.seek(0)
        said = output.read()

    assert (answer["version"], repaired["version"]) == (1, 2)
    assert answer["predictions"][0]["probability"] == pytest.approx(sigmoid(BIAS[1]), rel=1e-5)
    assert (ready.status_code, ready.json()["products"]["flight_delay"]) == (200, "serving")
    assert "model.onnx is damaged" in ready.json()["swap_errors"]["flight_delay"]
    assert metric(metrics, "mlops_newest_serves") == 0
    errors = [line for line in said.splitlines() if " ERROR " in line]
    assert "flight_delay: the new champion cannot be opened" in errors[0]
    assert "flight_delay: version 1 serves instead" in errors[1]


@everywhere
def test_a_version_that_was_rolled_back_does_not_serve_in_place_of_a_damaged_champion(
    workspace: Workspace, row: Json
) -> None:
    deploy_tiny(workspace.of(flight_delay), 1)
    deploy_tiny(workspace.of(flight_delay), 2)
    deploy_tiny(workspace.of(flight_delay), 3)
    deploy_tiny(workspace.of(flight_delay), 2)
    workspace.objects.put(SECOND, b"no model")

    with a_client(workspace, [flight_delay]) as client:
        assert client.post(PREDICT, json={"rows": [row]}).json()["version"] == 1


def metric(exposition: str, name: str, product: str = "flight_delay") -> float:
    (line,) = [line for line in exposition.splitlines() if line.startswith(f'{name}{{product="{product}"')]
    return float(line.split()[-1])


def deploy_and_damage(workspace: Workspace) -> bytes:
    """Version 2; returns its model as it was. Damaged first and deployed second, or the server might open it in between."""
    write_tiny_bundle(workspace.of(flight_delay), 2, bias=BIAS[2])
    model = workspace.objects.get(SECOND)
    workspace.objects.put(SECOND, b"no model")
    deploy_tiny(workspace.of(flight_delay), 2)
    assert model is not None
    return model


def test_a_first_champion_that_cannot_be_opened_is_not_ready_and_says_why(workspace: Workspace, row: Json) -> None:
    deploy_tiny(workspace.of(air_time), 1)
    with a_client(workspace) as client:
        deploy_and_damage(workspace)
        eventually(lambda: client.get("/health/ready").status_code == 503)
        answer = client.post(PREDICT, json={"rows": [row]})
        other = client.post("/v1/models/air_time/predict", json={"rows": [row]})

    assert answer.status_code == 503
    assert "damaged" in answer.json()["detail"]
    assert other.status_code == 200


def test_a_ledger_that_cannot_be_read_leaves_the_champion_serving(workspace: Workspace, row: Json) -> None:
    deploy_tiny(workspace.of(flight_delay), 1)
    with a_client(workspace) as client:
        workspace.objects.put(NEXT_ENTRY, b"no entry")
        eventually(lambda: client.get("/v1/models/flight_delay").json()["ledger_error"] is not None)

        assert client.post(PREDICT, json={"rows": [row]}).status_code == 200


def test_a_ledger_that_is_broken_holds_up_no_other_product(workspace: Workspace, row: Json) -> None:
    workspace.objects.put("ledger/flight_delay/000001.json", b"no entry")
    deploy_tiny(workspace.of(air_time), 1)
    app = create_app(settings_on(workspace))

    with TestClient(app, "http://127.0.0.1") as client:

        def answered_by() -> int | None:
            found: int | None = client.post("/v1/models/air_time/predict", json={"rows": [row]}).json().get("version")
            return found

        eventually(lambda: answered_by() == 1)
        deploy_tiny(workspace.of(air_time), 2)
        eventually(lambda: answered_by() == 2)
        ready = client.get("/health/ready")

    assert ready.status_code == 503
    assert ready.json()["products"] == {"flight_delay": "loading", "air_time": "serving"}
    assert "entry 1 of the ledger of flight_delay" in ready.json()["ledger_error"]


@everywhere
def test_a_ledger_error_clears_with_the_next_good_poll_though_nothing_new_was_deployed(workspace: Workspace) -> None:
    deploy_tiny(workspace.of(flight_delay), 1)
    with a_client(workspace, [flight_delay]) as client:

        def error() -> str | None:
            found: str | None = client.get("/health/ready").json()["ledger_error"]
            return found

        workspace.objects.put(NEXT_ENTRY, b"no entry")
        eventually(lambda: error() is not None)
        while_damaged, readable = error(), client.get("/metrics").text
        workspace.objects.delete(NEXT_ENTRY)
        eventually(lambda: error() is None)
        information = client.get("/v1/models/flight_delay").json()
        cleared = client.get("/metrics").text

    assert while_damaged is not None
    assert while_damaged.startswith("the deployment ledger cannot be read: entry 2 of the ledger of flight_delay ")
    assert [line.split()[-1] for line in readable.splitlines() if line.startswith("mlops_ledger_readable{")] == ["0.0"]
    assert [line.split()[-1] for line in cleared.splitlines() if line.startswith("mlops_ledger_readable{")] == ["1.0"]
    assert (information["ledger_error"], information["version"]["version"]) == (None, 1)
