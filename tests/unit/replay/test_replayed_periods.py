"""Which periods a replay goes through: from the product's first to the newest that has rows in the source."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import polars as pl
import pytest

from examples.flights.flight_delay import flight_delay
from examples.flights.nyc_flights import FLIGHTS
from mlops_assets.data.arrived import arrived_periods
from mlops_assets.errors import DeclarationError, NotArrived
from mlops_assets.products.periods import Period, daily, days
from mlops_assets.products.source import Table
from mlops_assets.replay.periods import split_history

ROWS = replace(FLIGHTS, foreign_keys=())
NOW = datetime(2014, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class OneTable:
    """All rows in one place, as a file or a query has them: a period has arrived as soon as it is over."""

    hours: Collection[datetime]
    main: Table = ROWS
    side_tables: tuple[Table, ...] = ()

    def read(self, table: str, period: Period) -> pl.LazyFrame:
        kept = [moment for moment in self.hours if period.start <= moment < period.end]
        return pl.LazyFrame({FLIGHTS.event_timestamp: kept}, {FLIGHTS.event_timestamp: pl.Datetime("us", "UTC")})

    def has_arrived(self, period: Period, now: datetime) -> bool:
        return period.end <= now


def of_days(*numbers: int) -> OneTable:
    return OneTable([datetime(2013, 1, number, 12, tzinfo=UTC) for number in numbers])


def a_daily_product(source: OneTable):
    """Four days make a champion; its periods have no end."""
    return replace(
        flight_delay,
        features=(flight_delay.features[0],),
        source=source,
        period=daily("2013-01-01"),
        training_window=days(4),
        test_window=days(2),
        label=replace(flight_delay.label, delay=days(1)),
        gates=(),
    )


def keys_of(periods: list[Period]) -> list[str]:
    return [period.key[-2:] for period in periods]


@pytest.mark.parametrize("last", [1, 2, 3, 30, 31])
def test_the_rows_tell_where_a_source_of_one_file_ends(last: int):
    product = a_daily_product(of_days(*range(1, last + 1)))

    assert keys_of(arrived_periods(product, NOW)) == [f"{number:02}" for number in range(1, last + 1)]


def test_a_gap_does_not_end_a_source():
    product = a_daily_product(of_days(1, 2, 9))

    assert keys_of(arrived_periods(product, NOW))[-1] == "09"


def test_a_period_that_is_not_over_has_not_arrived():
    product = a_daily_product(of_days(1, 2, 3))

    assert keys_of(arrived_periods(product, datetime(2013, 1, 3, 23, 59, tzinfo=UTC))) == ["01", "02"]


def test_a_source_without_rows_says_where_the_periods_begin():
    with pytest.raises(NotArrived, match=r"holds no row of a period that is over .* Its periods begin 2013-01-01"):
        arrived_periods(a_daily_product(of_days()), NOW)


def split(count: int, start: str = "", end: str = "") -> tuple[list[str], list[str]]:
    product = a_daily_product(of_days(*range(1, count + 1)))
    history, replayed = split_history(product, arrived_periods(product, NOW), start, end)
    return keys_of(history), keys_of(replayed)


def test_the_first_champion_learns_from_one_training_window():
    assert split(6) == (["01", "02", "03", "04"], ["05", "06"])


def test_a_source_that_ends_with_the_training_window_has_a_champion_and_nothing_to_decide():
    assert split(4) == (["01", "02", "03", "04"], [])


def test_a_later_start_has_a_longer_history():
    assert split(7, start="2013-01-06") == (["01", "02", "03", "04", "05"], ["06", "07"])


def test_an_end_leaves_out_what_comes_after_it():
    assert split(7, end="2013-01-05") == (["01", "02", "03", "04"], ["05"])


def test_too_short_a_source_says_how_many_periods_are_missing():
    with pytest.raises(NotArrived, match=r"3 periods .* learns from 4: 1 more must arrive"):
        split(3)


def test_a_start_with_too_little_before_it_names_the_first_that_has_enough():
    with pytest.raises(DeclarationError, match=r"--from 2013-01-03 has 2 periods before it.* is 2013-01-05\."):
        split(6, start="2013-01-03")


@pytest.mark.parametrize("option", ["start", "end"])
def test_a_period_that_has_not_arrived_is_named_with_what_has(option: str):
    with pytest.raises(DeclarationError, match=r"2013-02-01 has not arrived. The source has 2013-01-01 to 2013-01-06"):
        split(6, **{option: "2013-02-01"})
