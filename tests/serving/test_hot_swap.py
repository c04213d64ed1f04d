"""A new champion is taken up without a restart, and without an answer that fails or mixes versions."""

import math
import signal
import tempfile
import threading
from pathlib import Path

import httpx
import pytest

from mlops_assets.products.air_time import air_time
from mlops_assets.products.flight_delay import flight_delay
from mlops_assets.stores.home import Home
from mlops_assets.stores.model_bundle import MODEL
from mlops_assets.stores.prediction_log import PredictionLog
from tests.serving.running_api import Json, a_client, a_server, eventually
from tests.tiny_bundle import deploy_tiny

PREDICT = "/v1/models/flight_delay/predict"
BIAS = {1: -1.0, 2: 0.5, 3: 2.0}


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def test_swaps_and_a_rollback_under_load_fail_no_request_and_every_answer_is_logged(home: Home, row: Json) -> None:
    deploy_tiny(home, flight_delay, 1, bias=BIAS[1])
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

    with tempfile.TemporaryFile("w+") as output, a_server(home, output) as server:
        clients = [threading.Thread(target=ask, args=(server.address,)) for _ in range(2)]
        for client in clients:
            client.start()
        try:
            for version in (1, 2, 3, 2):
                deploy_tiny(home, flight_delay, version, bias=BIAS[version])
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
    assert sorted(PredictionLog(home.prediction_log).read("flight_delay")["prediction_id"]) == sorted(ids)


def test_the_log_holds_the_row_as_it_was_served(home: Home, row: Json) -> None:
    deploy_tiny(home, flight_delay, 3, bias=2)
    with a_client(home) as client:
        body = {"rows": [{**row, "prediction_id": "mine", "temperature": 60}]}
        client.post(PREDICT, json=body, headers={"x-request-id": "abc"})

    (logged,) = PredictionLog(home.prediction_log).read("flight_delay").to_dicts()

    assert (logged["prediction_id"], logged["request_id"], logged["version"]) == ("mine", "abc", 3)
    assert logged["event_time"].isoformat() == "2013-07-04T11:15:00+00:00" == logged["scheduled_departure"].isoformat()
    assert logged["prediction"] == pytest.approx(sigmoid(2), rel=1e-6)
    assert logged["label"] == "true"
    assert (logged["flight"], logged["hour"], logged["temperature"], logged["humidity"]) == (1545, 7, 60, None)


def test_a_damaged_bundle_leaves_the_old_champion_serving_until_it_is_repaired(home: Home, row: Json) -> None:
    deploy_tiny(home, flight_delay, 1)
    with a_client(home) as client:

        def information() -> Json:
            found: Json = client.get("/v1/models/flight_delay").json()
            return found

        second = deploy_and_damage(home)
        eventually(lambda: information()["last_swap_error"] is not None)
        answer = client.post(PREDICT, json={"rows": [row]}).json()
        error = information()["last_swap_error"]
        is_ready = client.get("/health/ready").status_code == 200
        (second / MODEL).write_bytes((second / "kept").read_bytes())
        eventually(lambda: information()["version"]["version"] == 2)

        assert information()["last_swap_error"] is None

    assert answer["version"] == 1
    assert "model.onnx is damaged" in error
    assert is_ready


def deploy_and_damage(home: Home) -> Path:
    # damaged first and deployed second, or the server might open it in between
    from tests.tiny_bundle import write_tiny_bundle

    folder = home.bundle("flight_delay", 2)
    write_tiny_bundle(folder, flight_delay, 2)
    (folder / "kept").write_bytes((folder / MODEL).read_bytes())
    (folder / MODEL).write_bytes(b"no model")
    deploy_tiny(home, flight_delay, 2)
    return folder


def test_a_first_champion_that_cannot_be_opened_is_not_ready_and_says_why(home: Home, row: Json) -> None:
    deploy_tiny(home, air_time, 1)
    with a_client(home) as client:
        deploy_and_damage(home)
        eventually(lambda: client.get("/health/ready").status_code == 503)
        answer = client.post(PREDICT, json={"rows": [row]})
        other = client.post("/v1/models/air_time/predict", json={"rows": [row]})

    assert answer.status_code == 503
    assert "damaged" in answer.json()["detail"]
    assert other.status_code == 200


def test_a_ledger_that_cannot_be_read_leaves_the_champion_serving(home: Home, row: Json) -> None:
    deploy_tiny(home, flight_delay, 1)
    with a_client(home) as client:
        for path in home.root.glob("deployments.sqlite*"):
            path.unlink()
        (home.root / "deployments.sqlite").write_bytes(b"this is no database " * 500)
        eventually(lambda: client.get("/v1/models/flight_delay").json()["ledger_error"] is not None)

        assert client.post(PREDICT, json={"rows": [row]}).status_code == 200
