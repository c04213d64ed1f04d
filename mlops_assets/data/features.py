"""The one definition of features, applied: offline to a period, online to a request."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import narwhals as nw
import polars as pl

from mlops_assets.data.point_in_time import join_point_in_time, newest_known
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, FeatureKind, FeatureView
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.request_features import request_features


def build_features(product: ModelProduct, rows: pl.LazyFrame, tables: Mapping[str, pl.LazyFrame]) -> pl.LazyFrame:
    """Entity key, event timestamp and every model input, one row per row of `rows`.

    rows: the product's request columns. tables: every source table for the period and its lookback.
    """
    featured = request_features(product, rows)
    for view in product.lookups:
        featured = join_point_in_time(featured, lookup_table(view, tables), view, product.event_timestamp)
    identity = dict.fromkeys((*product.entity_key, product.event_timestamp))
    return featured.select(*identity, *(_typed(f.name, f.kind) for f in product.inputs if f.name not in identity)).sort(
        product.event_timestamp, *product.entity_key
    )


def lookup_table(view: FeatureView, tables: Mapping[str, pl.LazyFrame]) -> pl.LazyFrame:
    """The view's values with both clocks, from the source's tables."""
    assert view.lookup is not None
    wrapped: dict[str, nw.LazyFrame[Any]] = {name: nw.from_native(table) for name, table in tables.items()}
    found: pl.LazyFrame = nw.to_native(view.lookup(wrapped))
    return found


def newest_per_key(view: FeatureView, tables: Mapping[str, pl.LazyFrame], now: datetime) -> pl.DataFrame:
    """What the online store holds at `now`: of every key the newest row that was known by then."""
    known = newest_known(lookup_table(view, tables).filter(pl.col(CREATED_TIME) <= now), view)
    return (
        known.group_by(list(view.key))
        .agg(pl.all().sort_by(CREATED_TIME, EVENT_TIME).last())
        .sort(list(view.key))
        .collect()
    )


def _typed(name: str, kind: FeatureKind) -> pl.Expr:
    return pl.col(name).cast(pl.String if kind is FeatureKind.CATEGORICAL else pl.Float64)
