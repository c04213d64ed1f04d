"""A period whose rows stop before its end waits for more, unless later rows, the product or its past say that none will come."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.data.arrived import whole_periods
from mlops_assets.data.cut_off import cut_off, noted_cut_off, reach
from mlops_assets.errors import NotArrived
from mlops_assets.products.periods import daily, days, weekly
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Table
from mlops_assets.records.data import IncompletePeriod
from mlops_assets.sources.file_source import Files
from mlops_assets.state.workspace import Workspace
from tests.unit.training.builders import RIDES, InMemory, a_product, a_ride, january, rides

WEEKS = weekly(start="2020-01-06")
WEEK = WEEKS.at("2020-01-13")  # ends on Monday the 20th
NOW = january(28)


def every(step: timedelta, first: datetime, last: datetime) -> pl.DataFrame:
    """A ride every so often, the first and the last one included."""
    count = (last - first) // step + 1
    return rides(*(a_ride(number, first + number * step) for number in range(count)))


def a_weekly_product(frame: pl.DataFrame, table: Table = RIDES, **changes: object) -> ModelProduct:
    windows = {"training_window": days(56), "test_window": days(14)}
    return a_product(source=InMemory(frame, table), period=WEEKS, **{**windows, **changes})


HALF_HOURLY = timedelta(minutes=30)
STOPS_ON_WEDNESDAY = every(HALF_HOURLY, january(6), january(15, 22, 30))  # 142 of the 336 half-hours of the second week
SENTENCE = (
    "taxi: the period 2020-01-13 has not wholly arrived: the newest row of rides is of 2020-01-15 22:30, 42% of the period, and no "
    "two rows are more than 30 minutes apart. The source holds no later row; the period is stored once it does. If no more rows "
    "will come, declare fresh_within=days(5) of rides, or gaps='allow'."
)


@pytest.mark.parametrize(
    ("until", "is_whole", "said"),
    [
        (january(19, 23), True, "the newest row of rides is of 2020-01-19 23:00, 99% of the period"),
        (january(19, 8), True, "90% of the period"),  # a tenth of a week are 16 h 48 min
        (january(15, 21), False, "41% of the period, and no two rows are more than 1 hour apart"),
    ],
)
def test_rows_that_end_early_are_told_from_a_pause(until, is_whole, said):
    moments = pl.datetime_range(january(13), until, "1h", eager=True, time_zone="UTC")

    found = reach(RIDES, WEEK, moments)

    assert found.is_whole is is_whole
    assert said in found.seen


def test_fewer_than_ten_rows_say_nothing_of_the_pauses_between_them():
    nine = every(timedelta(hours=1), january(13), january(13, 8))["asked_at"]
    ten = every(timedelta(hours=1), january(13), january(13, 9))["asked_at"]

    assert reach(RIDES, WEEK, nine).is_whole
    assert not reach(RIDES, WEEK, ten).is_whole


def test_a_declared_freshness_counts_in_place_of_the_pauses():
    until_saturday = every(HALF_HOURLY, january(13), january(18))["asked_at"]

    two_days, one_day = (reach(replace(RIDES, fresh_within=days(number)), WEEK, until_saturday) for number in (2, 1))

    assert two_days.is_whole
    assert not one_day.is_whole
    assert one_day.seen.endswith("71% of the period, and fresh_within asks for rows until 2020-01-19 00:00")


def test_the_newest_period_waits_where_its_rows_stop_in_mid_week():
    assert cut_off(a_weekly_product(STOPS_ON_WEDNESDAY), WEEK, NOW) == SENTENCE


def test_a_period_does_not_wait_once_there_are_later_rows():
    later = pl.concat([STOPS_ON_WEDNESDAY, rides(a_ride(9_999, january(20, 3)))])

    assert cut_off(a_weekly_product(later), WEEK, NOW) == ""


def test_a_product_that_allows_gaps_waits_for_no_rows():
    assert cut_off(a_weekly_product(STOPS_ON_WEDNESDAY, gaps="allow"), WEEK, NOW) == ""


def test_a_week_that_ends_as_early_as_those_before_it_does_not_wait():
    open_days = [january(monday) + timedelta(days=day) for monday in (6, 13, 20, 27) for day in range(4)]
    at_night = [every(timedelta(hours=1), day + timedelta(hours=9), day + timedelta(hours=17)) for day in open_days]
    frame = pl.concat(at_night)
    product = a_weekly_product(frame)

    # until Thursday 17:00, 3 days and 7 hours before the end, and a night is 16 hours: only the weeks before tell
    assert not reach(
        RIDES, WEEKS.at("2020-01-27"), frame.filter(pl.col("asked_at") >= january(27))["asked_at"]
    ).is_whole
    assert cut_off(product, WEEKS.at("2020-01-27"), datetime.fromisoformat("2020-02-10T00:00Z")) == ""
    until_tuesday = frame.filter(pl.col("asked_at") < january(29))
    waits = cut_off(
        a_weekly_product(until_tuesday), WEEKS.at("2020-01-27"), datetime.fromisoformat("2020-02-10T00:00Z")
    )
    assert "the newest row of rides is of 2020-01-28 17:00" in waits


def test_of_files_by_period_a_later_file_says_that_no_more_will_come(tmp_path: Path):
    half = every(timedelta(minutes=10), january(1), january(1, 9, 50))
    half.write_parquet(tmp_path / "2020-01-01.parquet")
    source = Files(RIDES, {"rides": f"{tmp_path}/{{period}}.parquet"})
    product = a_product(source=source, period=daily(start="2020-01-01"))
    first = product.period.first

    assert "41% of the period" in cut_off(product, first, january(5))
    every(timedelta(minutes=10), january(3), january(3, 23, 50)).write_parquet(tmp_path / "2020-01-03.parquet")
    assert cut_off(product, first, january(5)) == ""


def test_what_the_source_said_is_kept_for_the_first_wait_of_the_retries(tmp_path: Path):
    state = Workspace(tmp_path).of(a_weekly_product(STOPS_ON_WEDNESDAY))
    whole = every(HALF_HOURLY, january(6), january(19, 23, 30))
    later = Workspace(tmp_path).of(a_weekly_product(whole))

    assert noted_cut_off(state, WEEK, NOW) == SENTENCE
    assert noted_cut_off(later, WEEK, NOW + timedelta(seconds=59)) == SENTENCE
    assert noted_cut_off(later, WEEK, NOW + timedelta(seconds=60)) == ""
    assert not later.records.has(IncompletePeriod, WEEK.key)


def test_what_has_arrived_ends_before_the_incomplete_period():
    whole, incomplete = whole_periods(a_weekly_product(STOPS_ON_WEDNESDAY), NOW)

    assert [period.key for period in whole] == ["2020-01-06"]
    assert incomplete == SENTENCE


def test_a_source_that_holds_no_whole_period_says_so():
    product = a_weekly_product(STOPS_ON_WEDNESDAY.filter(pl.col("asked_at") < january(9)))

    with pytest.raises(NotArrived, match="the period 2020-01-06 has not wholly arrived"):
        whole_periods(product, NOW)


def test_a_row_that_cannot_be_read_does_not_hide_what_has_arrived(tmp_path: Path):
    file = tmp_path / "rides.csv"
    every(HALF_HOURLY, january(6), january(26, 23, 30)).write_csv(file)
    lines = file.read_text().splitlines()
    lines[10] = "9,EWR"  # of the first week
    file.write_text("\n".join(lines))
    source = Files(RIDES, {"rides": str(file)})

    whole, incomplete = whole_periods(replace(a_weekly_product(rides()), source=source), NOW)

    assert [period.key for period in whole] == ["2020-01-06", "2020-01-13", "2020-01-20"]
    assert incomplete == ""
