"""Ingest: what breaks the contract is quarantined with its reasons up to a share, and no row is ever lost."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from mlops_assets.data.contract import check_contract
from mlops_assets.data.ingest import quarantined, read_period, store_period
from mlops_assets.errors import DeclarationError, PartitionMissing, StoreError
from mlops_assets.products.periods import Period, days
from mlops_assets.products.source import ForeignKey, Table
from mlops_assets.state.tables import Tables
from mlops_assets.state.workspace import ProductState, Workspace
from tests.unit.data.test_contract import PERIOD, RIDES, a_ride, july, rides

TOLERANT = replace(RIDES, max_quarantined_share=0.25)
RAW = "raw"


def good(count: int, first: int = 100) -> list[dict[str, Any]]:
    return [a_ride(ride=first + number) for number in range(count)]


@pytest.fixture
def tables(workspace: Workspace) -> Tables:
    return Tables(workspace.objects, "taxi")


def test_bad_rows_are_set_apart_with_every_rule_they_break(tables: Tables):
    bad = [a_ride(ride=1, distance=99.0, origin="LGA"), a_ride(ride=2, told_at=july(1))]

    result = check_contract(TOLERANT, PERIOD, rides(*good(6), *bad))
    store_period(tables, RAW, result, PERIOD)

    assert result.kept
    assert result.reason.startswith("rides: 2 of 8 rows (25.00%, limit 25.00%) are quarantined: ")
    assert quarantined(tables, RAW, PERIOD.key).select("ride", "reason").sort("ride").rows() == [
        (1, "origin: is one of EWR, JFK; distance: is at most 50 mi"),
        (2, "told_at: is not before asked_at"),
    ]
    assert tables.contents(RAW, PERIOD.key).rows == 6


def test_a_store_that_loses_rows_is_reported(tables: Tables):
    class Forgetful(Tables):
        def write(self, table: str, key: str, rows: pl.DataFrame | pl.LazyFrame) -> str:
            return super().write(table, key, rows.head(5))

    forgetful = Forgetful(tables.objects, tables.product)

    with pytest.raises(StoreError, match="rides of 2013-07-01 had 6 rows, and 5 are stored and 0 quarantined"):
        store_period(forgetful, RAW, check_contract(RIDES, PERIOD, rides(*good(6))), PERIOD)


def test_above_the_share_the_period_fails():
    result = check_contract(TOLERANT, PERIOD, rides(*good(5), a_ride(ride=1, distance=99.0)))
    beyond = check_contract(TOLERANT, PERIOD, rides(*good(5), *(a_ride(ride=n, distance=99.0) for n in (1, 2))))

    assert result.kept
    assert not beyond.kept
    assert "2 of 7 rows (28.57%, limit 25.00%) would be quarantined, so nothing is stored" in beyond.reason


def test_rows_with_the_same_key_are_all_quarantined_as_none_is_known_to_be_right(tables: Tables):
    result = check_contract(TOLERANT, PERIOD, rides(*good(6), a_ride(ride=1), a_ride(ride=1, distance=9.0)))

    assert result.quarantined.select("ride", "distance", "reason").rows() == [
        (1, 3.5, "ride, origin: the key is unique"),
        (1, 9.0, "ride, origin: the key is unique"),
    ]


def test_a_delivery_without_bad_rows_clears_what_was_quarantined_before(tables: Tables):
    store_period(tables, RAW, check_contract(TOLERANT, PERIOD, rides(*good(6), a_ride(ride=0))), PERIOD)

    store_period(tables, RAW, check_contract(TOLERANT, PERIOD, rides(*good(6))), PERIOD)

    assert quarantined(tables, RAW, PERIOD.key).height == 0


def test_a_table_that_quarantines_nothing_has_no_quarantine(tables: Tables):
    store_period(tables, RAW, check_contract(RIDES, PERIOD, rides(*good(2))), PERIOD)

    with pytest.raises(PartitionMissing):
        quarantined(tables, RAW, PERIOD.key)


def test_the_version_changes_with_late_rows_and_not_with_the_order_of_the_same_ones(tables: Tables):
    def ingested(*rows: dict[str, Any]) -> str:
        return store_period(tables, RAW, check_contract(RIDES, PERIOD, rides(*rows)), PERIOD)

    first = ingested(*good(5))

    assert ingested(*reversed(good(5))) == first
    late = ingested(*good(5), a_ride(ride=1, told_at=july(20)))
    assert late != first
    assert ingested(a_ride(ride=1, told_at=july(20)), *good(5)) == late


@pytest.mark.parametrize(("rows", "kept"), [(49, False), (50, True), (200, True), (201, False)])
def test_the_row_count_stays_near_the_median_of_the_last_periods(rows: int, kept: bool):
    table = replace(RIDES, rows_within=(0.5, 2.0))

    result = check_contract(table, PERIOD, rides(*good(rows)), history=[10, 100, 1_000])

    assert result.kept is kept
    if not kept:
        assert f"rows: {rows} rows break 'between 50 and 200, as the median of 3 periods is 100'" in result.reason


def test_fewer_than_three_periods_are_no_history():
    assert check_contract(replace(RIDES, rows_within=(0.5, 2.0)), PERIOD, rides(*good(2)), history=[100, 100]).kept


@pytest.mark.parametrize(("newest", "kept"), [(july(7), True), (july(6, 23), False)])
def test_a_period_whose_newest_event_is_too_old_is_not_fresh(newest: datetime, kept: bool):
    table = replace(RIDES, fresh_within=days(1))
    fresh = a_ride(ride=9, asked_at=newest, told_at=july(8))

    result = check_contract(table, PERIOD, rides(*good(2), fresh))

    assert result.kept is kept
    if not kept:
        assert "asked_at: 3 rows break 'the newest is at most 1 day, 0:00:00 before 2013-07-08 00:00" in result.reason


ZONES = Table(
    "zones",
    columns=tuple(column for column in RIDES.columns if column.name in ("origin", "asked_at", "told_at")),
    key=("origin",),
    event_timestamp="asked_at",
    created_timestamp="told_at",
)
REFERRING = replace(TOLERANT, foreign_keys=(ForeignKey(("origin",), "zones"),))


def test_a_row_that_refers_to_nothing_is_named():
    zones = pl.DataFrame({"origin": ["EWR"]})

    result = check_contract(REFERRING, PERIOD, rides(*good(3), a_ride(ride=1, origin="JFK")), (), {"zones": zones})

    assert result.quarantined.select("ride", "reason").rows() == [(1, "origin: exists in origin of zones")]


def test_a_foreign_key_of_several_columns_under_other_names():
    table = replace(TOLERANT, foreign_keys=(ForeignKey(("origin", "ride"), "zones", to=("zone", "number")),))
    zones = pl.DataFrame(
        {"zone": ["EWR"] * 3 + ["JFK"], "number": [100, 101, 102, 1]}, schema_overrides={"number": pl.Int64}
    )

    result = check_contract(table, PERIOD, rides(*good(3), a_ride(ride=1)), (), {"zones": zones})

    assert result.quarantined["ride"].to_list() == [1]


def test_a_foreign_key_with_another_number_of_columns_is_refused():
    with pytest.raises(DeclarationError, match="Name as many columns on both sides"):
        replace(RIDES, foreign_keys=(ForeignKey(("origin",), "zones", to=("zone", "number")),))


@dataclass(frozen=True)
class Rides:
    rows: pl.DataFrame
    zones: pl.DataFrame
    main: Table = REFERRING
    side_tables: tuple[Table, ...] = (ZONES,)

    def read(self, table: str, period: Period) -> pl.LazyFrame:
        return (self.rows if table == "rides" else self.zones).lazy()

    def has_arrived(self, period: Period, now: datetime) -> bool:
        return True


@dataclass(frozen=True)
class Taxi:
    source: Rides
    name: str = "taxi"
    gaps: str = "fail"


def test_a_period_is_held_against_its_history_and_against_what_it_refers_to(workspace: Workspace):
    main = replace(REFERRING, rows_within=(0.5, 2.0))
    zones = rides(a_ride(origin="EWR")).select(column.name for column in ZONES.columns)
    source = Rides(rides(*good(3), a_ride(ride=1, origin="JFK")), zones, main)
    state = ProductState(workspace, Taxi(source))  # type: ignore[arg-type]
    for week in (1, 2, 3):
        earlier = Period(PERIOD.start - timedelta(weeks=week), PERIOD.end - timedelta(weeks=week))
        state.tables.write(RAW, earlier.key, rides(*good(10)))

    result = read_period(state, RAW, main, PERIOD)

    assert [violation.column for violation in result.violations] == ["rows", "origin"]
    assert "between 5 and 20, as the median of 3 periods is 10" in result.reason


def test_a_share_that_is_none_is_refused():
    with pytest.raises(DeclarationError, match=r"max_quarantined_share is 1. Give a share from 0 to below 1"):
        replace(RIDES, max_quarantined_share=1)
