"""Features of a stored period on Spark: read from the offline store by the workers."""

from typing import TYPE_CHECKING

import polars as pl

from mlops_assets.data.features import require_finite
from mlops_assets.data.spark_features import build_features_on_spark
from mlops_assets.data.stored_tables import addresses_with_lookback
from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.offline_store import OfflineStore

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def features_on_spark(session: "SparkSession", product: ModelProduct, store: OfflineStore, key: str) -> pl.DataFrame:
    """Raises PartitionMissing: a table was never stored for the period, or for one that features look back to.
    Raises FeatureNotFinite."""
    rows = store.addresses(f"{product.name}/raw", [key])
    built = build_features_on_spark(session, product, rows, addresses_with_lookback(product, store, key))
    return require_finite(product, built)
