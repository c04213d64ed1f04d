"""The first champion needs nobody: it is asked for once, when enough labelled periods are stored."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets.products.gates import at_least, latency_p99, onnx_parity
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.replay.runs import Replay, expect_success
from tests.dagster.builders import (
    FIRST_KEY,
    SERVED_WEEK,
    Webhook,
    a_replay,
    a_small_product,
    evaluate,
    launch,
    materialized,
    serve_from,
    store,
)
from tests.dagster.test_sensors import asked, moment, watching

pytestmark = pytest.mark.timeout(900)  # it trains

FIRST = "flight_delay_first_champion"
# the small product learns from eight weeks; the labels of the eighth are due on 2013-02-27
WEEKS = [
    "2012-12-31",
    "2013-01-07",
    "2013-01-14",
    "2013-01-21",
    "2013-01-28",
    "2013-02-04",
    "2013-02-11",
    "2013-02-18",
]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Replay]:
    yield from watching(tmp_path)


def stored(watched: Replay, *weeks: str) -> None:
    for table in ("raw", "features", "labels"):
        store(watched.state, table, *weeks)


def test_an_empty_home_says_how_many_periods_are_missing(watched: Replay):
    watched.at(moment("2013-01-01"))

    assert evaluate(watched, FIRST, None).skip_message == "0 of 8 labelled periods are stored: 8 more are needed"


def test_it_is_asked_for_when_the_training_window_is_labelled_and_not_a_period_before(watched: Replay):
    stored(watched, *WEEKS[:7])
    watched.at(moment("2013-02-20"))
    before = evaluate(watched, FIRST, None)
    stored(watched, WEEKS[7])
    watched.at(moment("2013-02-27"))

    tick = evaluate(watched, FIRST, None)

    assert (asked(before), before.skip_message) == ([], "7 of 8 labelled periods are stored: 1 more are needed")
    assert asked(tick) == [("2013-02-25", "first_champion")]
    (request,) = tick.run_requests
    assert {key.path[-1] for key in request.asset_selection} >= {"experiment", "recipe", "model", "deployment"}
    assert request.run_config["ops"]["flight_delay__experiment"] == {"config": {"as_of": "2013-02-25"}}


def test_a_backlog_is_stored_first_so_that_it_learns_from_the_newest_periods(watched: Replay):
    stored(watched, *WEEKS)
    watched.at(moment("2013-03-04"))  # another week is over

    assert evaluate(watched, FIRST, None).skip_message == "waits for the arrival of 2013-02-25"


def test_labels_that_are_due_are_waited_for(watched: Replay):
    stored(watched, *WEEKS)
    store(watched.state, "raw", "2013-02-25")
    store(watched.state, "features", "2013-02-25")
    watched.at(moment("2013-03-06"))

    assert evaluate(watched, FIRST, None).skip_message == "waits for the labels of 2013-02-25"


def test_a_period_in_the_middle_without_labels_is_waited_for(watched: Replay):
    stored(watched, *WEEKS[:3], *WEEKS[4:])
    store(watched.state, "features", WEEKS[3])
    watched.at(moment("2013-02-27"))

    assert evaluate(watched, FIRST, None).skip_message == "waits for the labels of 2013-01-21"


def test_with_a_champion_nothing_is_asked_for(watched: Replay):
    stored(watched, *WEEKS)
    serve_from(watched.state, moment("2013-02-27"))
    watched.at(moment("2013-02-27"))

    assert evaluate(watched, FIRST, None).skip_message == "version 1 serves"


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS])
def test_it_is_asked_for_once_whatever_arrives_later(watched: Replay, status: dg.DagsterRunStatus):
    stored(watched, *WEEKS)
    watched.at(moment("2013-02-27"))
    (request,) = evaluate(watched, FIRST, None).run_requests
    launch(watched.instance, request, status)
    stored(watched, "2013-02-25")
    watched.at(moment("2013-03-06"))

    again = evaluate(watched, FIRST, None)

    assert asked(again) == []
    assert again.skip_message.startswith("first_champion of 2013-02-25 is ")


def test_gates_that_refuse_it_are_told_once_and_a_person_can_ask_again(tmp_path: Path, webhook: Webhook):
    gates = (at_least("roc_auc", 0.999), onnx_parity(1e-4), latency_p99(milliseconds=2_000))
    with a_replay(a_small_product(gates=gates), tmp_path / "home", webhook.url) as replay:
        with_history(replay)
        started = evaluate(replay, "failures", None)
        (request,) = evaluate(replay, FIRST, None).run_requests
        assert not replay.run(request).success

        after = evaluate(replay, FIRST, None)
        told = evaluate(replay, "failures", started.cursor)
        evaluate(replay, "failures", told.cursor)
        replay.state.skipped.ask_again(FIRST_KEY, "ana")

        assert after.skip_message == (
            "first_champion of 2013-02-25 is refused. Change the product, then `mlops retry flight_delay 2013-02-25`."
        )
        (posted,) = webhook.posted
        assert posted["title"] == "run of flight_delay:2013-02-25:first_champion failed"
        assert "roc_auc" in posted["text"]
        assert asked(evaluate(replay, FIRST, None)) == [(FIRST_KEY, "first_champion")]


def with_history(replay: Replay) -> None:
    """The eight weeks, stored and labelled by the sensors."""
    replay.at(moment(FIRST_KEY))
    results = replay.tick("new_data")
    replay.at(moment("2013-02-27"))
    for result in [*results, *replay.tick("labels")]:
        expect_success(result)


def test_nobody_is_needed_from_an_empty_home_to_a_champion_and_a_decided_week(tmp_path: Path):
    with a_replay(a_small_product(), tmp_path / "home") as replay:
        with_history(replay)

        (first,) = replay.tick("first_champion")
        served = replay.product.period.at(SERVED_WEEK)
        replay.at(served.end)
        arrived = replay.tick("new_data")
        replay.at(served.end + replay.product.label.delay)
        labelled = replay.tick("labels")

        for result in (first, *arrived, *labelled):
            expect_success(result)
        assert materialized(first) >= {"experiment", "recipe", "training_set", "model", "test_report", "deployment"}
        assert replay.state.ledger.champion().partition == FIRST_KEY
        assert replay.state.records.keys(DriftDecision) == [SERVED_WEEK]
