"""Which periods and assets a command runs: exactly those that were named."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import DeclarationError, NotArrived
from mlops_assets.products.policy import Action
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.replay.asked_runs import Decided, Outcome, decisions_of, keys_of_range
from mlops_assets.state.workspace import Workspace

NOW = datetime(2014, 1, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("partition", "keys"),
    [
        ("", ()),
        ("2013-01-07", ("2013-01-07",)),
        ("2013-01-07..2013-01-07", ("2013-01-07",)),
        ("2013-01-07..2013-01-21", ("2013-01-07", "2013-01-14", "2013-01-21")),
    ],
)
def test_a_range_holds_both_its_ends(partition: str, keys: tuple[str, ...]):
    assert keys_of_range(flight_delay, partition, NOW) == keys


@pytest.mark.parametrize(
    ("partition", "said"),
    [
        ("2013-01-14..2013-01-07", "ends before it starts"),
        ("2013-01-08", r"no period begins on 2013-01-08. The nearest one is 2013-01-07"),
        ("2013-01-07..", "'' is not a period key"),
        ("2013-12-23..2014-01-06", "flight_delay has no period 2013-12-30. Its first is 2012-12-31"),
        ("2012-12-24", "flight_delay has no period 2012-12-24"),
    ],
)
def test_a_range_that_is_none_says_why(partition: str, said: str):
    with pytest.raises(DeclarationError, match=said):
        keys_of_range(flight_delay, partition, NOW)


def test_a_product_without_an_end_has_every_later_period():
    running = replace(flight_delay, period=replace(flight_delay.period, end=None))

    assert keys_of_range(running, "2013-12-23..2013-12-30", NOW) == ("2013-12-23", "2013-12-30")


def test_a_period_that_has_not_begun_has_no_partition():
    begin = datetime(2013, 1, 14, tzinfo=UTC)

    assert keys_of_range(flight_delay, "2013-01-14", begin) == ("2013-01-14",)
    with pytest.raises(NotArrived, match="the period 2013-01-21 of flight_delay begins at 2013-01-21 00:00 UTC"):
        keys_of_range(flight_delay, "2013-01-14..2013-01-21", begin)


def test_of_runs_that_decided_the_decisions_are_said_with_what_follows(tmp_path: Path):
    state = Workspace(tmp_path).of(flight_delay)
    for key, action in (("2013-05-06", Action.NONE), ("2013-05-13", Action.RETRAIN), ("2013-05-20", Action.REWORK)):
        reason = f"the reason of {action}"
        state.records.save(key, DriftDecision(key, action, 6.0, 5.0, 7.0, (), reason, action, 6.0, (), 1))
    runs = [a_run("2013-05-06", "drift_decision"), a_run("2013-05-13", "drift_decision"), a_run("2013-05-20", "labels")]

    assert decisions_of(state, runs) == [
        Decided("2013-05-06", "none", "the reason of none", "nothing", "2013-05-06"),
        Decided("2013-05-13", "retrain", "the reason of retrain", "train", "2013-05-20"),
    ]


def a_run(key: str, *materialized: str) -> Outcome:
    return Outcome("a run", (key,), True, 1.0, materialized, "")
