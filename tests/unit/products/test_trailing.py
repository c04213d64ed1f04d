"""Trailing views: what was learned about a key lately, declared in one call and refused where it makes no sense."""

from datetime import timedelta
from typing import Any

import narwhals as nw
import polars as pl
import pytest

from mlops_assets.errors import DeclarationError
from mlops_assets.features.views import lookup_table
from mlops_assets.products.feature_view import CREATED_TIME, Feature, FeatureView, Tables
from mlops_assets.products.periods import days, hours
from mlops_assets.products.trailing import COUNT, trailing_view
from tests.unit.training.builders import a_ride, january, rides

MEAN_WAIT = Feature("mean_wait", nw.col("waited") / nw.col(COUNT), unit="min")


def told_rides(tables: Tables) -> Any:
    return tables["rides"].with_columns(nw.col("told_at").alias(CREATED_TIME))


def long_rides(tables: Tables) -> Any:
    return told_rides(tables).filter(nw.col("distance") > 3)


def a_view(*features: Feature, **changes: Any) -> FeatureView:
    usual = {"rows": told_rides, "key": ("origin",), "window": hours(2), "sums": ("waited",)}
    lives = {"time_to_live": hours(6), "lookback": days(1)}
    return trailing_view("waits_lately", features or (MEAN_WAIT,), **{**usual, **lives, **changes})


def test_each_hour_that_brought_something_has_the_sums_of_the_window_up_to_its_end():
    rows = rides(
        a_ride(1, january(2), told_at=january(2, 8, 10), waited=4.0),
        a_ride(2, january(2), told_at=january(2, 8, 59, 59), waited=6.0),  # the same hour, which is over at 9:00
        a_ride(3, january(2), told_at=january(2, 9), waited=11.0),  # counts from 10:00
        a_ride(4, january(2), told_at=january(2, 10, 30), waited=None),  # the first two leave; a null adds nothing
        a_ride(5, january(2), told_at=january(2, 8, 30), waited=50.0, origin="JFK"),
        a_ride(6, january(2), told_at=january(2, 8, 30), waited=70.0, origin=None),  # nobody's
    )
    view = a_view(MEAN_WAIT, Feature("waits", nw.col("waited")), Feature("rides", nw.col(COUNT)))

    table = lookup_table(view, {"rides": rows.lazy()}).collect().sort("origin", CREATED_TIME)

    assert table.select("origin", "event_time", "created_time", "mean_wait", "waits", "rides").rows() == [
        ("EWR", january(2, 9), january(2, 9), 5.0, 10.0, 2.0),
        ("EWR", january(2, 10), january(2, 10), 7.0, 21.0, 3.0),
        ("EWR", january(2, 11), january(2, 11), 5.5, 11.0, 2.0),
        ("JFK", january(2, 9), january(2, 9), 50.0, 50.0, 1.0),
    ]


@pytest.mark.parametrize(
    ("step", "window", "known_from"),
    [("1m", timedelta(minutes=5), january(2, 8, 11)), ("1h", hours(2), january(2, 9)), ("1d", days(1), january(3))],
)
def test_what_is_learned_in_a_step_counts_when_the_step_is_over(step, window, known_from):
    rows = rides(a_ride(1, january(2), told_at=january(2, 8, 10, 30)))

    table = lookup_table(a_view(step=step, window=window), {"rides": rows.lazy()}).collect()

    assert table[CREATED_TIME].to_list() == [known_from]


def test_nothing_learned_is_an_empty_table():
    assert lookup_table(a_view(), {"rides": rides().lazy()}).collect().shape == (0, 4)


def test_a_row_that_was_never_learned_does_not_count():
    never = rides(a_ride(1, january(2))).with_columns(told_at=pl.lit(None, pl.Datetime("us", "UTC")))

    assert lookup_table(a_view(), {"rides": never.lazy()}).collect().height == 0


def test_a_step_that_no_engine_has_is_refused_with_those_there_are():
    with pytest.raises(DeclarationError, match=r"'waits_lately' has the step '15m'. Choose one of 1m, 1h, 1d"):
        a_view(step="15m")


@pytest.mark.parametrize("window", [timedelta(0), timedelta(hours=-1), timedelta(minutes=90)])
def test_a_window_is_a_positive_number_of_whole_steps(window):
    with pytest.raises(
        DeclarationError, match=r"'waits_lately' has a window of .* not a positive number of whole steps"
    ):
        a_view(window=window)


def test_a_lookback_that_misses_a_part_of_the_window_is_refused():
    with pytest.raises(DeclarationError, match=r"has a lookback of 1 day, 0:00:00, shorter than its window of 2 days"):
        a_view(window=days(2))


def test_a_feature_that_says_nothing_is_named():
    with pytest.raises(DeclarationError, match=r"has no expression for last_wait. .* the sums waited and COUNT"):
        a_view(MEAN_WAIT, Feature("last_wait"))


@pytest.mark.parametrize(
    ("features", "changes", "name"),
    [
        ((MEAN_WAIT,), {"sums": ("waited", COUNT)}, COUNT),
        ((Feature("created_time", nw.col("waited")),), {}, "created_time"),
        ((Feature("origin", nw.col("waited")),), {}, "origin"),
    ],
)
def test_names_that_the_table_needs_itself_are_refused(features, changes, name):
    with pytest.raises(DeclarationError, match=rf"has a sum or a feature called {name}"):
        a_view(*features, **changes)
