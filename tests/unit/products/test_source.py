"""Tables of a source: a declaration that contradicts itself is refused."""

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
        DeclarationError, match=r"Give a positive wait, and a created_timestamp other than the event_timestamp"
    ):
        a_table(**changes)


def test_what_the_platform_fills_is_not_asked_of_the_source():
    assert [column.name for column in a_table().delivered] == ["ride", "asked_at", "told_at"]
    assert [column.name for column in a_table(known_after=timedelta(minutes=30)).delivered] == ["ride", "asked_at"]
