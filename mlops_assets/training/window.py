"""Loads the training set of a partition from the offline store."""

import polars as pl

from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.offline_store import OfflineStore
from mlops_assets.training.split import build_training_set


def load_training_set(product: ModelProduct, store: OfflineStore, key: str) -> pl.DataFrame:
    """Features and labels of the whole training window before `key`.

    Raises PartitionMissing: a period of the window was never stored. Raises SchemaConflict: one was stored before a
    feature existed, which would be learned from as null."""
    cutoff = product.period.at(key).start
    keys = [period.key for period in product.period.window_before(key, product.training_window)]
    features = store.scan(f"{product.name}/features", keys, needs=product.feature_names)
    labels = store.scan(f"{product.name}/labels", keys)
    return build_training_set(product, features, labels, cutoff)
