"""Rules of staleness: what a fresh model gains over the champion on the same rows, and when that asks for retraining."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from mlops_assets.monitoring.staleness import PeriodScores, measure_staleness
from mlops_assets.products.task import Task
from mlops_assets.records.readings import StalenessState

MONDAY = date(2013, 7, 1)


def a_period(
    labels: list[float], champion: list[float], challenger: list[float], name: str = "2013-07-01"
) -> PeriodScores:
    """Rows dealt out over five days in turn."""
    days = pl.Series([MONDAY + timedelta(row % 5) for row in range(len(labels))], dtype=pl.Date)
    return PeriodScores(name, np.array(labels), np.array(champion), np.array(challenger), days)


def a_day(number: int, champion_off: float, challenger_off: float) -> PeriodScores:
    """A period of one day with ten rows, all of which are missed by as much."""
    day = MONDAY + timedelta(number)
    labels, days = np.full(10, 100.0), pl.Series([day] * 10, dtype=pl.Date)
    return PeriodScores(f"{day}", labels, labels + champion_off, labels + challenger_off, days)


def read(*periods: PeriodScores, **changed):
    usual = {"task": Task.REGRESSION, "metric": "mae", "stale": 1.0, "min_rows": 10, "trained_before": "2013-07-01"}
    return measure_staleness(periods, **{**usual, "seed": 7, **changed})


def test_less_error_than_the_champion_is_a_gain_in_percent_of_its_error():
    reading = read(a_period([100.0] * 50, [110.0] * 50, [109.0] * 50))  # off by 9 in place of 10

    assert reading.state is StalenessState.CONCLUSIVE
    assert (reading.percent, reading.low, reading.high) == (pytest.approx(10), pytest.approx(10), pytest.approx(10))
    assert (reading.champion, reading.challenger, reading.rows) == (10, 9, 50)
    assert reading.is_actionable
    assert reading.reason == "a fresh model gains 10.0 % of mae (10.0 to 10.0) on 1 period"


def test_a_fresh_model_that_is_worse_loses_and_does_not_act():
    reading = read(a_period([100.0] * 50, [110.0] * 50, [111.0] * 50))

    assert reading.percent == pytest.approx(-10)
    assert not reading.is_actionable
    # the interval lies below zero, so it does exclude zero
    assert reading.reason == "a fresh model loses 10.0 % of mae (-10.0 to -10.0) on 1 period, which is worse"


@pytest.mark.parametrize(("stale", "is_actionable"), [(9.9, True), (10.0, True), (10.1, False)])
def test_a_gain_has_to_reach_what_is_worth_a_retraining(stale, is_actionable):
    reading = read(a_period([100.0] * 50, [110.0] * 50, [109.0] * 50), stale=stale)

    assert reading.is_actionable is is_actionable
    assert ("worth a retraining" in reading.reason) is not is_actionable


def test_a_gain_on_some_days_only_does_not_exclude_zero():
    better_on_two_days = [100.0 if row % 5 < 2 else 113.0 for row in range(50)]  # mean error 7.8 against 10

    reading = read(a_period([100.0] * 50, [110.0] * 50, better_on_two_days))

    assert reading.percent == pytest.approx(22)
    assert reading.low <= 0
    assert not reading.is_actionable
    assert reading.reason.endswith("which does not exclude zero")


def test_scores_are_compared_within_a_period_so_that_a_change_of_the_rate_is_no_skill():
    """Both rank every row of a week alike; the challenger only follows the rate, which pooled rows would take for skill."""
    quiet = a_period([0, 0, 0, 1] * 10, [0.1, 0.2, 0.4, 0.3] * 10, [0.1, 0.2, 0.4, 0.3] * 10, "week 1")
    stormy = a_period([1, 1, 0, 1] * 10, [0.4, 0.3, 0.2, 0.1] * 10, [0.8, 0.7, 0.6, 0.5] * 10, "week 2")

    reading = read(quiet, stormy, task=Task.BINARY, metric="roc_auc")

    assert reading.percent == pytest.approx(0)
    assert reading.periods == ("week 1", "week 2")


def test_too_few_rows_are_inconclusive_and_no_zero():
    reading = read(a_period([100.0] * 9, [110.0] * 9, [100.0] * 9))

    assert (reading.state, reading.percent) == (StalenessState.INCONCLUSIVE, None)
    assert reading.reason == "9 labelled rows to compare on, the policy asks for 10"


def test_a_period_with_one_outcome_only_has_no_ranking_to_compare():
    reading = read(a_period([1.0] * 50, [0.5] * 50, [0.6] * 50), task=Task.BINARY, metric="roc_auc")

    assert (reading.state, reading.percent) == (StalenessState.INCONCLUSIVE, None)
    assert "all have the same label" in reading.reason


def test_a_champion_whose_score_is_zero_has_no_percent_to_gain():
    reading = read(a_period([100.0] * 50, [100.0] * 50, [101.0] * 50))

    assert reading.state is StalenessState.INCONCLUSIVE
    assert "a gain in percent does not exist" in reading.reason


def test_the_same_rows_and_seed_give_the_same_reading():
    draw = np.random.default_rng(3)
    labels = draw.integers(0, 2, 200).astype(float).tolist()
    period = a_period(labels, draw.random(200).tolist(), draw.random(200).tolist())

    first, second = (read(period, task=Task.BINARY, metric="roc_auc") for _ in range(2))

    assert first == second
    assert first.low <= first.percent <= first.high


def test_periods_of_a_single_day_are_resampled_together_so_that_the_interval_has_a_width():
    """Eight days, each a period: resampled within each day, every sample would be the same."""
    gains = [0, 8, 1, 7, 2, 6, 3, 5]
    daily = [a_day(number, champion_off=10, challenger_off=10 - gain) for number, gain in enumerate(gains)]

    alone, together = (read(*daily, min_blocks=8, periods_in_group=size) for size in (1, 7))

    assert alone.low == alone.high == pytest.approx(40)  # the mean gain is 4 of 10
    assert together.percent == pytest.approx(40)
    assert together.low < 30 < 50 < together.high


@pytest.mark.parametrize(("days", "state"), [(7, StalenessState.INCONCLUSIVE), (8, StalenessState.CONCLUSIVE)])
def test_fewer_days_than_the_policy_asks_for_make_no_interval(days, state):
    daily = [a_day(number, champion_off=10, challenger_off=number) for number in range(days)]

    reading = read(*daily, min_blocks=8, periods_in_group=7)

    assert reading.state is state
    if state is StalenessState.INCONCLUSIVE:
        assert reading.reason.startswith("labels of 7 days to compare on, an interval takes 8 (min_blocks)")
