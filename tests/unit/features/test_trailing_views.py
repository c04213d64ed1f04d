"""Features of trailing views: what their definition says, worked out ride by ride."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.features.build import build_features
from mlops_assets.products.feature_view import CREATED_TIME, Feature, FeatureView, Tables
from mlops_assets.products.periods import days, hours
from mlops_assets.products.trailing import COUNT, STEPS, trailing_view
from tests.unit.training.builders import BASKET, a_product, a_ride, january, rides

Ride = tuple[str | None, int, float | None]  # origin, quarter of an hour, wait
QUARTER = timedelta(minutes=15)
STEP, WINDOW, TIME_TO_LIVE = hours(1), hours(3), hours(2)


def reported_rides(tables: Tables) -> Any:
    return tables["rides"].with_columns(
        nw.col("told_at").alias(CREATED_TIME), (nw.col("distance") > 5).alias("is_long")
    )


def lately(key: tuple[str, ...] = ("origin",), **changes: Any) -> FeatureView:
    usual: dict[str, Any] = {
        "rows": reported_rides,
        "window": WINDOW,
        "time_to_live": TIME_TO_LIVE,
        "lookback": days(1),
    }
    made = (Feature("mean_wait", nw.col("waited") / nw.col(COUNT), unit="min"), Feature("rides", nw.col(COUNT)))
    return trailing_view("lately", made, key=key, **{**usual, "sums": ("waited",), **changes})


def features_of(
    view: FeatureView, rows: pl.DataFrame, reported: pl.DataFrame, others: Sequence[FeatureView] = ()
) -> list[tuple[float | None, float | None]]:
    """(mean wait, rides), ride by ride."""
    product = a_product(features=(BASKET, *others, view))
    built = build_features(product, rows.lazy().select(product.request), {"rides": reported.lazy()})
    return built.sort("ride").select("mean_wait", "rides").rows()


def at(quarter: int) -> datetime:
    return january(2) + quarter * QUARTER


def reported(rows: list[Ride]) -> pl.DataFrame:
    return rides(*(a_ride(0, january(1), origin=origin, told_at=at(when), waited=wait) for origin, when, wait in rows))


def asked(rows: list[tuple[str | None, int]]) -> pl.DataFrame:
    return rides(*(a_ride(number, at(when), origin=origin) for number, (origin, when) in enumerate(rows)))


def test_rows_have_the_sums_that_are_known_alive_and_their_own():
    learned = reported([("EWR", 0, 4.0), ("EWR", 3, 6.0), ("EWR", 4, 11.0), ("JFK", 0, 50.0), (None, 0, 70.0)])
    rows = asked([("EWR", 3), ("EWR", 4), ("EWR", 8), ("EWR", 15), ("EWR", 16), ("EWR", 17), ("LGA", 8), (None, 8)])

    assert features_of(lately(), rows, learned) == [
        (None, None),  # the hour is not over
        (5.0, 2.0),
        (7.0, 3.0),
        (7.0, 3.0),
        (7.0, 3.0),  # learned by 2:00, two hours old
        (None, None),  # older
        (None, None),
        (None, None),
    ]


quarters = st.integers(0, 80)
rides_reported = st.lists(
    st.tuples(st.sampled_from(["A", "B", None]), quarters, st.one_of(st.none(), st.integers(0, 60).map(float))),
    max_size=30,
)
rides_asked = st.lists(st.tuples(st.sampled_from(["A", "B", "C", None]), st.integers(-5, 100)), min_size=1, max_size=12)


def by_definition(
    learned: list[Ride],
    origin: str | None,
    quarter: int,
    step: timedelta = STEP,
    window: timedelta = WINDOW,
    time_to_live: timedelta = TIME_TO_LIVE,
) -> tuple[float | None, float | None]:
    """Of the rides of the origin reported up to the last full step that brought one, those of its window."""
    ends = [
        (step * (when * QUARTER // step + 1), wait or 0.0)
        for key, when, wait in learned
        if key == origin and origin is not None
    ]
    moment = quarter * QUARTER
    newest = max((end for end, _ in ends if end <= moment), default=None)
    if newest is None or moment - newest > time_to_live:
        return None, None
    waits = [wait for end, wait in ends if newest - window < end <= newest]
    return sum(waits) / len(waits), float(len(waits))


@settings(max_examples=60, deadline=None)
@given(rides_reported, rides_asked)
def test_the_features_are_what_their_definition_says(learned, rows):
    assert features_of(lately(), asked(rows), reported(learned)) == [by_definition(learned, *row) for row in rows]


@pytest.mark.parametrize("step", ["1m", "1h", "1d"])
@pytest.mark.parametrize("window", [days(1), days(40)], ids=["a day", "longer than all that was learned"])
def test_they_are_what_their_definition_says_on_every_step_and_over_many_of_them(step, window):
    learned: list[Ride] = [("AB"[number % 2], 7 * number % 1_000, float(number)) for number in range(0, 500, 3)]
    rows: list[tuple[str | None, int]] = [("AB"[number % 2], 3 * number) for number in range(300)]
    view = lately(step=step, window=window, time_to_live=days(3), lookback=window)

    features = features_of(view, asked(rows), reported(learned))

    assert features == [by_definition(learned, *row, STEPS[step], window, days(3)) for row in rows]
    assert sum(mean_wait is not None for mean_wait, _ in features) > 150


@pytest.mark.parametrize("key", [("origin", "ride"), ("ride", "origin")], ids=lambda key: " and ".join(key))
def test_a_key_of_several_columns_is_all_of_them(key):
    learned = rides(
        a_ride(7, january(1), told_at=at(0), waited=4.0),
        a_ride(8, january(1), told_at=at(0), waited=6.0),
        a_ride(7, january(1), told_at=at(0), waited=8.0, origin="JFK"),
    )
    rows = rides(*(a_ride(ride, at(4)) for ride in (6, 7, 8)), a_ride(9, at(4), origin="JFK"))

    assert features_of(lately(key), rows, learned) == [(None, None), (4.0, 1.0), (6.0, 1.0), (None, None)]


@pytest.mark.parametrize(
    ("key", "made"),
    [
        ("is_long", nw.col("distance") > 5),
        ("half", nw.col("distance") / 2),
        ("far", nw.col("distance").cast(nw.Int64) * 10**9),
    ],
    ids=["a boolean", "a fraction", "whole numbers"],
)
def test_a_key_may_be_of_any_type_that_the_request_features_make(key, made):
    def keyed(tables: Tables) -> Any:
        return reported_rides(tables).with_columns(made.alias(key))

    carried = FeatureView("carried", (Feature(key, made),))
    learned = rides(
        a_ride(1, january(1), told_at=at(0), distance=3.0, waited=4.0),
        a_ride(2, january(1), told_at=at(0), distance=9.0, waited=6.0),
    )
    rows = rides(*(a_ride(ride, at(4), distance=far) for ride, far in enumerate([3.0, 9.0, None])))

    view = lately((key,), rows=keyed)
    assert features_of(view, rows, learned, [carried]) == [(4.0, 1.0), (6.0, 1.0), (None, None)]


def test_keys_of_another_type_are_an_error_however_few_they_are():
    def of_narrow_numbers(tables: Tables) -> Any:
        return reported_rides(tables).with_columns(nw.col("ride").cast(nw.Int32))

    with pytest.raises(pl.exceptions.ComputeError, match="mismatching dtypes in 'by' parameter"):
        features_of(lately(("ride",), rows=of_narrow_numbers), asked([("EWR", 4)]), reported([("EWR", 0, 4.0)]))


@pytest.mark.parametrize("clock", [nw.Datetime("ms", "UTC"), nw.Datetime("us"), nw.Datetime("us", "America/New_York")])
def test_clocks_of_another_type_are_an_error_however_few_rows_there_are(clock):
    def by_another_clock(tables: Tables) -> Any:
        return reported_rides(tables).with_columns(nw.col(CREATED_TIME).cast(clock))

    with pytest.raises(pl.exceptions.SchemaError, match="datatypes of join keys don't match"):
        features_of(lately(rows=by_another_clock), asked([("EWR", 4)]), reported([("EWR", 0, 4.0)]))


@pytest.mark.parametrize("odd", [float("inf"), float("nan"), -float("inf")])
def test_what_is_not_finite_stays_with_its_key(odd):
    learned = reported([("A", 0, odd), ("A", 9, 1.0), ("A", 40, 2.0), ("B", 0, 3.0), ("B", 40, 5.0)])
    rows = asked([(key, when) for when in (4, 12, 44) for key in "AB"])

    waits = [wait for wait, _ in features_of(lately(time_to_live=days(1)), rows, learned)]

    assert not any(math.isfinite(wait or 0.0) for wait in waits[::2])
    assert waits[1::2] == [3.0, 3.0, 5.0]


def test_a_row_without_a_moment_has_none_of_it():
    rows = asked([("EWR", 4), ("EWR", 4)]).with_columns(pl.when(pl.col("ride") == 1).then("asked_at").alias("asked_at"))

    assert features_of(lately(), rows, reported([("EWR", 0, 4.0)])) == [(None, None), (4.0, 1.0)]


def test_no_rows_and_nothing_learned_are_no_trouble():
    assert features_of(lately(), rides(), reported([("EWR", 0, 4.0)])) == []
    assert features_of(lately(), asked([("EWR", 4)]), rides()) == [(None, None)]


def long_rides(tables: Tables) -> Any:
    return reported_rides(tables).filter(nw.col("waited") > 5)


@pytest.mark.parametrize(
    ("other", "expected"),
    [({}, 2.0), ({"rows": long_rides}, 1.0), ({"step": "1d"}, None)],
    ids=["over another window", "of other rows", "in other steps"],
)
def test_two_trailing_views_stand_beside_each_other(other, expected):
    usual: dict[str, Any] = {"rows": reported_rides, "key": ("origin",), "window": days(1), "sums": ("waited",)}
    longer = trailing_view(
        "longer",
        (Feature("rides_by_day", nw.col(COUNT)),),
        time_to_live=days(1),
        lookback=days(2),
        **{**usual, **other},
    )
    product = a_product(features=(lately(), longer, BASKET))
    learned, rows = reported([("EWR", 0, 4.0), ("EWR", 20, 6.0)]), asked([("EWR", 24)])

    built = build_features(product, rows.lazy().select(product.request), {"rides": learned.lazy()})

    assert built.select("mean_wait", "rides", "rides_by_day").rows() == [(6.0, 1.0, expected)]


def test_a_row_without_one_of_a_views_keys_still_counts_for_the_view_that_does_not_need_it():
    by_ride = trailing_view(
        "by_ride",
        (Feature("waited_by_ride", nw.col("waited")),),
        rows=reported_rides,
        key=("origin", "ride"),
        window=hours(3),
        sums=("waited",),
        time_to_live=hours(2),
        lookback=days(1),
    )
    product = a_product(features=(lately(), by_ride, BASKET))
    learned = rides(
        a_ride(0, january(1), told_at=at(0), waited=4.0),
        {**a_ride(0, january(1), told_at=at(0), waited=8.0), "ride": None},
    )
    rows = asked([("EWR", 4), ("EWR", 4)])

    built = build_features(product, rows.lazy().select(product.request), {"rides": learned.lazy()})

    assert built.select("mean_wait", "rides", "waited_by_ride").rows() == [(6.0, 2.0, 4.0), (6.0, 2.0, None)]


@pytest.mark.parametrize("lifetime", [days(60_000_000), timedelta.max])
def test_what_never_dies_is_not_there_before_it_is_learned(lifetime):
    rows = asked([("EWR", -50), ("EWR", 4), ("JFK", 4)])

    features = features_of(lately(time_to_live=lifetime), rows, reported([("EWR", 0, 4.0)]))

    assert features == [(None, None), (4.0, 1.0), (None, None)]


def test_features_are_made_of_sums_that_there_are_and_of_no_others():
    whole = Feature("whole", (nw.col("waited") / nw.col(COUNT)).cast(nw.Int64))  # no whole number is 0 / 0
    view = trailing_view(
        "whole",
        (whole,),
        rows=reported_rides,
        key=("origin",),
        window=hours(3),
        sums=("waited",),
        time_to_live=hours(2),
        lookback=days(1),
    )
    product = a_product(features=(view, BASKET))
    nobodys = reported([("EWR", 0, 0.0)]).with_columns(pl.lit(None).alias("origin"))
    learned = pl.concat([reported([("EWR", 0, 4.0)]), nobodys])

    built = build_features(product, asked([("EWR", 4)]).lazy().select(product.request), {"rides": learned.lazy()})

    assert built["whole"].to_list() == [4.0]


def test_what_is_learned_later_changes_nothing():
    learned: list[Ride] = [("A", when, float(when)) for when in range(0, 60, 5)]
    rows: list[tuple[str | None, int]] = [("A", when) for when in range(0, 40, 3)]
    later: list[Ride] = [("A", when, 999.0) for when in range(40, 80)]

    expected = features_of(lately(), asked(rows), reported(learned))

    assert features_of(lately(), asked(rows), reported(learned + later)) == expected
