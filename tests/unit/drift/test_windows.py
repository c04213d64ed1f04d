"""Monitoring windows are whole weeks, never rows that a model was trained on, and find last year's season."""

from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.flights.flight_delay import flight_delay
from mlops_assets.drift.windows import (
    current_keys,
    is_trained_on,
    newest_learnable,
    periods_in_window,
    reference_window,
    season_keys,
    seasonal_inputs,
    unseen_from,
)
from mlops_assets.products.feature_view import Role
from mlops_assets.products.periods import daily, weekly, weeks
from tests.unit.training.builders import a_product, january

DAILY = a_product(period=daily(start="2020-01-01"))


def test_a_week_is_its_own_window_and_days_make_one_of_seven():
    assert periods_in_window(flight_delay) == 1
    assert current_keys(flight_delay, "2013-07-01") == ["2013-07-01"]
    assert periods_in_window(DAILY) == 7
    assert current_keys(DAILY, "2020-01-10") == [f"2020-01-{day:02}" for day in range(4, 11)]


def test_the_first_days_make_no_whole_window():
    assert current_keys(DAILY, "2020-01-03") == ["2020-01-01", "2020-01-02", "2020-01-03"]


def test_days_are_put_into_weeks_counted_back_from_the_newest():
    rows = pl.DataFrame({"asked_at": [january(day) for day in (1, 2, 3, 8, 9, 16)]})

    # the newest day is the 16th: its week begins on the 10th, the one before on the 3rd
    expected = ["2019-12-27", "2019-12-27", "2020-01-03", "2020-01-03", "2020-01-03", "2020-01-10"]
    assert reference_window(DAILY, rows).to_list() == expected


def test_rows_of_a_weekly_product_belong_to_their_period():
    events = pl.DataFrame(
        {"scheduled_departure": [flight_delay.period.at("2013-07-01").start + timedelta(days=day) for day in range(9)]}
    )

    assert reference_window(flight_delay, events).to_list() == ["2013-07-01"] * 7 + ["2013-07-08"] * 2


@pytest.mark.parametrize(("key", "is_old"), [("2013-06-10", True), ("2013-06-17", False), ("2013-07-01", False)])
def test_a_model_has_seen_what_lies_before_its_test_window(key, is_old):  # of two weeks
    assert is_trained_on(flight_delay, "2013-07-01", [key]) is is_old


@pytest.mark.parametrize(("key", "is_old"), [("2013-06-10", True), ("2013-06-17", True), ("2013-06-24", False)])
def test_a_model_has_seen_the_periods_up_to_its_newest_row(key, is_old):
    """It was fitted on the first days of a shift that began on 17 June."""
    newest = flight_delay.period.at("2013-06-17").start + timedelta(days=4)

    assert is_trained_on(flight_delay, "2013-07-01", [key], newest) is is_old


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("", "2013-06-17"),  # the last two weeks
        ("2013-06-24", "2013-06-17"),  # half a week is 3 days: the labels of one day, of the two that a label takes
        ("2013-06-17", "2013-06-24"),  # the later of two weeks
        ("2013-06-10", "2013-06-21"),  # of three weeks the last 10 days
        ("2013-06-03", "2013-06-17"),
        ("2013-04-01", "2013-06-17"),
    ],
)
def test_after_a_shift_the_later_half_of_what_came_since_is_tested_on(since, expected):
    assert f"{unseen_from(flight_delay, '2013-07-01', since):%Y-%m-%d}" == expected


@given(delay=st.integers(0, 13), back=st.integers(1, 16))
def test_whatever_the_delay_both_sides_hold_rows_of_after_the_shift_or_the_split_is_as_usual(delay, back):
    product = replace(flight_delay, label=replace(flight_delay.label, delay=timedelta(days=delay)))
    cutoff = product.period.at("2013-07-01")
    began = product.period.shift(cutoff, -back)
    start = unseen_from(product, cutoff.key, began.key)

    ordinary = cutoff.start - product.test_window
    assert start >= ordinary
    if start > ordinary:
        days_to_fit = start - product.label.delay - began.start
        days_to_test = cutoff.start - product.label.delay - start
        assert min(days_to_fit, days_to_test) >= timedelta(days=3)


@pytest.mark.parametrize(
    ("delay", "expected"),
    [
        (0, "2013-06-24"),  # half of one week is three days, and their labels are known at once
        (1, "2013-06-17"),  # two weeks: seven days to fit less the delay
        (2, "2013-06-17"),
        (4, "2013-06-17"),
        (
            5,
            "2013-06-10",
        ),  # half of two weeks less five days leaves two; three weeks, of which ten are tested on, leave six
        (10, "2013-06-03"),
    ],
)
def test_the_newest_shift_that_can_be_learned_depends_on_when_labels_are_known(delay, expected):
    product = replace(flight_delay, label=replace(flight_delay.label, delay=timedelta(days=delay)))

    assert newest_learnable(product, "2013-07-01") == expected


def two_years(**changes):
    return replace(
        flight_delay, period=weekly(start="2012-01-02", end="2014-01-06"), training_window=weeks(4), **changes
    )


def test_the_same_season_is_the_weeks_around_the_one_a_year_before():
    stored = [period.key for period in two_years().period.window_before("2014-01-06", weeks(105))]

    # 52 weeks before 2013-07-01 is 2012-07-02; four weeks of training make two before and two from there
    assert season_keys(two_years(), "2013-07-01", stored) == ["2012-06-18", "2012-06-25", "2012-07-02", "2012-07-09"]


@pytest.mark.parametrize(("stored", "found"), [(3, 3), (2, 0), (0, 0)])
def test_half_a_season_or_less_is_none(stored, found):
    keys = ["2012-06-18", "2012-06-25", "2012-07-02", "2012-07-09"][:stored]

    assert len(season_keys(two_years(), "2013-07-01", keys)) == found


def test_features_that_drift_with_the_season_are_read_like_any_input_against_it():
    found = seasonal_inputs(flight_delay)

    assert {feature.name for feature in found} >= {"temperature", "pressure"}
    assert {feature.role for feature in found} == {Role.INPUT}
