"""Point-in-time join: what was known and alive when the row's event happened, never what was learned later."""

import random
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.features.point_in_time import join_point_in_time, newest_known
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, Feature, FeatureView

MIDNIGHT = datetime(2013, 7, 1, tzinfo=UTC)
UTC_TIME = pl.Datetime("us", "UTC")
Value = tuple[str | None, int, int, float | None]
VIEW = FeatureView(
    "weather",
    (Feature("wind"),),
    key=("origin",),
    lookup=lambda tables: tables["wind"],
    time_to_live=timedelta(hours=6),
)


def at(hour: float) -> datetime:
    return MIDNIGHT + timedelta(hours=hour)


def values(*rows: Value) -> pl.LazyFrame:
    """(origin, hour it was true, hour it was learned, wind)"""
    schema = {"origin": pl.String, EVENT_TIME: UTC_TIME, CREATED_TIME: UTC_TIME, "wind": pl.Float64}
    return pl.LazyFrame([(key, at(true), at(learned), wind) for key, true, learned, wind in rows], schema, orient="row")


def winds(lookup: pl.LazyFrame, *events: tuple[str | None, float]) -> list[float | None]:
    """Wind of each (origin, hour), in the order of the events."""
    rows = pl.LazyFrame(
        [(number, origin, at(hour)) for number, (origin, hour) in enumerate(events)],
        {"row": pl.Int64, "origin": pl.String, "departs": UTC_TIME},
        orient="row",
    )
    joined = join_point_in_time(rows, lookup, VIEW, "departs").sort("row").collect()
    assert joined.columns == ["row", "origin", "departs", "wind"]
    assert joined["row"].to_list() == list(range(len(events)))
    return joined["wind"].to_list()


def test_a_value_that_was_learned_later_never_enters():
    lookup = values(("EWR", 8, 9, 10.0), ("EWR", 10, 14, 99.0))

    # at 12:00 the storm of 10:00 has happened, but nobody has told us
    assert winds(lookup, ("EWR", 12), ("EWR", 13.99), ("EWR", 14)) == [10, 10, 99]


def test_a_value_enters_at_the_very_moment_it_is_learned():
    lookup = values(("EWR", 8, 9, 10.0))

    assert winds(lookup, ("EWR", 8.99), ("EWR", 9)) == [None, 10]


def test_a_value_lives_exactly_as_long_as_its_time_to_live_after_its_event():
    lookup = values(("EWR", 8, 9, 10.0))

    assert winds(lookup, ("EWR", 14), ("EWR", 14 + 1 / 3600)) == [10, None]


def test_a_late_report_of_an_old_event_does_not_overwrite_a_newer_one():
    lookup = values(("EWR", 9, 10, 20.0), ("EWR", 8, 11, 99.0))

    assert winds(lookup, ("EWR", 12)) == [20]


def test_a_correction_of_the_same_event_replaces_it_from_when_it_was_learned():
    lookup = values(("EWR", 8, 9, 10.0), ("EWR", 8, 11, 12.0))

    assert winds(lookup, ("EWR", 10), ("EWR", 11)) == [10, 12]


def test_of_values_that_were_learned_together_the_one_with_the_newest_event_counts():
    reported_at_noon = [("EWR", hour, 12, float(hour)) for hour in (9, 11, 10)]

    assert winds(values(*reported_at_noon), ("EWR", 12)) == [11]


def test_a_key_without_a_value_has_none():
    lookup = values(("EWR", 8, 9, 10.0), (None, 8, 9, 77.0))

    assert winds(lookup, ("JFK", 10), (None, 10), ("EWR", 10)) == [None, None, 10]


def test_a_null_that_is_newer_is_not_filled_with_an_older_value():
    assert winds(values(("EWR", 8, 9, 10.0), ("EWR", 9, 10, None)), ("EWR", 11)) == [None]


def test_an_empty_lookup_leaves_every_row_without_a_value():
    assert winds(values(), ("EWR", 10), ("JFK", 10)) == [None, None]


