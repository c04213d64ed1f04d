"""Features of a stored period on Spark: read from the offline store by the workers."""

from typing import TYPE_CHECKING

import polars as pl

from mlops_assets.data.stored_tables import addresses_with_lookback
from mlops_assets.features.build import require_finite
from mlops_assets.features.spark import build_features_on_spark
from mlops_assets.state.workspace import ProductState

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def features_on_spark(session: "SparkSession", state: ProductState, key: str) -> pl.DataFrame:
    """Raises PartitionMissing: a table was never stored for the period, or for one that features look back to.
    Raises FeatureNotFinite."""
    product = state.product
    rows = state.tables.addresses("raw", [key])
    built = build_features_on_spark(session, product, rows, addresses_with_lookback(state, key))
    return require_finite(product, built)
