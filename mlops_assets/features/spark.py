"""Builds features on Spark: the same rows, values and types as `build_features` on Polars."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from mlops_assets.features.validation import validate_features
from mlops_assets.features.views import lookup_table, model_inputs, request_features
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, FeatureView
from mlops_assets.products.product import ModelProduct

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

# columns of the union of rows and values, and the fields of a value beside its features
_SPAN, _MOMENT, _VALUE, _NEWEST = "_span", "_moment", "_value", "_newest"
_EVENT, _CREATED = "_event", "_created"


def build_features_on_spark(
    session: "SparkSession",
    product: ModelProduct,
    rows: Sequence[Path | str],
    tables: Mapping[str, Sequence[Path | str]],
) -> pl.DataFrame:
    """Entity key, event timestamp and every model input, one row per row of `rows`.

    rows: Parquet files of the product's main table for the period. tables: those of every source table for the period
    and its lookback. The workers must reach the files. The result passes through the driver, one period at a time.
    Raises DeclarationError: a feature view does not fit the columns.
    """
    validate_features(product)
    _use_polars_conventions(session)
    source_tables = {name: _read(session, files) for name, files in tables.items()}
    featured = request_features(product, _read(session, rows).select(*product.request))
    for view in product.lookups:
        featured = _join_point_in_time(featured, lookup_table(view, source_tables), view, product.event_timestamp)
    built = pl.DataFrame(model_inputs(product, featured).toArrow())
    return built.sort(product.event_timestamp, *product.entity_key)


def _use_polars_conventions(session: "SparkSession") -> None:
    """Hours and days are counted in UTC, and column names are case-sensitive."""
    session.conf.set("spark.sql.session.timeZone", "UTC")
    session.conf.set("spark.sql.caseSensitive", "true")


def _read(session: "SparkSession", files: Sequence[Path | str]) -> "DataFrame":
    # Hadoop's scheme for S3; the cluster needs hadoop-aws
    return session.read.parquet(*(str(file).replace("s3://", "s3a://", 1) for file in files))


def _join_point_in_time(rows: "DataFrame", lookup: "DataFrame", view: FeatureView, event_timestamp: str) -> "DataFrame":
    """Add the view's features to `rows`, bounded by both clocks, as `point_in_time.join_point_in_time` does.

    Rows and values form one table. A running maximum per key gives each row, of the values created up to its time, the one
    with the newest event. The maximum is taken in spans of one time to live, and a value is copied into every span in which
    it may be valid. So the rows of a frequent key become many small tasks instead of a long one.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F  # noqa: N812  (Spark's own convention)

    assert view.time_to_live is not None
    lifetime = view.time_to_live // timedelta(microseconds=1)

    def span(moment: "Column") -> "Column":
        return F.floor(moment / lifetime)

    event, created, moment = F.unix_micros(EVENT_TIME), F.unix_micros(CREATED_TIME), F.unix_micros(event_timestamp)
    values = (
        # a null key equals no other key
        lookup.dropna(subset=[*view.key, EVENT_TIME, CREATED_TIME])
        .where(created <= event + lifetime)
        .select(
            *view.key,
            F.explode(F.sequence(span(created), span(event + lifetime))).alias(_SPAN),
            created.alias(_MOMENT),
            # structs compare field by field: the newest event first, then its newest report
            F.struct(event.alias(_EVENT), created.alias(_CREATED), *view.names).alias(_VALUE),
        )
    )
    # the frame includes all rows of the same time: a value that is created at t is known at t
    up_to_now = Window.partitionBy(*view.key, _SPAN).orderBy(_MOMENT).rangeBetween(Window.unboundedPreceding, 0)
    joined = (
        rows.withColumns({_SPAN: span(moment), _MOMENT: moment})
        .unionByName(values, allowMissingColumns=True)
        .withColumn(_NEWEST, F.max(_VALUE).over(up_to_now))
        .where(F.col(_VALUE).isNull())
    )
    is_valid = F.col(_MOMENT) - F.col(f"{_NEWEST}.{_EVENT}") <= lifetime
    features = {name: F.when(is_valid, F.col(f"{_NEWEST}.{name}")) for name in view.names}
    return joined.withColumns(features).drop(_SPAN, _MOMENT, _VALUE, _NEWEST)
