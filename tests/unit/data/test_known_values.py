"""Values that rows in memory find: what the point-in-time join finds, whatever the keys, the clocks and the values are."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.data import grid, known_values
from mlops_assets.data.keys import KeyColumn
from mlops_assets.data.known_values import KnownValues
from mlops_assets.data.point_in_time import join_point_in_time, newest_known
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, Feature, FeatureView

MIDNIGHT = datetime(2013, 7, 1, tzinfo=UTC)
UTC_TIME = pl.Datetime("us", "UTC")
LIFETIME = timedelta(days=2)
Told = tuple[str | None, int | None, int, float]  # text, number, minute, value


@pytest.fixture(autouse=True)
def _rows_are_taken_in_several_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "_PART", 7)


def view(*key: str) -> FeatureView:
    return FeatureView("told", (Feature("value"),), key=key, lookup=lambda _: _["told"], time_to_live=LIFETIME)


def at(minute: int) -> datetime:
    return MIDNIGHT + timedelta(minutes=minute)


def told(*rows: Told) -> pl.DataFrame:
    schema = {"text": pl.String, "number": pl.Int64, CREATED_TIME: UTC_TIME, "value": pl.Float64}
    frame = pl.DataFrame(
        [(text, number, at(minute), value) for text, number, minute, value in rows], schema, orient="row"
    )
    return frame.with_columns(pl.col(CREATED_TIME).alias(EVENT_TIME))


def asked(*rows: tuple[str | None, int | None, int]) -> pl.DataFrame:
    schema = {"text": pl.String, "number": pl.Int64, "moment": UTC_TIME}
    return pl.DataFrame([(text, number, at(minute)) for text, number, minute in rows], schema, orient="row")


def known(key: Sequence[str], lookup: pl.DataFrame) -> KnownValues | None:
    return KnownValues.of(view(*key), newest_known(lookup.lazy(), view(*key)).collect())


def found(key: Sequence[str], lookup: pl.DataFrame, rows: pl.DataFrame) -> list[Any] | None:
    values = known(key, lookup)
    keys = [KeyColumn.of(rows[name]) for name in key]
    answer = None if values is None else values.at(rows["moment"], keys, LIFETIME)
    return None if answer is None else answer["value"].to_list()


def joined(key: Sequence[str], lookup: pl.DataFrame, rows: pl.DataFrame) -> list[Any]:
    numbered = rows.with_row_index("row").lazy()
    return join_point_in_time(numbered, lookup.lazy(), view(*key), "moment").sort("row").collect()["value"].to_list()


texts, numbers = st.sampled_from(["a", "b", None]), st.one_of(st.none(), st.integers(-3, 3))
minutes = st.integers(0, 6_000)
lookups = st.lists(st.tuples(texts, numbers, minutes), min_size=1, max_size=40, unique=True).map(
    lambda rows: told(*((*row, float(value)) for value, row in enumerate(rows)))
)
rows_asked = st.lists(st.tuples(st.one_of(texts, st.just("c")), numbers, st.integers(-100, 10_000)), max_size=15).map(
    lambda rows: asked(*rows)
)


@pytest.mark.parametrize("key", [("text",), ("number",), ("text", "number"), ("number", "text")])
@settings(max_examples=60, deadline=None)
@given(lookups, rows_asked)
def test_rows_find_what_they_would_be_joined_with(key, lookup, rows):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(known_values, "_MOST_WITHIN_A_LINE", len(lookup))
        answer = found(key, lookup, rows)

    # nothing to find: every key has a null
    assert answer == joined(key, lookup, rows) or lookup.drop_nulls(key).is_empty()


def test_a_few_values_that_become_known_close_together_are_told_apart():
    lookup = told(*(("a", 0, minute, float(minute)) for minute in (0, 1, 2, 3, 50_000)))
    rows = asked(*(("a", 0, minute) for minute in (-1, 0, 1, 2, 3, 4)))

    assert found(("text",), lookup, rows) == [None, 0.0, 1.0, 2.0, 3.0, 3.0]


def test_more_of_them_are_left_to_the_join():
    lookup = told(*(("a", 0, minute, float(minute)) for minute in (*range(20), 500_000)))

    assert known(("text",), lookup) is None


@pytest.mark.parametrize(
    "changed",
    [
        pl.col("moment").cast(pl.Datetime("ms", "UTC")),
        pl.when(pl.col("number") > 5).then("moment").alias("moment"),
        pl.col("number").cast(pl.Int32),
        pl.col("text").cast(pl.Binary),
        pl.lit(2**61).cast(pl.Datetime("us", "UTC")).alias("moment"),
    ],
    ids=["a clock of another type", "a null moment", "numbers of another type", "bytes for texts", "a far moment"],
)
def test_rows_that_the_join_would_refuse_or_leave_empty_are_left_to_it(changed):
    rows = asked(("a", 1, 5)).with_columns(changed)

    assert found(("text", "number"), told(("a", 1, 0, 1.0)), rows) is None


@pytest.mark.parametrize(
    "changed",
    [
        pl.col(EVENT_TIME).dt.convert_time_zone("America/New_York"),
        pl.col(EVENT_TIME, CREATED_TIME).cast(pl.Datetime("ns", "UTC")),
        pl.when(pl.col("text") == "b").then(2**62).cast(UTC_TIME).fill_null(pl.col(CREATED_TIME)).alias(CREATED_TIME),
        pl.lit(-(2**62)).cast(UTC_TIME).alias(EVENT_TIME),
    ],
    ids=["an event by another clock", "clocks of nanoseconds", "one is learned far away", "far events"],
)
def test_values_with_odd_clocks_are_left_to_the_join(changed):
    lookup = told(("a", 1, 0, 1.0), ("b", 1, 0, 1.0))

    assert known(("text",), lookup) is not None
    assert known(("text",), lookup.with_columns(changed)) is None


@pytest.mark.parametrize("category", [pl.Categorical, pl.Enum(["a", "b"])], ids=str)
def test_categories_are_the_texts_that_they_stand_for(category):
    category_of = pl.col("text").cast(category)
    lookup, rows = told(("a", 1, 0, 1.0), ("b", 1, 0, 2.0)), asked(("b", 1, 5), ("a", 1, 5), (None, 1, 5))

    assert found(("text",), lookup.with_columns(category_of), rows) == [2.0, 1.0, None]
    assert found(("text",), lookup, rows.with_columns(category_of)) == [2.0, 1.0, None]


@pytest.mark.parametrize("lifetime", [timedelta(days=60_000_000), timedelta.max])
def test_a_value_that_never_dies_is_not_there_before_it_is_known(lifetime):
    values, rows = known(("text",), told(("a", 1, 0, 1.0))), asked(("a", 1, -1), ("a", 1, 0), ("b", 1, 5))

    assert values is not None
    answer = values.at(rows["moment"], [KeyColumn.of(rows["text"])], lifetime)
    assert answer is not None
    assert answer["value"].to_list() == [None, 1.0, None]


@pytest.mark.parametrize("value", ["a text", True, 3, MIDNIGHT, None], ids=lambda value: type(value).__name__)
def test_values_may_be_of_any_type(value):
    lookup = told(("a", 1, 0, 1.0)).with_columns(pl.lit(value).alias("value"))

    assert found(("text",), lookup, asked(("a", 1, 5), ("b", 1, 5))) == [value, None]
