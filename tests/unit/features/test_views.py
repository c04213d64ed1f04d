"""Features that a request determines itself."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.features.views import request_features


def a_request(departure: datetime, **changes) -> pl.LazyFrame:
    row = {
        **{"carrier": "UA", "flight": 1545, "origin": "EWR", "dest": "IAH", "scheduled_departure": departure},
        **{"distance": 1400, "aircraft_year": 1999, "seats": 149},
        **changes,
    }
    kinds = {"aircraft_year": pl.Int64, "seats": pl.Int64}
    return pl.LazyFrame([row], schema_overrides=kinds)


def features_of(request: pl.LazyFrame) -> dict:
    return request_features(flight_delay, request).collect().to_dicts()[0]


def test_one_request_has_the_features_of_its_timetable():
    found = features_of(a_request(datetime(2013, 7, 4, 11, 15, tzinfo=UTC)))

    # Thursday, 07:15 in New York (UTC-4): weekday 4, 4 * 24 + 7 = 103, 2013 - 1999 = 14
    assert {name: found[name] for name in ("hour", "weekday", "hour_of_week", "aircraft_age", "distance")} == {
        "hour": 7,
        "weekday": 4,
        "hour_of_week": 103,
        "aircraft_age": 14,
        "distance": 1400,
    }


@pytest.mark.parametrize(
    ("departure", "hour_of_week"),
    [
        (datetime(2013, 1, 7, 5, tzinfo=UTC), 24),  # Monday 00:00 in New York
        (datetime(2013, 1, 13, 4, tzinfo=UTC), 167),  # Saturday 23:00: more than the 127 that 8 bits hold
        (datetime(2013, 1, 14, 4, 59, tzinfo=UTC), 191),  # Sunday 23:59
    ],
)
def test_the_hour_of_the_week_does_not_overflow(departure, hour_of_week):
    assert features_of(a_request(departure))["hour_of_week"] == hour_of_week


def test_hours_and_weekdays_are_those_of_new_york_through_every_change_of_the_clocks():
    new_york = ZoneInfo("America/New_York")
    start = datetime(2012, 12, 31, tzinfo=UTC)
    moments = [start + timedelta(minutes=30 * count) for count in range(2 * 24 * 366 * 3)]  # three years
    rows = (
        a_request(start).drop("scheduled_departure").join(pl.LazyFrame({"scheduled_departure": moments}), how="cross")
    )

    found = request_features(flight_delay, rows).select("scheduled_departure", "hour", "weekday").collect()

    local = [moment.astimezone(new_york) for moment in found["scheduled_departure"]]
    assert found["hour"].to_list() == [moment.hour for moment in local]
    assert found["weekday"].to_list() == [moment.isoweekday() for moment in local]


def test_the_year_of_the_aircrafts_age_is_that_of_new_york():
    new_years_eve = datetime(2014, 1, 1, 3, tzinfo=UTC)  # 22:00 on 2013-12-31 in New York

    assert features_of(a_request(new_years_eve))["aircraft_age"] == 2013 - 1999


def test_what_the_request_does_not_know_is_null():
    found = features_of(a_request(datetime(2013, 7, 4, 11, 15, tzinfo=UTC), aircraft_year=None, seats=None))

    assert (found["aircraft_age"], found["seats"]) == (None, None)


def test_no_request_has_no_features():
    none = a_request(datetime(2013, 7, 4, tzinfo=UTC)).filter(pl.col("flight") < 0)

    assert request_features(flight_delay, none).collect().height == 0
