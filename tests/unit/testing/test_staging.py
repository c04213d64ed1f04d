"""Staging with real servers: on a machine that is busy, slow to start, dying, or with a model that is really slow."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper

from examples.flights.air_time import air_time
from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import Inconclusive, StagingFailed
from mlops_assets.features.opening import open_bundle
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.gates import latency_p99
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from mlops_assets.records.testing import StagingReport
from mlops_assets.state.bundle import Bundle
from mlops_assets.state.manifest import MODEL
from mlops_assets.state.workspace import ProductState, Workspace
from mlops_assets.testing.latency import Verdict, verdict_on
from mlops_assets.testing.staged_server import Patience, free_port, launched
from mlops_assets.testing.staging import LARGEST_SKEW, LatencyProbe, float32_steps, measure_latency, request_row, stage
from tests.tiny_bundle import tiny_files, tiny_manifest, write_tiny_bundle
from tests.unit.training.builders import a_product

LIMIT = 8.0  # milliseconds: above what a request takes, also on a shared processor, and below what a busy machine makes of it
MATRIX = 900  # a product of two such matrices takes more than the limit of one processor
PRODUCT = replace(flight_delay, gates=(latency_p99(LIMIT, rounds=2),))
ROWS = 50


@pytest.fixture
def state(workspace: Workspace) -> ProductState:
    return workspace.of(PRODUCT)


@pytest.fixture
def bundle(state: ProductState) -> Bundle:
    return a_bundle(state, 1)


def a_bundle(state: ProductState, version: int, *, is_slow: bool = False) -> Bundle:
    """A constant answer; a slow one computes products of large matrices for it."""
    if is_slow:
        state.bundles.write(tiny_manifest(PRODUCT, version), {**tiny_files(PRODUCT), MODEL: slow_model()})
    else:
        write_tiny_bundle(state, version)
    return open_bundle(state, version)


def slow_model() -> bytes:
    """1/2 for every row. The matrices hang on the inputs, or they would be multiplied once, when the model is loaded."""
    constants = {
        "zero": np.zeros((), np.float32),
        "half": np.full((), 0.5, np.float32),
        "matrix": np.ones((MATRIX, MATRIX), np.float32),
        "no_axis": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("IsNaN", ["inputs"], ["absent"]),
        helper.make_node("Where", ["absent", "zero", "inputs"], ["filled"]),
        helper.make_node("ReduceSum", ["filled", "no_axis"], ["sums"], keepdims=1),  # (rows, 1)
        helper.make_node("Mul", ["sums", "zero"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["total"], keepdims=0),
        helper.make_node("Add", ["matrix", "total"], ["first"]),
        helper.make_node("MatMul", ["first", "first"], ["second"]),
        helper.make_node("MatMul", ["second", "first"], ["third"]),
        helper.make_node("ReduceSum", ["third"], ["large"], keepdims=0),
        helper.make_node("Mul", ["large", "zero"], ["nothing"]),
        helper.make_node("Add", ["zeros", "half"], ["halves"]),
        helper.make_node("Add", ["halves", "nothing"], ["probability"]),
        helper.make_node("Concat", ["probability", "probability"], ["scores"], axis=1),
    ]
    inputs = len(PRODUCT.inputs)
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("inputs", TensorProto.FLOAT, [None, inputs])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def a_request() -> dict[str, Any]:
    return {
        **{"carrier": "UA", "flight": 1545, "origin": "EWR", "dest": "IAH", "distance": 1400, "seats": 149},
        **{"scheduled_departure": datetime(2013, 7, 4, 11, 15, tzinfo=UTC), "aircraft_year": 1999},
        **{name: None for view in PRODUCT.lookups for name in view.names},
    }


def staged(product: ModelProduct, challenger: Bundle, champion: Bundle | None) -> StagingReport:
    kinds = {item.name: pl.String if item.kind is FeatureKind.CATEGORICAL else pl.Float64 for item in product.inputs}
    features = pl.DataFrame({name: [None] * ROWS for name in kinds}, schema=kinds)
    return stage(product, challenger, pl.DataFrame([a_request()] * ROWS), features, champion, pause_seconds=0.1)


@contextmanager
def a_busy_machine() -> Iterator[None]:
    """Two programs for each processor, which never wait."""
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


@pytest.mark.slow
@pytest.mark.parametrize(("witness", "rounds"), [("champion 1", 2), ("the health route", 1)])
def test_a_busy_machine_refuses_no_challenger(state, witness, rounds):
    product = replace(PRODUCT, gates=(latency_p99(LIMIT, rounds=rounds),))
    with (
        launched(PRODUCT, a_bundle(state, 2)) as challenger,
        launched(PRODUCT, a_bundle(state, 1), "champion 1") as champion,
        httpx.Client(timeout=60) as client,
    ):
        for server in (challenger, champion):
            server.wait_until_ready(Patience())
        beside = champion if witness == champion.name else None
        probe = LatencyProbe(
            client, f"/v1/models/{PRODUCT.name}/predict", [request_row(a_request())], challenger, beside
        )

        with a_busy_machine():
            latency = measure_latency(product, probe, pause_seconds=0.1)

    assert (latency.witness, latency.rounds) == (witness, rounds)
    assert latency.p99 > LIMIT
    assert latency.others_share > 0.5
    assert verdict_on(latency, LIMIT) is Verdict.INCONCLUSIVE


@pytest.mark.slow
@pytest.mark.parametrize("has_champion", [True, False])
def test_a_challenger_that_is_really_slow_fails_with_the_first_round(state, has_champion):
    challenger = a_bundle(state, 2, is_slow=True)
    champion = a_bundle(state, 1) if has_champion else None

    latency = staged(PRODUCT, challenger, champion).latency

    assert latency is not None
    assert latency.witness == ("champion 1" if has_champion else "the health route")
    assert (verdict_on(latency, LIMIT), latency.rounds) == (Verdict.FAILED, 1)
    assert latency.cpu > LIMIT


@pytest.mark.slow
def test_a_champion_that_cannot_be_served_is_no_fault_of_the_challenger(state):
    challenger, champion = a_bundle(state, 2), a_bundle(state, 1)
    state.workspace.objects.put(f"bundles/{PRODUCT.name}/1/{MODEL}", b"damaged since it was opened")

    report = staged(replace(PRODUCT, gates=(latency_p99(10_000),)), challenger, champion)

    assert report.latency is not None
    assert (report.latency.witness, verdict_on(report.latency, 10_000)) == ("the health route", Verdict.PASSED)


def test_a_server_that_starts_slowly_is_waited_for_while_it_makes_progress(bundle):
    work = "import time, runpy\nwhile time.process_time() < 4: pass\nrunpy.run_module('serving', run_name='__main__')"

    with launched(PRODUCT, bundle, command=[sys.executable, "-c", work]) as server:
        seconds = server.wait_until_ready(Patience(stall_seconds=3.0))

        assert seconds > 4
        assert httpx.get(f"{server.address}/health/ready").json()["products"] == {"flight_delay": "serving"}


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (
            "import time; print('a lock is held', flush=True); time.sleep(600)",
            "runs. Its log ends with: a lock is held",
        ),
        ("import time; time.sleep(600)", "it still runs and its log is empty"),
    ],
)
def test_a_server_that_makes_no_progress_decides_nothing(bundle, program, said):
    with (
        launched(PRODUCT, bundle, command=[sys.executable, "-c", program]) as server,
        pytest.raises(Inconclusive, match=f"the staging server made no progress for .* s: .*{said}"),
    ):
        server.wait_until_ready(Patience(stall_seconds=2.0))


def test_a_server_that_never_gets_ready_is_not_waited_for_for_ever(bundle):
    with (
        launched(PRODUCT, bundle, command=[sys.executable, "-c", "while True: pass"]) as server,
        pytest.raises(Inconclusive, match=r"the staging server was still starting after .* s: it still runs"),
    ):
        server.wait_until_ready(Patience(start_seconds=1.0))


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (
            "raise SystemExit('no licence for this model')",
            "ended with exit code 1. Its log ends with: no licence for this model",
        ),
        ("raise SystemExit(3)", "it ended with exit code 3 and its log is empty"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "it was ended by SIGSEGV and its log is empty"),
    ],
)
def test_a_server_that_dies_at_the_start_has_failed_in_its_own_words(bundle, program, said):
    with (
        launched(PRODUCT, bundle, command=[sys.executable, "-c", program]) as server,
        pytest.raises(StagingFailed, match=f"the staging server did not get ready: .*{said}"),
    ):
        server.wait_until_ready(Patience())


def test_a_server_that_others_end_decides_nothing(bundle):
    with launched(PRODUCT, bundle) as server, httpx.Client(timeout=60) as client:
        server.wait_until_ready(Patience())
        os.kill(server.pid, signal.SIGKILL)

        with pytest.raises(
            Inconclusive, match=r"did not answer GET /health/live .*: it was ended by SIGKILL\. Its log ends with: "
        ):
            server.request(client, "GET", "/health/live")


def test_a_bundle_that_cannot_be_opened_fails_at_once_in_the_servers_words(workspace):
    write_tiny_bundle(workspace.of(air_time), 1)
    of_another = workspace.of(air_time).bundles.open(1)

    with (
        launched(PRODUCT, of_another) as server,
        pytest.raises(
            StagingFailed,
            match=r"(?s)cannot open its bundle: it still runs\. Its log ends with: .*trained for the task regression",
        ),
    ):
        server.wait_until_ready(Patience())


def test_a_product_the_server_does_not_know_is_named(bundle):
    with (
        launched(a_product(), bundle) as server,
        pytest.raises(
            StagingFailed, match=r"did not get ready: it ended with exit code 2\. Its log ends with: (?s:.*)taxi"
        ),
    ):
        server.wait_until_ready(Patience())


def test_keys_and_limits_of_the_installation_are_not_those_of_the_staging_server(bundle, monkeypatch):
    monkeypatch.setenv("MLOPS_PREDICT_KEYS", "a-key-of-the-installation")
    monkeypatch.setenv("MLOPS_RATE_PER_SECOND", "0.1")
    with launched(PRODUCT, bundle) as server, httpx.Client(timeout=60) as client:
        server.wait_until_ready(Patience())

        assert server.request(client, "GET", "/v1/models").status_code == 200


def test_a_free_port_can_be_listened_on():
    port = free_port()

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", port))
        listening.listen()


def test_a_row_becomes_what_json_takes_and_back_again():
    departure = datetime(2013, 7, 4, 11, 15, tzinfo=UTC)

    row = request_row({"carrier": "UA", "flight": 1545, "scheduled_departure": departure, "seats": None, "wind": 0.1})

    assert json.loads(json.dumps(row)) == row
    assert row == {
        **{"carrier": "UA", "flight": 1545, "scheduled_departure": "2013-07-04T11:15:00+00:00"},
        **{"seats": None, "wind": 0.1},
    }
    assert datetime.fromisoformat(row["scheduled_departure"]) == departure


@pytest.mark.parametrize("value", [1e-3, 1.0, 300.0, 1e6])
@pytest.mark.parametrize(("steps", "passes"), [(0, True), (1, True), (64, True), (65, False), (1_000, False)])
def test_skew_of_predictions_is_judged_in_steps_of_their_size(value, steps, passes):
    offline = np.array([value, -value, value], dtype=np.float32)
    online = offline.copy()
    online[1] -= np.float32(steps) * np.spacing(np.float32(value))

    found = float32_steps(online.astype(np.float64), offline.astype(np.float64), Task.REGRESSION)

    assert found == steps
    assert (found <= LARGEST_SKEW) is passes


def test_a_prediction_near_zero_is_compared_in_steps_of_the_mean():
    offline = np.array([300.0, 250.0, 1e-6])

    # 3.05e-5 is one step between 256 and 512, and of the mean 183 two
    assert float32_steps(offline + np.array([0, 0, 3.0517578125e-05]), offline, Task.REGRESSION) == pytest.approx(2)


def test_probabilities_are_compared_in_steps_of_one():
    offline = np.array([[1e-6, 0.4], [0.5, 0.5]])

    assert float32_steps(offline + 1.1920929e-07, offline, Task.MULTICLASS) == pytest.approx(1)


def test_a_score_that_is_no_number_is_no_small_difference():
    found = float32_steps(np.array([np.nan, 1.0]), np.array([1.0, 1.0]), Task.BINARY)

    assert not found <= LARGEST_SKEW
