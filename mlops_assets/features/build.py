"""Builds the features of a period from its rows and the tables of the source."""

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from mlops_assets.errors import FeatureNotFinite
from mlops_assets.features.point_in_time import join_point_in_time, newest_known
from mlops_assets.features.validation import validate_features
from mlops_assets.features.views import lookup_table, model_inputs, request_features
from mlops_assets.products.feature_view import CREATED_TIME, FeatureView
from mlops_assets.products.product import ModelProduct


def build_features(product: ModelProduct, rows: pl.LazyFrame, tables: Mapping[str, pl.LazyFrame]) -> pl.DataFrame:
    """Entity key, event timestamp and every model input, one row per row of `rows`, ordered by event and entity key.

    rows: the product's request columns. tables: every source table for the period and its lookback.
    Raises DeclarationError: a feature view does not fit the columns.
    """
    validate_features(product)
    return features_of(product, rows, tables)


def features_of(product: ModelProduct, rows: pl.LazyFrame, tables: Mapping[str, pl.LazyFrame]) -> pl.DataFrame:
    """As `build_features`, for a product whose views were validated before."""
    clock = product.event_timestamp
    # a lookup may use a request feature as its key
    featured = request_features(product, rows.select(product.request).sort(clock, *product.entity_key))
    for view in product.lookups:
        featured = join_point_in_time(featured, lookup_table(view, tables), view, clock, in_order=True)
    return model_inputs(product, featured).collect()


def require_finite(product: ModelProduct, built: pl.DataFrame) -> pl.DataFrame:
    """The features, unchanged. Raises FeatureNotFinite: a model would learn from an infinite value or NaN."""
    for item in product.inputs:
        if built[item.name].dtype.is_float() and not built[item.name].is_finite().all():  # a null is allowed
            not_finite = built.filter(~pl.col(item.name).is_finite())
            row = not_finite.select(*product.entity_key, item.name).row(0, named=True)
            example = ", ".join(f"{name} {value}" for name, value in row.items())
            raise FeatureNotFinite(f"{product.name}.{item.name}", not_finite.height, example)
    return built


def newest_per_key(view: FeatureView, tables: Mapping[str, pl.LazyFrame], now: datetime) -> pl.DataFrame:
    """The content of the online store at `now`: for each key the newest row that was known by then."""
    lookup = lookup_table(view, tables).filter(pl.col(CREATED_TIME) <= now)
    key = list(view.key)
    return newest_known(lookup, view).collect().unique(key, keep="last").sort(key)
