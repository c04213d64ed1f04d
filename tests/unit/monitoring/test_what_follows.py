"""Rules of the loop between one period and the next: what follows a decision, and what a flag for rework holds back."""

from datetime import datetime, timedelta

import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.monitoring.loop import LoopState, Next, Step, decided_at, is_answered_after, send_back, what_follows
from mlops_assets.products.policy import Action
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.state.ledger import ReworkFlag

A_WEEK = timedelta(weeks=1)
# labels of the week 2013-07-01 to 07-07 are known two days after it
DECIDED = datetime.fromisoformat("2013-07-10T00:00+00:00")


def a_decision(period: str, action: Action) -> DriftDecision:
    return DriftDecision(period, action, 12.0, 11.0, 13.0, ("dest",), "it moved", action, 12.0, (("dest", 12.0),), 1)


def a_flag(at: datetime, cleared_at: datetime | None = None) -> ReworkFlag:
    return ReworkFlag(1, at, "it moved", cleared_at)


def awaits(at: datetime, *flags: ReworkFlag, decisions: tuple[DriftDecision, ...] = ()) -> bool:
    return LoopState(decisions, flags).awaits_rework(flight_delay, at)


@pytest.mark.parametrize(
    ("action", "period", "expected"),
    [
        (Action.RETRAIN, "2013-07-01", Next(Step.TRAIN, "2013-07-08", "2013-07-01: retrain")),
        (Action.REWORK, "2013-07-01", Next(Step.SEND_BACK, "2013-07-01", "2013-07-01: rework")),
        (Action.WATCH, "2013-07-01", Next(Step.NOTHING, "2013-07-01", "2013-07-01: watch")),
        (
            Action.RETRAIN,
            "2013-12-23",  # the product's last period
            Next(Step.NOTHING, "2013-12-23", "2013-12-23: retrain, but flight_delay has no period 2013-12-30"),
        ),
        (Action.REWORK, "2013-12-23", Next(Step.SEND_BACK, "2013-12-23", "2013-12-23: rework")),
    ],
)
def test_every_action_leads_to_one_step(action, period, expected):
    assert what_follows(flight_delay, a_decision(period, action)) == expected


def test_a_period_is_decided_when_its_labels_are_due():
    assert decided_at(flight_delay, "2013-07-01") == DECIDED


@pytest.mark.parametrize(
    ("later", "cleared", "stands"),
    [
        (timedelta(0), None, False),  # the decision that raised it may be made again
        (A_WEEK, None, True),
        (A_WEEK, timedelta(0), False),  # answered at once
        (A_WEEK, A_WEEK, False),  # answered when the next period is decided
        (A_WEEK, 2 * A_WEEK, True),
        (2 * A_WEEK, 2 * A_WEEK, False),
    ],
)
def test_a_flag_holds_back_what_is_decided_after_it_until_it_is_cleared(later, cleared, stands):
    flag = a_flag(DECIDED, None if cleared is None else DECIDED + cleared)

    assert awaits(DECIDED + later, flag) is stands


def test_a_decision_for_rework_holds_back_before_its_brief_was_written():
    sent_back = (a_decision("2013-07-01", Action.REWORK),)

    assert awaits(DECIDED + A_WEEK, decisions=sent_back)
    assert not awaits(DECIDED, decisions=sent_back)


def test_a_rework_that_was_answered_holds_nothing_back():
    sent_back = (a_decision("2013-07-01", Action.REWORK),)

    assert not awaits(DECIDED + A_WEEK, a_flag(DECIDED, DECIDED + timedelta(days=1)), decisions=sent_back)
    # a flag that was cleared before it is no answer to it
    assert awaits(DECIDED + A_WEEK, a_flag(DECIDED - 2 * A_WEEK, DECIDED - A_WEEK), decisions=sent_back)


def test_periods_that_are_decided_late_see_the_flag(workspace):
    """A catch-up in September: the flag stands from the time on at which the rework was due, not from September."""
    state = workspace.of(flight_delay)
    sent_back = a_decision("2013-07-01", Action.REWORK)

    send_back(state, sent_back)

    (flag,) = state.ledger.flags()
    assert (flag.version, flag.flagged_at, flag.cleared_at) == (1, DECIDED, None)
    assert awaits(decided_at(flight_delay, "2013-07-08"), flag, decisions=(sent_back,))


@pytest.mark.parametrize(
    ("answer_after", "period", "is_due"),
    [
        (1, "2013-07-01", True),
        (2, "2013-07-01", False),
        (2, "2013-07-08", True),
        (3, "2013-07-08", False),
        (None, "2013-12-23", False),
    ],
)
def test_a_team_answers_after_the_declared_number_of_periods(answer_after, period, is_due):
    assert is_answered_after(flight_delay, a_flag(DECIDED), period, answer_after) is is_due


def test_only_decisions_to_retrain_count_as_retrainings():
    decisions = (a_decision("2013-06-24", Action.RETRAIN), a_decision("2013-07-01", Action.REWORK))

    assert LoopState(decisions, ()).retrained_at(flight_delay) == [DECIDED - A_WEEK]
