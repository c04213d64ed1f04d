"""The data contract: every rule names its rows and columns, and a table of the wrong shape is refused whole."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from mlops_assets.data.contract import EXAMPLES, Violation, check_contract, conform
from mlops_assets.errors import ContractBroken
from mlops_assets.products.periods import weekly
from mlops_assets.products.source import Column, Kind, Table

RIDES = Table(
    "rides",
    columns=(
        Column("ride", Kind.INTEGER, minimum=1),
        Column("origin", Kind.STRING, choices=("EWR", "JFK")),
        Column("asked_at", Kind.TIMESTAMP),
        Column("distance", Kind.FLOAT, unit="mi", minimum=0, maximum=50),
        Column("waited", Kind.FLOAT, unit="min", nullable=True, maximum=90),
        Column("shared", Kind.BOOLEAN, nullable=True),
        Column("told_at", Kind.TIMESTAMP),
    ),
    key=("ride", "origin"),
    event_timestamp="asked_at",
    created_timestamp="told_at",
    min_rows=2,
)
PERIOD = weekly(start="2013-07-01").first


def july(day: int, hour: int = 0) -> datetime:
    return datetime(2013, 7, day, hour, tzinfo=UTC)


def a_ride(**changes: Any) -> dict[str, Any]:
    return {
        **{"ride": 1, "origin": "EWR", "asked_at": july(2), "distance": 3.5, "waited": 4.0, "shared": True},
        "told_at": july(2, 1),
        **changes,
    }


SCHEMA = {
    **{"ride": pl.Int64, "origin": pl.String, "asked_at": pl.Datetime("us", "UTC"), "distance": pl.Float64},
    **{"waited": pl.Float64, "shared": pl.Boolean, "told_at": pl.Datetime("us", "UTC")},
}


def rides(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def broken_by(*rows: dict[str, Any]) -> tuple[Violation, ...]:
    """What breaks when these rows are added to two good ones."""
    return check_contract(RIDES, PERIOD, rides(a_ride(ride=8), a_ride(ride=9), *rows)).violations


def test_good_rows_keep_the_contract_and_the_answer_says_how_many():
    result = check_contract(RIDES, PERIOD, rides(a_ride(ride=1), a_ride(ride=2, waited=None, shared=None)))

    assert result.kept
    assert result.reason == "2 rows keep the contract of rides"


@pytest.mark.parametrize(
    ("changes", "column", "rule"),
    [
        ({"distance": None}, "distance", "is not null"),
        ({"ride": None}, "ride", "is not null"),
        ({"asked_at": None}, "asked_at", "is not null"),
        ({"origin": "LGA"}, "origin", "is one of EWR, JFK"),
        ({"ride": 0}, "ride", "is at least 1"),
        ({"distance": -0.1}, "distance", "is at least 0 mi"),
        ({"distance": 50.1}, "distance", "is at most 50 mi"),
        ({"waited": 91.0}, "waited", "is at most 90 min"),
        ({"asked_at": july(8), "told_at": july(8)}, "asked_at", "lies in [2013-07-01, 2013-07-08)"),
        ({"asked_at": datetime(2013, 6, 30, 23, 59, 59, tzinfo=UTC)}, "asked_at", "lies in [2013-07-01, 2013-07-08)"),
        ({"told_at": july(1, 23)}, "told_at", "is not before asked_at"),
    ],
)
def test_a_row_that_breaks_a_rule_is_named_with_its_column(changes, column, rule):
    (violation,) = broken_by(a_ride(**changes))

    assert (violation.column, violation.rule, violation.rows) == (column, rule, 1)
    ride = a_ride(**changes)
    assert violation.examples == ({"ride": ride["ride"], "origin": ride["origin"], column: ride[column]},)


@pytest.mark.parametrize(
    ("value", "rule"), [(math.nan, "is not NaN"), (math.inf, "is finite"), (-math.inf, "is finite")]
)
def test_numbers_that_are_none_are_refused(value, rule):
    rules = [(violation.column, violation.rule) for violation in broken_by(a_ride(waited=value))]

    assert ("waited", rule) in rules
    assert {column for column, _ in rules} == {"waited"}


@pytest.mark.parametrize(
    "changes",
    [
        {"distance": 0.0},
        {"distance": 50.0},
        {"asked_at": july(1), "told_at": july(1)},  # the first moment of the period, told at once
        {"asked_at": datetime(2013, 7, 7, 23, 59, 59, 999_999, tzinfo=UTC), "told_at": july(8)},
    ],
)
def test_a_value_exactly_on_the_limit_keeps_the_contract(changes):
    assert broken_by(a_ride(**changes)) == ()


def test_rows_with_the_same_key_are_all_named():
    (violation,) = broken_by(a_ride(ride=3), a_ride(ride=3, distance=9.0), a_ride(ride=3, origin="JFK"))

    assert (violation.column, violation.rule, violation.rows) == ("ride, origin", "the key is unique", 2)
    assert violation.examples == ({"ride": 3, "origin": "EWR"}, {"ride": 3, "origin": "EWR"})


def test_only_some_of_many_broken_rows_are_shown_but_all_are_counted():
    (violation,) = broken_by(*(a_ride(ride=number, distance=99.0) for number in range(20, 40)))

    assert violation.rows == 20
    assert len(violation.examples) == EXAMPLES


def test_a_row_may_break_several_rules_and_the_reason_names_them_all():
    result = check_contract(
        RIDES, PERIOD, rides(a_ride(ride=1), a_ride(ride=2, distance=None), a_ride(ride=3, origin="LGA", distance=99.0))
    )

    assert not result.kept
    assert sorted(result.reason.removeprefix("rides: ").split("; ")) == [
        "distance: 1 rows break 'is at most 50 mi'",
        "distance: 1 rows break 'is not null'",
        "origin: 1 rows break 'is one of EWR, JFK'",
    ]


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_break_the_contract(rows):
    result = check_contract(RIDES, PERIOD, rides(a_ride()).head(rows))

    assert result.violations == (Violation("rows", "at least 2 in 2013-07-01", rows, ()),)
    assert result.reason == f"rides: rows: {rows} rows break 'at least 2 in 2013-07-01'"


def test_declared_columns_are_kept_in_the_declared_order_and_others_are_dropped():
    turned = rides(a_ride()).with_columns(driver=pl.lit("Ann")).select("driver", *reversed(SCHEMA)).lazy()

    frame = conform(RIDES, turned)

    assert frame.equals(rides(a_ride()))
    assert frame.schema == rides().schema


@pytest.mark.parametrize(
    ("column", "given"),
    [
        ("ride", pl.Int16),
        ("distance", pl.Int64),
        ("distance", pl.Float32),
        ("asked_at", pl.Datetime("ns", "UTC")),
        ("told_at", pl.Datetime("ms", "UTC")),
    ],
)
def test_numbers_and_times_of_another_width_are_accepted(column, given):
    frame = rides(a_ride(distance=3.0)).with_columns(pl.col(column).cast(given))

    assert conform(RIDES, frame.lazy()).equals(rides(a_ride(distance=3.0)))


@pytest.mark.parametrize(
    ("column", "given", "sentence"),
    [
        ("ride", pl.Float64, "ride is Float64, not integer"),
        ("ride", pl.String, "ride is String, not integer"),
        ("distance", pl.String, "distance is String, not float"),
        ("origin", pl.Categorical, "origin is Categorical.*, not string"),
        ("shared", pl.Int8, "shared is Int8, not boolean"),
        ("asked_at", pl.Date, "asked_at is Date, not timestamp"),
    ],
)
def test_another_type_is_refused_and_named(column, given, sentence):
    frame = rides(a_ride()).with_columns(pl.col(column).cast(given))

    with pytest.raises(ContractBroken, match=f"rides: {sentence}. The source has: ride, origin, .*Correct the source"):
        conform(RIDES, frame.lazy())


@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_a_timestamp_that_is_not_in_utc_is_not_guessed_at(zone):
    frame = rides(a_ride()).with_columns(pl.col("asked_at").dt.replace_time_zone(zone))

    with pytest.raises(ContractBroken, match=r"asked_at is Datetime.*, not timestamp"):
        conform(RIDES, frame.lazy())


def test_every_missing_column_and_every_wrong_type_is_named_at_once():
    frame = rides(a_ride()).drop("told_at", "waited").with_columns(pl.col("ride").cast(pl.String))

    with pytest.raises(ContractBroken, match=r"rides: missing: waited, told_at; ride is String, not integer"):
        conform(RIDES, frame.lazy())


def test_a_period_without_rows_has_the_right_shape():
    assert conform(RIDES, rides().lazy()).equals(rides())


def test_a_row_is_known_the_declared_wait_after_its_event_where_the_source_does_not_say():
    table = replace(RIDES, known_after=timedelta(minutes=30))
    delivered = rides(a_ride(asked_at=july(2, 8))).drop("told_at")

    conformed = conform(table, delivered.lazy())

    assert conformed["told_at"].to_list() == [july(2, 8) + timedelta(minutes=30)]
    assert check_contract(table, PERIOD, pl.concat([conformed] * 2).with_columns(ride=pl.Series([1, 2]))).kept


def test_of_a_missing_column_the_one_of_nearly_that_name_is_shown():
    frame = rides(a_ride()).rename({"waited": "wated"})

    with pytest.raises(
        ContractBroken, match=r"missing: waited\. .*told_at\. Is 'waited' called 'wated' there\? Correct"
    ):
        conform(RIDES, frame.lazy())
