"""Trailing views in memory: the same values as their table joined point-in-time, and as their definition by hand."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.data import features, grid, trailing_sums
from mlops_assets.data.features import build_features
from mlops_assets.data.trailing_sums import TrailingSums
from mlops_assets.products.feature_view import CREATED_TIME, Feature, FeatureKind, FeatureView, Tables
from mlops_assets.products.periods import days, hours
from mlops_assets.products.trailing import COUNT, Trailing, trailing_view
from tests.unit.training.builders import BASKET, SCHEMA, a_product, a_ride, january, rides

Ride = tuple[str | None, int, float | None]  # origin, quarter of an hour, wait


@pytest.fixture(autouse=True)
def _rows_are_taken_in_several_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "_PART", 7)


def told_rides(tables: Tables) -> Any:
    return tables["rides"].with_columns(
        nw.col("told_at").alias(CREATED_TIME), (nw.col("distance") > 5).alias("is_long")
    )


def lately(key: tuple[str, ...] = ("origin",), **changes: Any) -> FeatureView:
    usual: dict[str, Any] = {"rows": told_rides, "window": hours(3), "time_to_live": hours(2), "lookback": days(1)}
    made = (Feature("mean_wait", nw.col("waited") / nw.col(COUNT), unit="min"), Feature("rides", nw.col(COUNT)))
    return trailing_view("lately", made, key=key, **{**usual, "sums": ("waited",), **changes})


def found(
    view: FeatureView, asked: pl.DataFrame, told: pl.DataFrame, others: Sequence[FeatureView] = ()
) -> list[tuple[float | None, float | None]]:
    """(mean wait, rides), ride by ride."""
    product = a_product(features=(BASKET, *others, view))
    built = build_features(product, asked.lazy().select(product.request), {"rides": told.lazy()})
    return built.sort("ride").select("mean_wait", "rides").rows()


def at(quarter: int) -> datetime:
    return january(2) + timedelta(minutes=15 * quarter)


def told(rows: list[Ride]) -> pl.DataFrame:
    return rides(*(a_ride(0, january(1), origin=origin, told_at=at(when), waited=wait) for origin, when, wait in rows))


def asked(rows: list[tuple[str | None, int]]) -> pl.DataFrame:
    return rides(*(a_ride(number, at(when), origin=origin) for number, (origin, when) in enumerate(rows)))


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each lookup view that is built, whether its rows had to be joined."""
    answers: list[bool] = []
    find = features._found

    def watched(*arguments: Any) -> pl.DataFrame | None:
        answer = find(*arguments)
        answers.append(answer is None)
        return answer

    monkeypatch.setattr(features, "_found", watched)
    return answers


def test_rows_have_the_sums_that_are_known_alive_and_their_own(refused):
    learned = told([("EWR", 0, 4.0), ("EWR", 3, 6.0), ("EWR", 4, 11.0), ("JFK", 0, 50.0), (None, 0, 70.0)])
    rows = asked([("EWR", 3), ("EWR", 4), ("EWR", 8), ("EWR", 15), ("EWR", 16), ("EWR", 17), ("LGA", 8), (None, 8)])

    assert found(lately(), rows, learned) == [
        (None, None),  # the hour is not over
        (5.0, 2.0),
        (7.0, 3.0),
        (7.0, 3.0),
        (7.0, 3.0),  # learned by 2:00, two hours old
        (None, None),  # older
        (None, None),
        (None, None),
    ]
    assert refused == [False]


quarters = st.integers(0, 80)
rides_told = st.lists(
    st.tuples(st.sampled_from(["A", "B", None]), quarters, st.one_of(st.none(), st.integers(0, 60).map(float))),
    max_size=30,
)
rides_asked = st.lists(st.tuples(st.sampled_from(["A", "B", "C", None]), st.integers(-5, 100)), min_size=1, max_size=12)


