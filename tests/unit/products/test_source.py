"""Tables of a source: a declaration that contradicts itself is refused."""

from dataclasses import replace
from datetime import timedelta

import pytest

from mlops_assets.errors import DeclarationError
from mlops_assets.products.source import Column, Kind, Table

COLUMNS = (Column("ride", Kind.INTEGER), Column("asked_at", Kind.TIMESTAMP), Column("told_at", Kind.TIMESTAMP))


def a_table(**changes) -> Table:
    usual = {"columns": COLUMNS, "key": ("ride",), "event_timestamp": "asked_at", "created_timestamp": "told_at"}
    return Table("rides", **{**usual, **changes})


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({"key": ("ride", "driver")}, "driver"),
        ({"event_timestamp": "at"}, "at"),
        ({"created_timestamp": "known_at"}, "known_at"),
    ],
)
def test_key_and_clocks_must_be_columns(changes, needed):
    with pytest.raises(
        DeclarationError, match=f"table 'rides' needs column '{needed}'. It has: ride, asked_at, told_at"
    ):
        a_table(**changes)


def test_a_column_is_declared_once():
    with pytest.raises(DeclarationError, match=r"table 'rides' declares a column twice"):
        a_table(columns=(*COLUMNS, Column("ride", Kind.FLOAT)))


def test_only_strings_have_choices():
    with pytest.raises(DeclarationError, match=r"column 'seats' has choices but is integer. Only strings have choices"):
        Column("seats", Kind.INTEGER, choices=("1", "2"))


def test_a_minimum_above_the_maximum_is_refused():
    with pytest.raises(DeclarationError, match=r"column 'seats': minimum 9 is above maximum 2"):
        Column("seats", Kind.INTEGER, minimum=9, maximum=2)


def test_a_minimum_may_equal_the_maximum():
    assert Column("wheels", Kind.INTEGER, minimum=4, maximum=4).minimum == 4


def test_a_table_knows_its_columns():
    assert a_table().column("told_at").kind is Kind.TIMESTAMP
    assert a_table().has("ride")
    assert not a_table().has("driver")


@pytest.mark.parametrize(
    "changes", [{"known_after": timedelta(0)}, {"known_after": timedelta(minutes=30), "created_timestamp": "asked_at"}]
)
def test_a_wait_that_fills_no_column_of_its_own_is_refused(changes):
    with pytest.raises(
        DeclarationError, match=r"Give a positive time, and a created_timestamp other than the event_timestamp"
    ):
        a_table(**changes)


def test_what_the_platform_fills_is_not_asked_of_the_source():
    assert [column.name for column in a_table().delivered] == ["ride", "asked_at", "told_at"]
    assert [column.name for column in a_table(known_after=timedelta(minutes=30)).delivered] == ["ride", "asked_at"]


def test_one_series_needs_no_key_its_clock_identifies_a_row():
    prices = Table("prices", (Column("at", Kind.TIMESTAMP), Column("price", Kind.FLOAT)), event_timestamp="at")

    assert prices.key == ("at",)
    assert prices.created_timestamp == "at"  # rows are learned when they happen


def test_a_wait_after_the_event_needs_no_invented_column():
    price, at = Column("price", Kind.FLOAT), Column("at", Kind.TIMESTAMP)

    prices = Table("prices", (at, price), event_timestamp="at", known_after=timedelta(hours=6))

    assert prices.created_timestamp == "learned_at"
    assert prices.column("learned_at").kind is Kind.TIMESTAMP
    assert prices.delivered == (at, price)
    assert replace(prices, description="changed").columns == prices.columns


def test_a_table_without_a_clock_is_refused():
    with pytest.raises(
        DeclarationError, match=r"event_timestamp is empty\. Name the column that says when a row happened"
    ):
        Table("prices", (Column("price", Kind.FLOAT),))


def test_only_a_timestamp_has_a_format():
    with pytest.raises(DeclarationError, match="column 'price' has a format but is float"):
        Column("price", Kind.FLOAT, format="%d.%m.%Y")
