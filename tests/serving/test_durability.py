"""What an answer promises of the prediction log, and what is answered while the disk or a store is away."""

import dataclasses
import json
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from datetime import datetime
from pathlib import Path

import httpx
import psutil
import pytest

from examples.flights.air_time import air_time
from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import DeclarationError
from mlops_assets.products.policy import Durability, Outage, Serving
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.workspace import Workspace
from serving.schemas import body_schema
from serving.scoring import logged_binary, logged_multiclass
from tests.serving.running_api import Json, a_client, a_server, eventually
from tests.tiny_bundle import deploy_tiny

PREDICT = "/v1/models/flight_delay/predict"
SERVER = ("-m", "tests.serving.product_server")


def serving(**declared: object) -> ModelProduct:
    return dataclasses.replace(flight_delay, serving=Serving(**declared))  # type: ignore[arg-type]


def test_kill_9_under_load_loses_no_acknowledged_row_in_strict_durability(workspace: Workspace, row: Json) -> None:
    deploy_tiny(workspace.of(flight_delay))
    acknowledged: list[str] = []

    def ask(address: str) -> None:
        with httpx.Client(base_url=address) as client:
            while True:
                try:
                    answer = client.post(PREDICT, json={"rows": [row, row]}).json()
                except httpx.TransportError:
                    return  # it was killed
                acknowledged.extend(prediction["prediction_id"] for prediction in answer["predictions"])

    command = (*SERVER, json.dumps({"durability": "strict"}))
    with tempfile.TemporaryFile("w+") as output, a_server(workspace, output, command) as server:
        clients = [threading.Thread(target=ask, args=(server.address,)) for _ in range(4)]
        for client in clients:
            client.start()
        while len(acknowledged) < 400:
            assert server.process.poll() is None
        server.process.send_signal(signal.SIGKILL)
        for client in clients:
            client.join()

    logged = workspace.predictions().read("flight_delay")["prediction_id"].to_list()
    assert set(acknowledged) <= set(logged)
    assert len(logged) == len(set(logged))


