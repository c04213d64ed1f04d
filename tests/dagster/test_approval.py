"""Manual acceptance in Dagster: a challenger waits, nobody gets past the signature, and a sensor goes on with an answer."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.products.policy import manual
from mlops_assets.records.acceptance import Verdict
from mlops_assets.replay.runs import Replay, failure_of
from mlops_assets.testing.run import answer_version
from resources.asset_parts import key_of
from tests.dagster.builders import (
    NEXT_WEEK,
    a_replay,
    evaluate,
    materialize,
    materialized,
    newest_metadata,
)

NAME = "flight_delay"


@pytest.fixture
def replay(waiting: Path, trained: Replay, tmp_path: Path) -> Iterator[Replay]:
    shutil.copytree(waiting, tmp_path / "home")
    with a_replay(replace(trained.product, acceptance=manual()), tmp_path / "home") as copy:
        yield copy


def test_a_challenger_waits_and_the_ui_says_how_to_answer(replay: Replay):
    shown = newest_metadata(replay, "acceptance")

    assert (shown["state"], shown["accepted"]) == ("waiting", False)
    assert shown["reason"] == "waits for a person: mlops approve flight_delay 2 --by NAME --note WHY"
    assert replay.state.ledger.champion().version == 1
    tick = evaluate(replay, f"{NAME}_approvals", None)
    assert not tick.run_requests
    assert "version 2 waits for a person" in tick.skip_message


def test_an_unauthenticated_report_to_dagster_does_not_pass_for_an_approval(replay: Replay):
    # what the webserver's report_asset_materialization endpoint does with anybody's request
    replay.instance.report_runless_asset_event(
        dg.AssetMaterialization(key_of(replay.product, "acceptance"), partition=NEXT_WEEK, metadata={"accepted": True})
    )

    assert not evaluate(replay, f"{NAME}_approvals", None).run_requests
    deployed = materialize(replay, "deployment", key=NEXT_WEEK)

    assert "GateFailed: version 2 of flight_delay is not accepted: waits for a person" in failure_of(deployed)
    assert replay.state.ledger.champion().version == 1


def test_a_signed_approval_is_carried_out_by_the_sensor(replay: Replay):
    answer_version(replay.state, 2, Verdict.APPROVED, "ana", "slices look right", "in a test")

    (run,) = replay.tick("approvals")

    assert run.success, failure_of(run)
    champion = replay.state.ledger.champion()
    assert (champion.version, champion.by) == (2, "ana")
    assert newest_metadata(replay, "acceptance")["reason"] == "approved by ana: slices look right"
    assert replay.tick("approvals") == []


def test_a_rejection_is_recorded_with_its_reason_and_may_be_taken_back(replay: Replay):
    answer_version(replay.state, 2, Verdict.REJECTED, "ben", "blind at night", "in a test")

    (turned_down,) = replay.tick("approvals")

    assert turned_down.success
    assert materialized(turned_down) == {"acceptance"}
    assert newest_metadata(replay, "acceptance")["reason"] == "rejected by ben: blind at night"
    assert replay.state.ledger.champion().version == 1
    assert replay.tick("approvals") == []
    replay.at(replay.state.clock.now().replace(hour=5))
    answer_version(replay.state, 2, Verdict.APPROVED, "ana", "ben agrees now", "in a test")
    (taken_back,) = replay.tick("approvals")
    assert taken_back.success, failure_of(taken_back)
    assert replay.state.ledger.champion().by == "ana"
