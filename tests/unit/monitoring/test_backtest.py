"""Specification of the policies a backtest replays."""

from datetime import timedelta

import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import DataError, DeclarationError
from mlops_assets.monitoring.backtest import compare, equal_budget, run_backtest
from mlops_assets.monitoring.plans import Plan, calendar, parse_policy, plans_of
from mlops_assets.products.policy import Action, DriftPolicy
from mlops_assets.records.decisions import Backtest, BacktestPeriod


def test_a_policy_is_written_as_changes_to_the_shipped_one():
    policy = parse_policy(DriftPolicy(), "retrain=4, rework=12.5,cooldown=30d,agreeing_periods=1")

    assert policy == DriftPolicy(retrain=4, rework=12.5, cooldown=timedelta(days=30), agreeing_periods=1)


def test_an_age_is_written_in_days():
    assert parse_policy(DriftPolicy(), "max_age=63d").max_age == timedelta(days=63)


@pytest.mark.parametrize(
    ("every", "first", "weeks"),
    [(4, None, [4, 8, 12]), (4, 1, [1, 5, 9]), (4, 4, [4, 8, 12]), (1, None, list(range(1, 13))), (0, None, [])],
)
def test_a_calendar_retrains_every_so_many_periods_from_its_first_on(every, first, weeks):
    plan = calendar(flight_delay, "calendar", every, first)

    assert [week for week in range(1, 13) if plan.is_due(week)] == weeks


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("max_age=old", "max_age='old' is not a number. Write it as max_age=30d"),
        ("max_age=0d", "max_age .* must be above 0"),
        ("retrian=5", r"no setting 'retrian'.*Did you mean 'retrain'\?"),
        ("retrain=five", "retrain='five' is not a number"),
        ("retrain=20", "drift bands must rise"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_with_the_reason(text, sentence):
    with pytest.raises(DeclarationError, match=sentence):
        parse_policy(DriftPolicy(), text)


def test_every_comparison_has_the_shipped_policy_and_the_two_ends():
    plans = plans_of(flight_delay, ["retrain=4"])

    assert [(plan.name, plan.every) for plan in plans] == [
        ("shipped", None),
        ("retrain=4", None),
        ("never", 0),
        ("every period", 1),
    ]
    assert plans[1].policy.retrain == 4


def test_every_plan_that_sends_back_is_answered_after_the_same_time():
    plans = plans_of(flight_delay, ["retrain=4"], answer_after=None)

    assert [plan.answer_after for plan in plans[:2]] == [None, None]
    with pytest.raises(DeclarationError, match="answer_after 0: development answers after 1 period or more, or never"):
        Plan("shipped", flight_delay.drift, answer_after=0)


def test_a_state_without_history_has_nothing_to_replay(workspace):
    with pytest.raises(DataError, match=r"0 deployments, 0 decisions.*--home or --state \(the demo's is var/demo\)"):
        run_backtest(workspace.of(flight_delay), Plan("shipped", flight_delay.drift))


def test_the_comparison_counts_what_was_carried_out_and_averages_the_scores_there_are():
    def period(action: Action, score: float | None) -> BacktestPeriod:
        return BacktestPeriod("2013-04-22", action, 3.0, score, 1, "")

    periods = (period(Action.RETRAIN, 0.7), period(Action.WATCH, None), period(Action.RETRAIN, 0.6))

    (row,) = compare(
        [
            Backtest(
                "shipped", "roc_auc", periods, trained=3, deployed=2, fit_seconds=1.5, watch_seconds=0.5, rolled_back=1
            )
        ]
    )

    assert row == {
        "plan": "shipped",
        "roc_auc": pytest.approx(0.65),
        "trained": 3,
        "deployed": 2,
        "rolled back": 1,
        "watch": 1,
        "retrain": 2,
        "rework": 0,
        "train s": 1.5,
        "watch s": 0.5,
    }


@pytest.mark.parametrize(("trained", "every"), [(2, 12), (5, 3), (40, 1)])
def test_a_plan_is_compared_with_the_calendar_that_trains_as_often(trained, every):
    periods = tuple(BacktestPeriod(str(week), Action.NONE, 0.0, 0.7, 1, "") for week in range(12))

    plan = equal_budget(flight_delay, Backtest("shipped", "roc_auc", periods, trained, deployed=1, fit_seconds=1.0))

    assert plan is not None
    assert plan.every == every
    assert plan.policy.staleness_every == 0  # nobody looks at what a fresh model would gain


def test_a_plan_that_never_retrained_has_no_calendar_of_its_budget():
    assert equal_budget(flight_delay, Backtest("shipped", "roc_auc", (), 1, 1, 0.0)) is None
