"""A period that cannot be had: the loop goes on without it, on a really trained home, and says so."""

from dataclasses import replace

from mlops_assets.products.policy import Action
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.records.readings import DriftRecord, PerformanceRecord
from mlops_assets.replay.runs import Replay, expect_success
from mlops_assets.training.window import load_training_set
from tests.dagster.builders import NEXT_WEEK, SERVED_WEEK, newest_metadata

AFTER = "2013-03-11"


def test_a_skipped_period_ends_with_its_readings_and_decision_and_the_next_one_is_whole(replay: Replay):
    state, product = replay.state, replay.product
    state.skipped.skip(NEXT_WEEK, "the airport lost its tapes", "ann")

    for key in (NEXT_WEEK, AFTER):
        period = product.period.at(key)
        replay.at(period.end)
        arrived = replay.tick("new_data")
        replay.at(period.end + product.label.delay)
        for result in [*arrived, *replay.tick("labels")]:
            expect_success(result)

    # the skipped week has no rows, and everything that follows says why
    assert state.tables.read("raw", [NEXT_WEEK]).height == 0
    assert state.tables.read("predictions", [NEXT_WEEK]).height == 0
    drift = state.records.load(DriftRecord, NEXT_WEEK).reading
    assert drift.percent is None
    assert drift.reason.endswith(f"; without {NEXT_WEEK}, which were skipped")
    performance = state.records.load(PerformanceRecord, NEXT_WEEK).reading
    assert performance.loss_percent is None
    decision = state.records.load(DriftDecision, NEXT_WEEK)
    assert decision.action is Action.INCONCLUSIVE
    # the week after it is read and decided as ever, though its features look back to the skipped one
    assert state.tables.read("features", [AFTER]).height > 1_000
    assert state.records.load(DriftRecord, AFTER).reading.percent is not None
    assert state.records.load(DriftDecision, AFTER).model_version == 1


def test_a_training_window_with_a_skipped_period_is_learned_from(replay: Replay):
    state, product = replay.state, replay.product
    state.skipped.skip(NEXT_WEEK, "the airport lost its tapes", "ann")
    period = product.period.at(NEXT_WEEK)
    replay.at(period.end)
    results = replay.tick("new_data")
    replay.at(period.end + product.label.delay)
    for result in [*results, *replay.tick("labels")]:
        expect_success(result)

    following = product.period.shift(period, 1).key
    two_weeks_tested = replace(product, test_window=2 * product.period.length)
    rows = load_training_set(state.workspace.of(two_weeks_tested), following)

    assert NEXT_WEEK not in set(rows["period"])
    assert SERVED_WEEK in set(rows["period"])


def test_a_skipped_period_that_is_asked_for_again_is_stored_with_its_rows(replay: Replay):
    state, product = replay.state, replay.product
    state.skipped.skip(NEXT_WEEK, "the airport lost its tapes", "ann")
    replay.at(product.period.at(NEXT_WEEK).end)
    for result in replay.tick("new_data"):
        expect_success(result)
    assert newest_metadata(replay, "raw")["skipped"] == "skipped by ann: the airport lost its tapes"

    state.skipped.ask_again(NEXT_WEEK, "ann")
    for result in replay.tick("new_data"):
        expect_success(result)

    assert state.tables.read("raw", [NEXT_WEEK]).height > 1_000
