"""Loads the training set of a partition from the offline store."""

import polars as pl

from mlops_assets.drift.windows import unseen_from
from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.state.workspace import ProductState
from mlops_assets.training.split import build_training_set


def load_training_set(state: ProductState, key: str, since: str = "") -> pl.DataFrame:
    """Features and labels of the training window before `key`, split for a shift that began with period `since`.

    Raises PartitionMissing if a period of the window was never stored, SchemaConflict if one was stored before a feature
    existed, whose values would be read as null."""
    product, tables = state.product, state.tables
    cutoff = product.period.at(key).start
    keys = [period.key for period in product.period.window_before(key, product.training_window)]
    features = tables.scan("features", keys, needs=product.feature_names)
    labels = tables.scan("labels", keys)
    return build_training_set(product, features, labels, cutoff, unseen_from(product, key, since))


def load_after_shift(state: ProductState, key: str, since: str) -> tuple[pl.DataFrame, str]:
    """The training set of a retraining that has to learn a shift, and the first period of the shift that its split is for.

    That is "" for the usual split: if there was no shift, if the usual split has rows of it on both sides, or if a side of the
    other split would have too few rows."""
    if unseen_from(state.product, key, since) > unseen_from(state.product, key):
        try:
            return load_training_set(state, key, since), since
        except NothingToLearnFrom:
            pass  # half of a short time may hold too few rows, while the usual split holds enough
    return load_training_set(state, key), ""