def test_rows_that_are_alike_stay_as_many_as_they_were():
    assert winds(values(("EWR", 8, 9, 10.0), ("EWR", 8, 9, 10.0)), *[("EWR", 10)] * 3) == [10, 10, 10]


@pytest.mark.parametrize("value", ["a text", True, 3, MIDNIGHT, None], ids=lambda value: type(value).__name__)
def test_values_may_be_of_any_type(value):
    lookup = values(("EWR", 8, 9, 1.0)).with_columns(pl.lit(value).alias("wind"))

    assert winds(lookup, ("EWR", 10), ("JFK", 10)) == [value, None]


@pytest.mark.parametrize("category", [pl.Categorical, pl.Enum(["EWR", "JFK"])], ids=str)
def test_a_category_is_the_text_that_it_stands_for(category):
    lookup = values(("EWR", 8, 9, 1.0), ("JFK", 8, 9, 2.0)).with_columns(pl.col("origin").cast(category))

    assert winds(lookup, ("JFK", 10), ("EWR", 10), (None, 10)) == [2, 1, None]


@pytest.mark.parametrize("clock", [EVENT_TIME, CREATED_TIME])
def test_rows_keep_columns_that_are_named_like_the_clocks_of_a_lookup(clock):
    rows = pl.LazyFrame({"origin": ["EWR", "EWR"], clock: [at(10), at(15)]})

    joined = join_point_in_time(rows, values(("EWR", 8, 9, 10.0)), VIEW, clock).sort(clock).collect()

    assert joined.rows() == [("EWR", at(10), 10.0), ("EWR", at(15), None)]


def test_what_is_newest_rises_with_what_is_learned():
    lookup = values(("EWR", 9, 10, 20.0), ("EWR", 8, 11, 99.0), ("JFK", 8, 11, 5.0), ("EWR", 10, 12, 30.0))

    kept = newest_known(lookup, VIEW).collect()

    assert sorted(kept["wind"].to_list()) == [5, 20, 30]


def test_a_value_of_no_known_event_is_never_the_newest():
    lookup = values(("EWR", 9, 10, 20.0), ("EWR", 10, 11, 30.0))
    nameless = lookup.with_columns(pl.when(pl.col("wind") == 20).then(None).otherwise(EVENT_TIME).alias(EVENT_TIME))

    assert newest_known(nameless, VIEW).collect()["wind"].to_list() == [30]


hours_of_day = st.integers(0, 12)
lookups = st.lists(st.tuples(st.sampled_from("AB"), hours_of_day, hours_of_day), max_size=25, unique=True).map(
    lambda rows: [(key, true, true + wait, float(number)) for number, (key, true, wait) in enumerate(rows)]
)
events = st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 26)), min_size=1, max_size=8)


def by_definition(rows: list[Value], origin: str, hour: int) -> float | None:
    """Of what was created by then, the newest event, of equal events the newest report; null when it is too old."""
    known = [(true, learned, wind) for key, true, learned, wind in rows if key == origin and learned <= hour]
    true, _, wind = max(known, default=(None, None, None))
    return wind if true is not None and hour - true <= 6 else None


@settings(max_examples=80, deadline=None)
@given(lookups, events, st.randoms(use_true_random=False))
def test_the_join_is_what_its_definition_says_in_whatever_order_rows_come(rows, asked, shuffle):
    shuffled = shuffle.sample(rows, len(rows))

    assert winds(values(*shuffled), *asked) == [by_definition(rows, *event) for event in asked]


def test_nothing_that_is_learned_later_changes_a_value():
    draw = random.Random(3)
    clocks = [(key, true, true + wait) for key in "AB" for true in range(12) for wait in range(9)]
    rows: list[Value] = [(*clock, draw.random()) for clock in draw.sample(clocks, 120)]
    known = [row for row in rows if row[2] <= 10]
    asked = [(key, hour) for key in "AB" for hour in range(11)]

    altered = [row if row in known else (*row[:3], 1e9) for row in rows]

    assert 0 < len(known) < len(rows)
    assert winds(values(*altered), *asked) == winds(values(*known), *asked)