def test_a_strict_answer_is_on_disk_when_it_arrives(workspace: Workspace, row: Json) -> None:
    deploy_tiny(workspace.of(flight_delay))
    with a_client(workspace, [serving(durability=Durability.STRICT)]) as client:
        trace = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
        answer = client.post(PREDICT, json={"rows": [row]}, headers=trace).json()
        logged = workspace.predictions().read("flight_delay").to_dicts()

    assert [one["prediction_id"] for one in logged] == [answer["predictions"][0]["prediction_id"]]
    assert logged[0]["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert logged[0]["received_at"] <= logged[0]["served_at"]


@pytest.mark.parametrize(
    ("product", "score", "label"), [(flight_delay, "probability", "label"), (air_time, "value", None)]
)
def test_what_is_logged_is_what_was_answered(
    workspace: Workspace, product: ModelProduct, score: str, label: str | None
) -> None:
    deploy_tiny(workspace.of(product), 3, weight=1e-4)
    rows = [{**body_schema(product).example_row(), "distance": distance} for distance in (100, 2_000, 300)]
    with a_client(workspace, [product]) as client:
        answers = [
            client.post(
                f"/v1/models/{product.name}/predict", json={"rows": some}, headers={"X-Request-ID": name}
            ).json()
            for name, some in (("one", rows[:1]), ("two", rows[1:]))
        ]
    logged = workspace.predictions().read(product.name)

    predictions = [prediction for answer in answers for prediction in answer["predictions"]]
    assert logged["request_id"].to_list() == ["one", "two", "two"]
    assert logged["prediction_id"].to_list() == [prediction["prediction_id"] for prediction in predictions]
    assert logged["prediction"].to_list() == [prediction[score] for prediction in predictions]
    assert logged["label"].to_list() == [str(p[label]).lower() if label else None for p in predictions]
    assert logged["version"].unique().to_list() == [3]
    assert logged["distance"].to_list() == [100, 2_000, 300]
    assert logged["carrier"].to_list() == [row["carrier"] for row in rows]
    assert logged["event_time"].to_list() == [datetime.fromisoformat(row[product.event_timestamp]) for row in rows]


def test_of_several_classes_the_likeliest_is_logged_with_all_probabilities() -> None:
    scores = [[0.2, 0.5, 0.3], [0.4, 0.4, 0.2]]

    assert logged_multiclass(scores, ("a", "b", "c")) == ([0.5, 0.4], ["b", "a"], scores)


@pytest.mark.parametrize(
    ("classes", "labels"),
    [((), ["false", "true"]), (("False", "TRUE"), ["false", "true"]), (("on time", "late"), ["on time", "late"])],
)
def test_of_two_classes_the_second_is_logged_from_one_half_on(classes: tuple[str, ...], labels: list[str]) -> None:
    assert logged_binary([0.4999, 0.5], classes) == ([0.4999, 0.5], labels, [None, None])


def spool_of(workspace: Workspace) -> Path:
    """Where predictions lie on this machine until they are sealed."""
    return workspace.home / "spool" / "predictions"


def a_file_where_the_log_should_be(workspace: Workspace) -> None:
    (workspace.home / "spool").mkdir(parents=True)
    spool_of(workspace).write_text("a disk that takes nothing")


@pytest.mark.parametrize("outage", Outage)
def test_strict_durability_refuses_while_the_disk_takes_nothing_and_answers_again_afterwards(
    workspace: Workspace, row: Json, outage: Outage
) -> None:
    deploy_tiny(workspace.of(flight_delay))
    a_file_where_the_log_should_be(workspace)
    with a_client(workspace, [serving(durability=Durability.STRICT, outage=outage)]) as client:
        refused = client.post(PREDICT, json={"rows": [{**row, "prediction_id": "refused"}]})
        spool_of(workspace).unlink()
        if outage is Outage.REFUSE:  # it asks the log before it tries
            eventually(lambda: client.get("/health/ready").json()["prediction_log"]["is_writing"])
        answered = client.post(PREDICT, json={"rows": [{**row, "prediction_id": "answered"}]})

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["type"] == "urn:mlops-assets:problem:not-logged"
    assert answered.status_code == 200
    assert workspace.predictions().read("flight_delay")["prediction_id"].to_list() == ["answered"]


@pytest.mark.parametrize(("outage", "status"), [(Outage.SERVE, 200), (Outage.REFUSE, 503)])
def test_relaxed_durability_answers_or_refuses_without_its_log_as_declared(
    workspace: Workspace, row: Json, outage: Outage, status: int
) -> None:
    deploy_tiny(workspace.of(flight_delay))
    a_file_where_the_log_should_be(workspace)
    with a_client(workspace, [serving(flush_milliseconds=1, outage=outage)]) as client:
        client.post(PREDICT, json={"rows": [row]})  # with it the log learns of the disk
        while client.get("/health/ready").json()["prediction_log"]["is_writing"]:
            pass
        answer = client.post(PREDICT, json={"rows": [row]})

    assert answer.status_code == status


@pytest.mark.parametrize(("outage", "status"), [(Outage.SERVE, 200), (Outage.REFUSE, 503)])
def test_an_online_store_that_is_down_costs_features_or_the_answer_as_declared(
    workspace: Workspace, row: Json, outage: Outage, status: int
) -> None:
    deploy_tiny(workspace.of(flight_delay))
    (workspace.home / "online.sqlite").write_bytes(b"this is no database, and long enough to be told apart" * 100)
    everything = dict.fromkeys((name for view in flight_delay.lookups for name in view.names), 1.0)
    with a_client(workspace, [serving(outage=outage)]) as client:
        answer = client.post(PREDICT, json={"rows": [row]})
        complete = client.post(PREDICT, json={"rows": [{**row, **everything}]})

    assert answer.status_code == status
    assert "online store" in answer.text
    assert complete.status_code == 200  # needs no store


def on_a_full_disk(declared: str) -> tuple[str, str]:
    """The command of a server whose disk is full after 200,000 bytes of a segment."""
    code = (
        "import resource, runpy, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, {resource.RLIM_INFINITY}));"
        f"sys.argv = {['product_server', declared]!r};"
        "runpy.run_module('tests.serving.product_server', run_name='__main__')"
    )
    return "-c", code


def test_a_full_disk_and_a_kill_lose_no_acknowledged_row_in_strict_durability(workspace: Workspace, row: Json) -> None:
    deploy_tiny(workspace.of(flight_delay))
    acknowledged: list[str] = []
    refusals: list[str] = []
    command = on_a_full_disk(json.dumps({"durability": "strict"}))
    with (
        tempfile.TemporaryFile("w+") as output,
        a_server(workspace, output, command) as server,
        httpx.Client(base_url=server.address, timeout=30) as client,
    ):
        while len(refusals) < 3:
            answer = client.post(PREDICT, json={"rows": [row] * 100})
            if answer.status_code == 200:
                acknowledged.extend(prediction["prediction_id"] for prediction in answer.json()["predictions"])
            else:
                assert answer.status_code == 503
                refusals.append(answer.json()["detail"])
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()

    assert acknowledged
    assert all("File too large" in detail for detail in refusals)
    assert workspace.predictions().read("flight_delay")["prediction_id"].to_list() == acknowledged


def test_a_disk_that_is_full_is_told_and_the_answers_go_on(workspace: Workspace, row: Json) -> None:
    deploy_tiny(workspace.of(flight_delay))
    with (
        tempfile.TemporaryFile("w+") as output,
        a_server(workspace, output, on_a_full_disk("{}")) as server,
        httpx.Client(base_url=server.address, timeout=30) as client,
    ):
        codes = [client.post(PREDICT, json={"rows": [row] * 1_000}).status_code for _ in range(3)]
        while (log := client.get("/health/ready").json()["prediction_log"])["last_error"] is None:
            pass
        alive = client.post(PREDICT, json={"rows": [row]}).status_code

    assert set(codes) == {200} == {alive}
    assert "File too large" in log["last_error"]
    assert not log["is_writing"]


def test_settings_of_serving_that_make_no_sense_are_refused() -> None:
    with pytest.raises(DeclarationError, match=r"flush_milliseconds \(0\) must lie between"):
        Serving(flush_milliseconds=0)
    with pytest.raises(DeclarationError, match="strict durability needs log_predictions"):
        Serving(durability=Durability.STRICT, log_predictions=False)


def processes_of(spool: Path) -> set[str]:
    """Ids of the processes that have written to it: the names are <host>-<process>-<token>.jsonl."""
    return {path.name.split("-")[-2] for path in spool.rglob("*.jsonl")}


def test_two_workers_share_a_port_and_a_log_and_show_their_memory(workspace: Workspace, row: Json) -> None:
    deploy_tiny(workspace.of(flight_delay))
    with tempfile.TemporaryFile("w+") as output, a_server(workspace, output, MLOPS_WORKERS="2") as server:
        workers = httpx.get(f"{server.address}/v1/models").json()["workers"]
        ids = []
        while len(processes_of(spool_of(workspace))) < 2:
            answer = httpx.post(server.address + PREDICT, json={"rows": [row]}, timeout=30)  # a new connection each
            ids.append(answer.json()["predictions"][0]["prediction_id"])
        server.process.terminate()
        code = server.process.wait(20)

    assert len(workers) == 2
    assert all(worker["memory_mb"] > 10 for worker in workers)
    assert code == 0
    assert sorted(workspace.predictions().read("flight_delay")["prediction_id"]) == sorted(ids)


def test_workers_end_when_the_process_that_watches_them_is_killed(workspace: Workspace) -> None:
    deploy_tiny(workspace.of(flight_delay))
    with tempfile.TemporaryFile("w+") as output, a_server(workspace, output, MLOPS_WORKERS="2") as server:
        workers = [worker["process_id"] for worker in httpx.get(f"{server.address}/v1/models").json()["workers"]]
        server.process.kill()
        server.process.wait()

        eventually(lambda: not any(map(psutil.pid_exists, workers)))


def test_an_earlier_version_answers_when_it_is_named_and_unknown_ones_are_told(workspace: Workspace, row: Json) -> None:
    for version in (1, 2):
        deploy_tiny(workspace.of(flight_delay), version, bias=version)
    with a_client(workspace) as client:
        now = client.post(PREDICT, json={"rows": [row]}).json()
        former = client.post("/v1/models/flight_delay/versions/1/predict", json={"rows": [row]})
        unknown = client.post("/v1/models/flight_delay/versions/7/predict", json={"rows": [row]})
        wrong = client.post("/v1/models/flight_delay/versions/1/predict", json={"rows": [{}]})

    assert (now["version"], former.json()["version"]) == (2, 1)
    assert former.json()["predictions"][0]["probability"] < now["predictions"][0]["probability"]
    assert (unknown.status_code, wrong.status_code) == (404, 422)
    assert "Known: 1, 2" in unknown.json()["detail"]


def test_the_server_starts_without_what_only_training_needs() -> None:
    names = ("sklearn", "mlflow", "skops", "dagster", "pandas", "lightgbm", "onnx")
    code = f"import serving.app, serving.server, sys; print([name for name in {names} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said.strip() == "[]"
