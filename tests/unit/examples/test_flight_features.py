"""Looked-up features of the flights, worked by hand on a few of them."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from examples.flights.flight_delay import flight_delay
from examples.flights.flight_features import origin_lately
from examples.flights.nyc_flights import FLIGHTS, WEATHER
from mlops_assets.features.build import build_features, newest_per_key
from mlops_assets.products.source import Kind, Table

KINDS = {
    Kind.STRING: pl.String,
    Kind.INTEGER: pl.Int64,
    Kind.FLOAT: pl.Float64,
    Kind.TIMESTAMP: pl.Datetime("us", "UTC"),
}


def july(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2013, 7, day, hour, minute, tzinfo=UTC)


def a_table(table: Table, rows: list[dict[str, Any]]) -> pl.LazyFrame:
    return pl.LazyFrame(rows, schema={column.name: KINDS[column.kind] for column in table.columns})


def a_flight(departure: datetime, reported: datetime | None = None, **changes: Any) -> dict[str, Any]:
    return {
        **{"carrier": "UA", "flight": 1, "origin": "EWR", "dest": "IAH", "scheduled_departure": departure},
        **{"distance": 1400, "aircraft_year": 1999, "seats": 149, "dep_delay": 0.0, "arr_delay": 0.0, "air_time": 60.0},
        "reported_at": reported or july(31, 0),
        **changes,
    }


def features_of(flight: dict[str, Any], flights: list[dict[str, Any]], weather: list[dict[str, Any]] | None = None):
    """The features of `flight`, when the tables hold `flights` and itself."""
    tables = {"flights": a_table(FLIGHTS, [*flights, flight]), "weather": a_table(WEATHER, weather or [])}
    rows = a_table(FLIGHTS, [flight]).select(flight_delay.request)
    return build_features(flight_delay, rows, tables).to_dicts()[0]


OUTCOMES = [
    a_flight(july(1, 7), july(1, 10, 20), flight=1, dep_delay=10.0, arr_delay=20.0),  # counts from 11:00, late
    a_flight(july(1, 7), july(1, 10, 50), flight=2, dep_delay=0.0, arr_delay=14.9),  # from 11:00, not late
    a_flight(july(1, 8), july(1, 12, 10), flight=3, dep_delay=30.0, arr_delay=15.0),  # from 13:00, late at exactly 15
    a_flight(july(1, 8), july(1, 12, 30), flight=4, dep_delay=None, arr_delay=None),  # cancelled: says nothing
    a_flight(july(1, 9), july(1, 13, 5), flight=5, dep_delay=20.0, arr_delay=0.0),  # from 14:00, not late
]


@pytest.mark.parametrize(
    ("departure", "late_rate", "delay"),
    [
        (july(1, 10, 59), None, None),  # nothing was reported yet
        (july(1, 11), 1 / 2, 5),  # flights 1 and 2
        (july(1, 12, 59), 1 / 2, 5),
        (july(1, 13), 2 / 3, 40 / 3),  # 1, 2 and 3
        (july(1, 13, 59), 2 / 3, 40 / 3),
        (july(1, 14), 1 / 2, 25),  # 3 and 5: the first two count for 3 hours, which are over
        (july(1, 20), 1 / 2, 25),  # nothing newer, and exactly six hours old
        (july(1, 20, 1), None, None),  # too old
    ],
)
def test_the_rates_of_an_airport_are_those_of_what_was_reported_in_its_last_three_hours(departure, late_rate, delay):
    found = features_of(a_flight(departure, flight=99), OUTCOMES)

    assert found["origin_late_rate"] == (pytest.approx(late_rate) if late_rate is not None else None)
    assert found["origin_departure_delay"] == (pytest.approx(delay) if delay is not None else None)


def test_the_rates_of_a_carrier_go_back_a_day():
    found = features_of(a_flight(july(1, 15), flight=99, origin="JFK"), OUTCOMES)

    assert found["carrier_late_rate"] == pytest.approx(2 / 4)  # flights 1, 2, 3 and 5, two of them late
    assert found["carrier_departure_delay"] == pytest.approx(60 / 4)
    assert found["origin_late_rate"] is None  # nothing was reported of JFK


def test_another_carriers_outcomes_are_not_this_ones():
    assert features_of(a_flight(july(1, 15), carrier="B6"), OUTCOMES)["carrier_late_rate"] is None


def test_the_rates_of_a_route_go_back_three_days_and_only_over_its_own_flights():
    to_boston = a_flight(july(1, 9), july(1, 11, 30), flight=6, dest="BOS", dep_delay=5.0, arr_delay=60.0)
    from_kennedy = a_flight(july(1, 9), july(1, 11, 30), flight=7, origin="JFK", dep_delay=90.0, arr_delay=90.0)
    on_the_third = a_flight(july(3, 15), july(3, 18, 30), flight=8, dep_delay=8.0, arr_delay=0.0)  # from 19:00
    told = [*OUTCOMES, to_boston, from_kennedy, on_the_third]

    first = features_of(a_flight(july(1, 15), flight=99), told)
    last_hour = features_of(a_flight(july(3, 18, 59), flight=99), told)
    third = features_of(a_flight(july(3, 20), flight=99), told)
    fifth = features_of(a_flight(july(5, 19), flight=99), told)
    sixth = features_of(a_flight(july(5, 19, 1), flight=99), told)

    # flights 1, 2, 3 and 5
    assert (first["route_late_rate"], first["route_departure_delay"]) == (pytest.approx(2 / 4), pytest.approx(60 / 4))
    # the newest before is that of 14:00 on the first, more than two days old
    assert last_hour["route_late_rate"] is None
    # flight 8 too
    assert (third["route_late_rate"], third["route_departure_delay"]) == (pytest.approx(2 / 5), pytest.approx(68 / 5))
    # exactly two days old, and a minute more
    assert (fifth["route_late_rate"], sixth["route_late_rate"]) == (pytest.approx(2 / 5), None)


def test_an_outcome_leaves_the_rates_of_its_route_after_three_days():
    after = a_flight(july(4, 8), july(4, 13, 30), flight=8, dep_delay=8.0, arr_delay=0.0)  # counts from 14:00

    found = features_of(a_flight(july(4, 14), flight=99), [*OUTCOMES, after])

    # those that count from 11:00, 13:00 and 14:00 of the first have left
    assert (found["route_late_rate"], found["route_departure_delay"]) == (0, 8)


def test_an_outcome_that_is_reported_later_never_enters_the_rates():
    storm = a_flight(july(1, 7), july(1, 18), flight=9, dep_delay=600.0, arr_delay=600.0)
    flight = a_flight(july(1, 15), flight=99)

    without, planted = features_of(flight, OUTCOMES), features_of(flight, [*OUTCOMES, storm])

    assert planted == without
    later = features_of(a_flight(july(1, 19), flight=99), [*OUTCOMES, storm])
    assert later["route_departure_delay"] == pytest.approx((60 + 600) / 5)


def test_congestion_counts_the_departures_of_the_same_hour_a_week_before():
    week_before = [a_flight(july(1, 11, minute), flight=minute, origin="EWR") for minute in (0, 30, 59)]
    this_hour = [a_flight(july(8, 11, 5), flight=60)]
    other = [a_flight(july(1, 11, 10), flight=61, origin="JFK"), a_flight(july(1, 12), flight=62)]

    found = features_of(a_flight(july(8, 11, 15), flight=99), [*week_before, *this_hour, *other])

    assert found["departures_week_before"] == 3


def test_without_a_week_before_there_is_no_congestion():
    assert features_of(a_flight(july(8, 11)), [a_flight(july(1, 12))])["departures_week_before"] is None


def an_observation(observed: datetime, temperature: float, origin: str = "EWR") -> dict[str, Any]:
    empty = dict.fromkeys(("humidity", "wind_speed", "precipitation", "pressure", "visibility"))
    reported = observed.replace(hour=observed.hour + 1)
    return {"origin": origin, "observed_at": observed, "reported_at": reported, "temperature": temperature, **empty}


def test_the_weather_is_the_last_that_was_reported_at_the_airport():
    weather = [
        an_observation(july(1, 9), 70.0),
        an_observation(july(1, 10), 75.0),  # reported at 11:00
        an_observation(july(1, 10), 99.0, origin="JFK"),
    ]

    assert features_of(a_flight(july(1, 10, 59)), [], weather)["temperature"] == 70
    assert features_of(a_flight(july(1, 11)), [], weather)["temperature"] == 75
    assert features_of(a_flight(july(1, 16)), [], weather)["temperature"] == 75  # observed exactly six hours before
    assert features_of(a_flight(july(1, 16, 1)), [], weather)["temperature"] is None


@pytest.mark.parametrize(
    ("now", "held"),
    [
        (july(1, 14), [("EWR", july(1, 14), 1 / 2), ("JFK", july(1, 10), 1.0)]),
        (july(1, 13, 59), [("EWR", july(1, 13), 2 / 3), ("JFK", july(1, 10), 1.0)]),
        (july(1, 10), [("JFK", july(1, 10), 1.0)]),
    ],
)
def test_the_online_store_is_given_the_newest_rates_that_are_known_by_now(now, held):
    at_jfk = a_flight(july(1, 9), july(1, 9, 30), origin="JFK", arr_delay=30.0)

    newest = newest_per_key(origin_lately, {"flights": a_table(FLIGHTS, [*OUTCOMES, at_jfk])}, now)

    assert newest.select("origin", "created_time", "origin_late_rate").rows() == held
