"""Every kind of gate, broken on purpose for a version that was really trained, tested and staged: it is not deployed."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from mlops_assets.products.gates import (
    Gate,
    at_least,
    at_most,
    bundle_size,
    latency_p99,
    leakage_probe,
    not_worse_than_champion,
    onnx_parity,
    slice_gap,
)
from mlops_assets.products.policy import automatic
from mlops_assets.records.acceptance import AcceptanceRecord, AcceptanceState
from mlops_assets.records.testing import StagingReport
from mlops_assets.replay.runs import Replay, failure_of
from tests.dagster.builders import NEXT_WEEK, a_replay, failed_checks, materialize, materialized

NAME = "flight_delay"
# limits that no model keeps
BROKEN = [
    at_least("roc_auc", 0.999),
    at_most("log_loss", 0.001),
    not_worse_than_champion("roc_auc", margin=0),  # it gains a little, and surely so it does not
    slice_gap("origin", "roc_auc", at_most=1e-9),
    onnx_parity(1e-12),
    leakage_probe(1e-6),
    bundle_size(megabytes=1e-6),
    latency_p99(milliseconds=1e-3),
]


def test_every_kind_of_gate_is_broken_once():
    assert {type(gate) for gate in BROKEN} == set(get_args(Gate))


def test_a_version_that_keeps_its_gates_is_deployed(waiting: Path, trained: Replay, tmp_path: Path):
    shutil.copytree(waiting, tmp_path / "home")
    with a_replay(replace(trained.product, acceptance=automatic()), tmp_path / "home") as replay:
        result = materialize(replay, "acceptance", "deployment", key=NEXT_WEEK)

    assert result.success, failure_of(result)
    assert replay.state.ledger.champion().version == 2


@pytest.mark.parametrize("gate", BROKEN, ids=lambda gate: type(gate).__name__)
def test_a_version_that_breaks_one_gate_is_not_deployed_whatever_is_asked_for(
    waiting: Path, trained: Replay, tmp_path: Path, gate: Gate
):
    shutil.copytree(waiting, tmp_path / "home")
    with a_replay(replace(trained.product, acceptance=automatic(), gates=(gate,)), tmp_path / "home") as replay:
        whole = materialize(replay, "acceptance", "deployment", key=NEXT_WEEK)
        alone = materialize(replay, "deployment", key=NEXT_WEEK)

    assert list(failed_checks(whole)) == ["acceptance.accepted"]
    assert "deployment" not in materialized(whole)
    assert f"GateFailed: version 2 of {NAME} is not accepted: failed: " in failure_of(alone)
    assert replay.state.ledger.champion().version == 1


def test_what_a_busy_machine_left_open_is_staged_again_and_neither_deployed_nor_refused(
    waiting: Path, trained: Replay, tmp_path: Path
):
    shutil.copytree(waiting, tmp_path / "home")
    product = replace(trained.product, acceptance=automatic(), gates=(latency_p99(milliseconds=2_000),))
    with a_replay(product, tmp_path / "home") as replay:
        records = replay.state.records
        staged = records.load(StagingReport, NEXT_WEEK)
        assert staged.latency is not None
        assert staged.latency.witness == "champion 1"
        both = msgspec.structs.replace(staged.latency, p99=3_000.0, witness_p99=3_100.0, others_share=0.9)
        busy = msgspec.structs.replace(staged, p99_milliseconds=3_000.0, latency=both)
        records.save(NEXT_WEEK, busy)

        undecided = materialize(replay, "acceptance", "deployment", key=NEXT_WEEK)
        state = records.load(AcceptanceRecord, NEXT_WEEK).state
        again = materialize(replay, "staging_report", "acceptance", "deployment", key=NEXT_WEEK)

    assert state is AcceptanceState.INCONCLUSIVE
    assert failed_checks(undecided) == {}
    assert failure_of(undecided).startswith(
        "mlops_assets.errors.Inconclusive: version 2 of flight_delay: not conclusive: latency_p99: 99 of 100 requests within "
        "3000.0 ms > 2000 ms, champion 1 within 3100.0 ms under the same load"
    )
    assert again.success, failure_of(again)
    assert replay.state.ledger.champion().version == 2
