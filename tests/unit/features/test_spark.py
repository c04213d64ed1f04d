"""The one definition of features on Spark: the rows, values and types that Polars gives."""

import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import narwhals as nw
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from examples.flights.air_time import air_time
from examples.flights.flight_delay import flight_delay
from examples.flights.flight_features import schedule
from mlops_assets.data.contract import conform
from mlops_assets.data.stored_tables import keys_with_lookback, tables_of
from mlops_assets.features.build import build_features
from mlops_assets.features.spark import build_features_on_spark
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, Feature, FeatureView, Tables
from mlops_assets.products.periods import Period, days, hours
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.trailing import COUNT, trailing_view
from mlops_assets.state.tables import Tables as StoredTables
from mlops_assets.state.workspace import Workspace
from resources.spark import Spark
from tests.servers.spark_cluster import needs_java
from tests.unit.training.builders import BASKET, a_product, a_ride, january, rides

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

on_spark = [pytest.mark.slow, needs_java]
# New York changes to summer time on its last day, so does the hour of the week
WEEK = "2013-03-04"


@pytest.fixture(scope="module")
def session(spark_cluster: str) -> Iterator["SparkSession"]:
    running = Spark(master=spark_cluster).session
    running.conf.set("spark.sql.shuffle.partitions", "2")  # as many as the workers have cores
    yield running
    running.stop()


def weeks_of_the_year() -> list[Period]:
    return list(flight_delay.period.ended_by(datetime(2014, 1, 1, tzinfo=UTC)))


def last_wait(tables: Tables) -> nw.LazyFrame:
    """The wait of every ride, from when it was told."""
    return tables["rides"].select(
        "origin",
        nw.col("asked_at").alias(EVENT_TIME),
        nw.col("told_at").alias(CREATED_TIME),
        nw.col("waited").alias("last_wait"),
    )


LAST_WAIT = FeatureView("last_wait", (Feature("last_wait"),), key=("origin",), lookup=last_wait, time_to_live=hours(6))
WAITS = a_product(features=(BASKET, LAST_WAIT))