def by_definition(learned: list[Ride], origin: str | None, quarter: int) -> tuple[float | None, float | None]:
    """Of the rides of the origin told up to the last full hour that brought one, those of its last three hours."""
    ends = [4 * (when // 4 + 1) for key, when, _ in learned if key == origin and origin is not None]
    newest = max((end for end in ends if end <= quarter), default=None)
    if newest is None or quarter - newest > 8:
        return None, None
    waits = [
        wait or 0.0 for key, when, wait in learned if key == origin and newest - 12 < 4 * (when // 4 + 1) <= newest
    ]
    return sum(waits) / len(waits), float(len(waits))


@settings(max_examples=60, deadline=None)
@given(rides_told, rides_asked)
def test_the_features_are_what_their_definition_says(learned, rows):
    assert found(lately(), asked(rows), told(learned)) == [by_definition(learned, *row) for row in rows]


@settings(max_examples=40, deadline=None)
@given(rides_told, rides_asked)
def test_the_table_joined_point_in_time_says_the_same(learned, rows):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(grid, "_MOST_PLACES", 0)
        joined = found(lately(), asked(rows), told(learned))

    assert joined == [by_definition(learned, *row) for row in rows]


@pytest.mark.parametrize("step", ["1m", "1h", "1d"])
@pytest.mark.parametrize("window", [days(1), days(40)], ids=["a day", "longer than all that was learned"])
def test_both_ways_agree_on_every_step_and_over_many_of_them(step, window, refused, monkeypatch):
    view = lately(step=step, window=window, time_to_live=days(3), lookback=window)
    learned = told([("AB"[number % 2], 7 * number % 1_000, float(number)) for number in range(0, 500, 3)])
    rows = asked([("AB"[number % 2], 3 * number) for number in range(300)])

    on_grid = found(view, rows, learned)
    monkeypatch.setattr(grid, "_MOST_PLACES", 0)

    assert found(view, rows, learned) == on_grid
    assert refused == [False, True]
    assert sum(row[0] is not None for row in on_grid) > 150


@pytest.mark.parametrize("key", [("origin", "ride"), ("ride", "origin")], ids=lambda key: " and ".join(key))
def test_a_key_of_several_columns_is_all_of_them(key, refused):
    learned = rides(
        a_ride(7, january(1), told_at=at(0), waited=4.0),
        a_ride(8, january(1), told_at=at(0), waited=6.0),
        a_ride(7, january(1), told_at=at(0), waited=8.0, origin="JFK"),
    )
    rows = rides(*(a_ride(ride, at(4)) for ride in (6, 7, 8)), a_ride(9, at(4), origin="JFK"))

    assert found(lately(key), rows, learned) == [(None, None), (4.0, 1.0), (6.0, 1.0), (None, None)]
    assert refused == [False]


@pytest.mark.parametrize("name", ["place", "origin"], ids=["a column of its own", "in the place of a column"])
def test_a_key_may_be_a_text_that_the_request_features_make(name, refused):
    def by_place(tables: Tables) -> Any:
        return told_rides(tables).with_columns(nw.col("origin").str.to_uppercase().alias(name))

    place = FeatureView("place", (Feature(name, nw.col("origin").str.to_uppercase(), FeatureKind.CATEGORICAL),))
    learned, rows = told([("ewr", 0, 4.0), ("EWR", 1, 6.0), ("jfk", 2, 8.0)]), asked([("Ewr", 4), ("JFK", 4)])
    product = a_product(features=(place, lately((name,), rows=by_place)), gates=())

    built = build_features(product, rows.lazy().select(product.request), {"rides": learned.lazy()})

    assert built.select(name, "mean_wait").rows() == [("EWR", 5.0), ("JFK", 8.0)]
    assert refused == [False]


def test_a_key_may_be_a_number_that_the_request_features_make(refused):
    def by_length(tables: Tables) -> Any:
        return told_rides(tables).with_columns((nw.col("distance") // 4).cast(nw.Int64).alias("length"))

    length = FeatureView("length", (Feature("length", (nw.col("distance") // 4).cast(nw.Int64)),))
    learned = rides(
        a_ride(1, january(1), told_at=at(0), distance=3.0, waited=4.0),
        a_ride(2, january(1), told_at=at(0), distance=9.0, waited=6.0),
    )
    rows = rides(*(a_ride(ride, at(4), distance=far) for ride, far in enumerate([1.0, 5.0, 8.5, None])))

    assert found(lately(("length",), rows=by_length), rows, learned, [length]) == [
        (4.0, 1.0),
        (None, None),
        (6.0, 1.0),
        (None, None),
    ]
    assert refused == [False]


@pytest.mark.parametrize(
    ("key", "made"),
    [
        ("is_long", nw.col("distance") > 5),
        ("half", nw.col("distance") / 2),
        ("far", nw.col("distance").cast(nw.Int64) * 10**9),
    ],
    ids=["a boolean", "a fraction", "numbers far apart"],
)
def test_keys_of_any_type_are_found_and_those_that_have_no_numbers_are_joined(key, made, refused):
    def keyed(tables: Tables) -> Any:
        return told_rides(tables).with_columns(made.alias(key))

    carried = FeatureView("carried", (Feature(key, made),))
    learned = rides(
        a_ride(1, january(1), told_at=at(0), distance=3.0, waited=4.0),
        a_ride(2, january(1), told_at=at(0), distance=9.0, waited=6.0),
    )
    rows = rides(*(a_ride(ride, at(4), distance=far) for ride, far in enumerate([3.0, 9.0])))

    assert found(lately((key,), rows=keyed), rows, learned, [carried]) == [(4.0, 1.0), (6.0, 1.0)]
    assert refused == [key != "far"]


def test_keys_whose_columns_have_a_great_many_combinations_are_joined(refused):
    learned = rides(
        *(a_ride(n, january(1), told_at=at(0), origin=str(n), waited=float(n)) for n in range(300)),
        a_ride(7, january(1), told_at=at(0), origin="8", waited=1.0),
    )
    rows = rides(a_ride(7, at(4), origin="7"), a_ride(8, at(4), origin="7"))

    assert found(lately(("origin", "ride")), rows, learned) == [(7.0, 1.0), (None, None)]
    assert refused == [True]


def test_keys_of_another_type_are_an_error_however_few_they_are():
    def of_narrow_numbers(tables: Tables) -> Any:
        return told_rides(tables).with_columns(nw.col("ride").cast(nw.Int32))

    with pytest.raises(pl.exceptions.ComputeError, match="mismatching dtypes in 'by' parameter"):
        found(lately(("ride",), rows=of_narrow_numbers), asked([("EWR", 4)]), told([("EWR", 0, 4.0)]))


def test_a_few_keys_far_apart_in_time_are_joined_and_not_laid_out_cell_by_cell(refused):
    view = lately(step="1m", time_to_live=days(9_999), window=days(1))
    learned = rides(
        *(a_ride(number, january(1), told_at=january(1) + timedelta(days=9_000 * number)) for number in range(2))
    )
    rows = rides(a_ride(0, january(2)), a_ride(1, january(2) + timedelta(days=9_000)))

    assert found(view, rows, learned) == [(9.0, 1.0), (9.0, 1.0)]
    assert refused == [True]


@pytest.mark.parametrize("clock", [nw.Datetime("ms", "UTC"), nw.Datetime("us"), nw.Datetime("us", "America/New_York")])
def test_clocks_of_another_type_are_an_error_however_few_rows_there_are(clock):
    def by_another_clock(tables: Tables) -> Any:
        return told_rides(tables).with_columns(nw.col(CREATED_TIME).cast(clock))

    with pytest.raises(pl.exceptions.SchemaError, match="datatypes of join keys don't match"):
        found(lately(rows=by_another_clock), asked([("EWR", 4)]), told([("EWR", 0, 4.0)]))


@pytest.mark.parametrize(
    ("clock", "is_known"),
    [
        (pl.Datetime("us", "UTC"), True),
        (pl.Datetime("ms"), True),
        (pl.Datetime("us", "Asia/Kolkata"), False),  # whose hours begin half an hour later
        (pl.Datetime("ns", "UTC"), False),
    ],
    ids=str,
)
def test_steps_are_those_of_utc_and_others_are_left_to_the_general_way(clock, is_known):
    view = lately()
    assert isinstance(view.lookup, Trailing)
    addends = view.lookup.addends({"rides": nw.from_native(told([("EWR", 0, 4.0)]).lazy())}).to_native()

    sums = TrailingSums(view.lookup, addends.with_columns(pl.col(CREATED_TIME).cast(clock)).collect())

    assert (sums.known(view) is not None) == is_known


@pytest.mark.parametrize("odd", [float("inf"), float("nan"), -float("inf")])
def test_what_is_not_finite_is_the_same_both_ways_and_stays_with_its_key(odd, refused, monkeypatch):
    learned = told([("A", 0, odd), ("A", 9, 1.0), ("A", 40, 2.0), ("B", 0, 3.0), ("B", 40, 5.0)])
    rows = asked([(key, when) for when in (4, 12, 44) for key in "AB"])

    on_grid = found(lately(time_to_live=days(1)), rows, learned)
    monkeypatch.setattr(grid, "_MOST_PLACES", 0)
    joined = found(lately(time_to_live=days(1)), rows, learned)

    assert refused == [False, True]
    assert pl.DataFrame(on_grid, orient="row").equals(pl.DataFrame(joined, orient="row"))
    assert not any(math.isfinite(wait or 0.0) for wait, _ in on_grid[::2])
    assert [wait for wait, _ in on_grid[1::2]] == [3.0, 3.0, 5.0]


@pytest.mark.parametrize("odd", [[float("inf"), -float("inf")], [1.7e308, 1.7e308]], ids=["no number", "too large"])
def test_sums_that_are_no_numbers_are_the_same_both_ways(odd, refused, monkeypatch):
    learned, rows = told([("A", when, wait) for when, wait in enumerate(odd)]), asked([("A", 12)])

    on_grid = found(lately(time_to_live=days(1)), rows, learned)
    monkeypatch.setattr(grid, "_MOST_PLACES", 0)

    assert str(found(lately(time_to_live=days(1)), rows, learned)) == str(on_grid)
    assert refused == [False, True]


def test_a_great_many_keys_are_joined(refused, monkeypatch):
    monkeypatch.setattr(trailing_sums, "_MOST_KEYS", 3)
    rows, learned = asked([("A", 4)]), [("A", 0, 4.0), ("B", 0, 1.0)]

    assert found(lately(), rows, told(learned)) == [(4.0, 1.0)]
    assert found(lately(), rows, told([*learned, ("C", 0, 1.0)])) == [(4.0, 1.0)]
    assert refused == [False, True]


def test_a_row_without_a_moment_has_none_of_it(refused):
    rows = asked([("EWR", 4), ("EWR", 4)]).with_columns(pl.when(pl.col("ride") == 1).then("asked_at").alias("asked_at"))

    assert found(lately(), rows, told([("EWR", 0, 4.0)])) == [(None, None), (4.0, 1.0)]
    assert refused == [True]


def test_no_rows_and_nothing_learned_are_no_trouble(refused):
    assert found(lately(), rides(), told([("EWR", 0, 4.0)])) == []
    assert found(lately(), asked([("EWR", 4)]), rides()) == [(None, None)]
    assert refused == [False, True]


def long_rides(tables: Tables) -> Any:
    return told_rides(tables).filter(nw.col("waited") > 5)


@pytest.mark.parametrize(
    ("other", "expected"),
    [({}, 2.0), ({"rows": long_rides}, 1.0), ({"step": "1d"}, None)],
    ids=["over another window", "of other rows", "in other steps"],
)
def test_two_trailing_views_stand_beside_each_other(other, expected):
    usual: dict[str, Any] = {"rows": told_rides, "key": ("origin",), "window": days(1), "sums": ("waited",)}
    longer = trailing_view(
        "longer",
        (Feature("rides_by_day", nw.col(COUNT)),),
        time_to_live=days(1),
        lookback=days(2),
        **{**usual, **other},
    )
    product = a_product(features=(lately(), longer, BASKET))
    learned, rows = told([("EWR", 0, 4.0), ("EWR", 20, 6.0)]), asked([("EWR", 24)])

    built = build_features(product, rows.lazy().select(product.request), {"rides": learned.lazy()})

    assert built.select("mean_wait", "rides", "rides_by_day").rows() == [(6.0, 1.0, expected)]


@pytest.mark.parametrize("lifetime", [days(60_000_000), timedelta.max])
def test_what_never_dies_is_not_there_before_it_is_learned(lifetime, refused):
    rows = asked([("EWR", -50), ("EWR", 4), ("JFK", 4)])

    assert found(lately(time_to_live=lifetime), rows, told([("EWR", 0, 4.0)])) == [
        (None, None),
        (4.0, 1.0),
        (None, None),
    ]
    assert refused == [False]


def test_features_are_made_of_sums_that_there_are_and_of_no_others(refused):
    whole = Feature("whole", (nw.col("waited") / nw.col(COUNT)).cast(nw.Int64))  # no whole number is 0 / 0
    view = trailing_view(
        "whole",
        (whole,),
        rows=told_rides,
        key=("origin",),
        window=hours(3),
        sums=("waited",),
        time_to_live=hours(2),
        lookback=days(1),
    )
    product = a_product(features=(view, BASKET))
    learned = pl.concat([told([("EWR", 0, 4.0)]), told([("EWR", 0, 0.0)]).with_columns(pl.lit(None).alias("origin"))])

    built = build_features(product, asked([("EWR", 4)]).lazy().select(product.request), {"rides": learned.lazy()})

    assert built["whole"].to_list() == [4.0]
    assert refused == [False]


def test_views_that_sum_the_same_by_other_keys_are_read_once_and_do_not_miss_what_has_no_key_of_the_other():
    reads: list[int] = []

    def counted(tables: Tables) -> Any:
        reads.append(1)
        return told_rides(tables)

    usual: dict[str, Any] = {"rows": counted, "window": hours(3), "sums": ("waited",), "lookback": days(1)}
    by_ride = trailing_view(
        "by_ride",
        (Feature("waited_by_ride", nw.col("waited")),),
        key=("origin", "ride"),
        time_to_live=hours(2),
        **usual,
    )
    product = a_product(features=(lately(rows=counted), by_ride, BASKET))
    learned = rides(
        a_ride(0, january(1), told_at=at(0), waited=4.0),
        {**a_ride(0, january(1), told_at=at(0), waited=8.0), "ride": None},
    )
    reads.clear()

    rows = asked([("EWR", 4), ("EWR", 4)])
    built = build_features(product, rows.lazy().select(product.request), {"rides": learned.lazy()})

    # nothing is known of ride 1, and what is known of no ride is not known of it
    assert built.select("mean_wait", "rides", "waited_by_ride").rows() == [(6.0, 2.0, 4.0), (6.0, 2.0, None)]
    assert len(reads) == 1


def test_what_is_learned_later_changes_nothing():
    learned = [("A", when, float(when)) for when in range(0, 60, 5)]
    rows = [("A", when) for when in range(0, 40, 3)]
    later = [("A", when, 999.0) for when in range(40, 80)]

    assert found(lately(), asked(rows), told(learned + later)) == found(lately(), asked(rows), told(learned))


def test_rows_come_out_in_the_order_of_their_events_whatever_order_they_come_in():
    product = a_product(features=(BASKET, lately()))
    rows = asked([("EWR", when) for when in (9, 4, 7, 4)])

    built = build_features(product, rows.lazy().select(product.request), {"rides": told([]).lazy()})

    assert built["ride"].to_list() == [1, 3, 2, 0]
    assert built["asked_at"].dtype == SCHEMA["asked_at"]
