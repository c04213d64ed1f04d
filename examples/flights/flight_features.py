"""Feature views of the flights out of New York: only what is known before departure."""

from datetime import timedelta
from typing import Any

import narwhals as nw

from mlops_assets.products.feature_view import (
    CREATED_TIME,
    EVENT_TIME,
    Feature,
    FeatureKind,
    FeatureView,
    Role,
    Tables,
)
from mlops_assets.products.periods import days, hours
from mlops_assets.products.trailing import COUNT, trailing_view


def _in_new_york(utc: nw.Expr) -> nw.Expr:
    """Wall clock of New York: 4 hours behind UTC in summer, else 5.

    Summer is from the second Sunday of March, 07:00 UTC, to the first Sunday of November, 06:00 UTC (the law since
    2007). Written out, because Narwhals 2.29 converts time zones on Polars but not on Spark.
    """
    clock = utc.dt.offset_by("-6h")
    weekday = clock.dt.weekday() % 7
    # the last Sunday up to now, as 308 (no Sunday yet: 300 or less)
    sunday = clock.dt.month().cast(nw.Int64) * 100 + clock.dt.day() - weekday
    # by this clock summer begins an hour into its Sunday
    is_early = (weekday == 0) & (clock.dt.hour() == 0)
    has_begun = sunday - is_early.cast(nw.Int64) * 7 >= 308
    return nw.when(has_begun & (sunday < 1101)).then(utc.dt.offset_by("-4h")).otherwise(utc.dt.offset_by("-5h"))


# computed once per row set, since a live request pays for every expression
_LOCAL = ("_local_departure", _in_new_york(nw.col("scheduled_departure")))
_LOCAL_YEAR = ("_local_year", nw.col("scheduled_departure").dt.offset_by("-5h").dt.year())  # years change in winter
_LOCAL_DEPARTURE = nw.col("_local_departure")
_HOUR = _LOCAL_DEPARTURE.dt.hour().cast(nw.Int64)  # Polars counts hours in 8 bits: times 24 would overflow
# 1 is Monday, 7 is Sunday: of Narwhals' backends, Polars calls Sunday 7 and Spark 0
_WEEKDAY = (_LOCAL_DEPARTURE.dt.weekday().cast(nw.Int64) + 6) % 7 + 1
LATE = nw.col("arr_delay") >= 15

schedule = FeatureView(
    name="schedule",
    description="What the timetable says.",
    intermediate=(_LOCAL,),
    features=(
        Feature("carrier", nw.col("carrier"), FeatureKind.CATEGORICAL, description="airline, IATA code"),
        Feature("origin", nw.col("origin"), FeatureKind.CATEGORICAL, description="departure airport"),
        Feature("dest", nw.col("dest"), FeatureKind.CATEGORICAL, description="arrival airport"),
        Feature("hour", _HOUR, unit="h", description="local hour of departure", role=Role.CALENDAR),
        Feature("weekday", _WEEKDAY, description="1 is Monday", role=Role.CALENDAR),
        Feature("hour_of_week", _WEEKDAY * 24 + _HOUR, unit="h", role=Role.CALENDAR),
        Feature("distance", nw.col("distance"), unit="mi", description="between the airports"),
    ),
)

aircraft = FeatureView(
    name="aircraft",
    description="The aircraft planned for the flight.",
    intermediate=(_LOCAL_YEAR,),
    features=(
        Feature("aircraft_age", nw.col(_LOCAL_YEAR[0]) - nw.col("aircraft_year"), unit="years"),
        Feature("seats", nw.col("seats"), description="seats of the aircraft"),
    ),
)


def _weather(tables: Tables) -> nw.LazyFrame[Any]:
    return tables["weather"].with_columns(
        nw.col("observed_at").alias(EVENT_TIME), nw.col("reported_at").alias(CREATED_TIME)
    )


weather_at_departure = FeatureView(
    name="weather_at_departure",
    description="The last hourly observation that was known at the airport.",
    key=("origin",),
    time_to_live=hours(6),
    lookback=days(1),
    lookup=_weather,
    features=(
        Feature("temperature", unit="°F", role=Role.SEASONAL),
        Feature("humidity", unit="%", role=Role.SEASONAL),
        Feature("wind_speed", unit="mph", role=Role.SEASONAL),
        Feature("precipitation", unit="in", role=Role.SEASONAL),
        Feature("pressure", unit="hPa", role=Role.SEASONAL),
        Feature("visibility", unit="mi", role=Role.SEASONAL),
    ),
)


def _departures_by_hour(tables: Tables) -> nw.LazyFrame[Any]:
    hour_start = nw.col("scheduled_departure").dt.truncate("1h")
    return (
        tables["flights"]
        .with_columns(hour_start.alias(EVENT_TIME))
        .group_by("origin", EVENT_TIME)
        .agg(nw.len().alias("departures_week_before"))
        # of hours, not of flights: clocks are changed on the hour
        .with_columns(_in_new_york(nw.col(EVENT_TIME)).alias(_LOCAL[0]))
        .with_columns(
            (_WEEKDAY * 24 + _HOUR).alias("hour_of_week"), nw.col(EVENT_TIME).dt.offset_by("1h").alias(CREATED_TIME)
        )
    )


congestion = FeatureView(
    name="congestion",
    description="How busy the airport was in the same hour of the week before.",
    key=("origin", "hour_of_week"),
    time_to_live=days(8),
    lookback=days(9),
    lookup=_departures_by_hour,
    features=(Feature("departures_week_before", unit="flights/h"),),
)


def _outcomes(tables: Tables) -> nw.LazyFrame[Any]:
    """Landed and reported, never merely scheduled."""
    return (
        tables["flights"]
        .filter(~nw.col("arr_delay").is_null())
        .with_columns(nw.col("reported_at").alias(CREATED_TIME), LATE.cast(nw.Float64).alias("late"))
    )


def _lately(
    prefix: str, key: tuple[str, ...], window: timedelta, time_to_live: timedelta, lookback: timedelta, description: str
) -> FeatureView:
    return trailing_view(
        f"{prefix}_lately",
        (
            Feature(
                f"{prefix}_late_rate",
                nw.col("late") / nw.col(COUNT),
                description="share that arrived 15 minutes late or later",
            ),
            Feature(
                f"{prefix}_departure_delay",
                nw.col("dep_delay") / nw.col(COUNT),
                unit="min",
                description="mean departure delay",
            ),
        ),
        rows=_outcomes,
        key=key,
        window=window,
        sums=("late", "dep_delay"),
        time_to_live=time_to_live,
        lookback=lookback,
        description=description,
    )


origin_lately = _lately(
    "origin",
    key=("origin",),
    window=hours(3),
    time_to_live=hours(6),
    lookback=days(2),
    description="Outcomes reported in the last 3 hours for flights from this airport.",
)

carrier_lately = _lately(
    "carrier",
    key=("carrier",),
    window=hours(24),
    time_to_live=days(2),
    lookback=days(5),
    description="Outcomes reported in the last 24 hours for flights of this carrier.",
)

route_lately = _lately(
    "route",
    key=("origin", "dest"),
    window=days(3),
    time_to_live=days(2),
    lookback=days(7),
    description="Outcomes reported in the last 3 days for flights on this route: most routes have a few flights a day.",
)