def on_both(
    session: "SparkSession",
    product: ModelProduct,
    rows: Sequence[Path | str],
    tables: Mapping[str, Sequence[Path | str]],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The features of the same files, by Polars and by Spark."""
    scans = {name: pl.scan_parquet(files) for name, files in tables.items()}
    polars = build_features(product, pl.scan_parquet(rows).select(product.request), scans)
    return polars, build_features_on_spark(session, product, rows, tables)


def waits_on_both(
    session: "SparkSession", folder: Path, asked: pl.DataFrame, told: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The last wait known to the rides `asked`, when the rides `told` are all that is ever learned."""
    asked.write_parquet(folder / "asked.parquet")
    told.write_parquet(folder / "told.parquet")
    return on_both(session, WAITS, [folder / "asked.parquet"], {"rides": [folder / "told.parquet"]})


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredTables:
    """The flights and the weather of the week, and as far back as its features look."""
    tables = Workspace(tmp_path_factory.mktemp("state")).of(air_time).tables
    for name, declared in tables_of(air_time).items():
        for key in keys_with_lookback(air_time, WEEK):
            read = air_time.source.read(declared.name, air_time.period.at(key))
            tables.write(name, key, conform(declared, read))
    return tables


class TestOnSpark:
    pytestmark = on_spark

    def test_a_stored_week_with_its_lookback_has_the_features_that_polars_gives(self, session, stored):
        keys = keys_with_lookback(air_time, WEEK)
        tables = {declared.name: stored.addresses(name, keys) for name, declared in tables_of(air_time).items()}

        polars, spark = on_both(session, air_time, stored.addresses("raw", [WEEK]), tables)

        assert polars.height > 6_000
        assert all(polars[name].null_count() < polars.height for name in air_time.feature_names)
        assert_frame_equal(spark, polars, check_exact=False, rel_tol=1e-9, abs_tol=1e-9)

    def test_the_whole_year_of_flights_has_the_features_that_polars_gives(self, session, tmp_path):
        tables = {}
        for declared in tables_of(flight_delay).values():
            weeks = [flight_delay.source.read(declared.name, week) for week in weeks_of_the_year()]
            pl.concat(weeks).sink_parquet(tmp_path / f"{declared.name}.parquet")
            tables[declared.name] = [tmp_path / f"{declared.name}.parquet"]

        polars, spark = on_both(session, flight_delay, tables["flights"], tables)

        assert polars.height > 330_000
        key = [flight_delay.event_timestamp, *flight_delay.entity_key]
        assert_frame_equal(spark.sort(key), polars.sort(key), check_exact=False, rel_tol=1e-9, abs_tol=1e-9)

    def test_the_value_of_a_row_is_the_newest_that_was_known_and_alive(self, session, tmp_path):
        told = rides(
            a_ride(1, january(2, 8), told_at=january(2, 9), waited=10.0),
            a_ride(2, january(2, 7), told_at=january(2, 10), waited=99.0),  # an older event, told later
            a_ride(3, january(2, 8), told_at=january(2, 11), waited=12.0),  # ride 1 corrected
            a_ride(4, january(2, 12), told_at=january(9), waited=77.0),  # planted: learned a week later
            a_ride(5, january(2, 8), told_at=january(2, 8), waited=55.0, origin=None),
        )
        asked = rides(
            a_ride(1, january(2, 8, 59)),  # nothing is known
            a_ride(2, january(2, 9)),  # told at this very moment
            a_ride(3, january(2, 10, 59)),
            a_ride(4, january(2, 11)),
            a_ride(5, january(2, 14)),  # exactly six hours old
            a_ride(6, january(2, 14, 0, 1)),  # too old
            a_ride(7, january(2, 13), origin="JFK"),  # nothing was ever told of JFK
            a_ride(8, january(2, 13), origin=None),  # an unknown origin is not another one
        )

        polars, spark = waits_on_both(session, tmp_path, asked, told)

        assert spark.sort("ride")["last_wait"].to_list() == [None, 10, 10, 12, 12, None, None, None]
        assert_frame_equal(spark, polars)

    def test_what_is_learned_later_changes_nothing_before(self, session, tmp_path):
        # distinct events, so that there is one newest
        draw = random.Random(11)
        minutes = draw.sample(range(3 * 24 * 60), 400)
        told = rides(
            *(
                a_ride(
                    number,
                    asked := january(2) + timedelta(minutes=minute),
                    told_at=asked + timedelta(minutes=draw.randrange(600)),  # past the time to live, too
                    waited=draw.choice([None, float(number)]),
                    origin=draw.choice(["EWR", "JFK", None]),
                )
                for number, minute in enumerate(minutes)
            )
        )
        noon = january(3, 12)
        planted = told.with_columns(waited=pl.when(pl.col("told_at") > noon).then(-1.0).otherwise("waited"))

        polars, spark = waits_on_both(session, tmp_path, told, told)
        _, with_planted = waits_on_both(session, tmp_path, told, planted)

        assert_frame_equal(spark, polars)
        until_noon = pl.col("asked_at") <= noon
        assert_frame_equal(with_planted.filter(until_noon), spark.filter(until_noon))
        assert with_planted.filter(~until_noon)["last_wait"].min() == -1

    def test_trailing_views_are_the_same_on_every_step(self, session, tmp_path):
        def told_waits(tables: Tables) -> nw.LazyFrame:
            return tables["rides"].with_columns(nw.col("told_at").alias(CREATED_TIME))

        views = [
            trailing_view(
                f"by_{step}",
                (Feature(f"waits_{step}", nw.col("waited") / nw.col(COUNT)), Feature(f"rides_{step}", nw.col(COUNT))),
                rows=told_waits,
                key=("origin",),
                window=window,
                sums=("waited",),
                step=step,
                time_to_live=2 * window,
                lookback=days(9),
            )
            for step, window in (("1m", timedelta(minutes=90)), ("1h", hours(5)), ("1d", days(2)))
        ]
        draw = random.Random(7)
        told = rides(
            *(
                a_ride(
                    number,
                    asked := january(2) + timedelta(seconds=draw.randrange(6 * 86_400)),
                    told_at=draw.choice([None, asked + timedelta(minutes=draw.randrange(600))]),
                    waited=draw.choice([None, float(draw.randrange(90))]),
                    origin=draw.choice(["EWR", "JFK", None]),
                )
                for number in range(400)
            )
        )
        told.write_parquet(tmp_path / "told.parquet")
        product = a_product(features=(BASKET, *views))

        polars, spark = on_both(session, product, [tmp_path / "told.parquet"], {"rides": [tmp_path / "told.parquet"]})

        assert_frame_equal(spark, polars, check_exact=False, rel_tol=1e-9, abs_tol=1e-9)
        assert all(0 < polars[name].null_count() < 300 for view in views for name in view.names)

    def test_no_rows_have_the_same_columns_and_types(self, session, tmp_path):
        polars, spark = waits_on_both(session, tmp_path, rides(), rides(a_ride(1, january(2))))

        assert spark.height == 0
        assert_frame_equal(spark, polars)

    def test_hours_are_those_of_utc_whatever_zone_the_session_was_in(self, session, tmp_path):
        clock = FeatureView("clock", (Feature("hour", nw.col("asked_at").dt.hour()),))
        product = a_product(features=(BASKET, clock))
        rides(a_ride(1, january(2, 8))).write_parquet(tmp_path / "asked.parquet")
        session.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")

        found = build_features_on_spark(session, product, [tmp_path / "asked.parquet"], {})

        assert found["hour"].to_list() == [8]


def test_the_local_calendar_of_a_flight_is_that_of_the_time_zone_database():
    # every half hour since the law of 2007, over every change of clocks and of year
    moments = pl.select(
        scheduled_departure=pl.datetime_range(datetime(2007, 3, 1), datetime(2038, 1, 1), "30m", time_zone="UTC")
    )
    local = pl.col("scheduled_departure").dt.convert_time_zone("America/New_York")
    calendar = {
        item.name: item.expression.cast(nw.Int64) for item in schedule.features if item.name in ("hour", "weekday")
    }

    steps = {name: expression for name, expression in schedule.intermediate}
    found = nw.from_native(moments).with_columns(**steps).select(**calendar).to_native()

    hour, weekday = local.dt.hour().cast(pl.Int64), local.dt.weekday().cast(pl.Int64)
    assert_frame_equal(found, moments.select(hour=hour, weekday=weekday))
