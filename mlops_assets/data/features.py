"""The one definition of features, applied: offline to a period, online to a request."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import narwhals as nw
import polars as pl
from narwhals.typing import IntoLazyFrameT

from mlops_assets.data.point_in_time import join_point_in_time, newest_known
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, FeatureKind, FeatureView
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.request_features import request_features


def build_features(product: ModelProduct, rows: pl.LazyFrame, tables: Mapping[str, pl.LazyFrame]) -> pl.LazyFrame:
    """Entity key, event timestamp and every model input, one row per row of `rows`.

    rows: the product's request columns. tables: every source table for the period and its lookback.
    """
    featured = request_features(product, rows.sort(product.event_timestamp, *product.entity_key))
    for view in product.lookups:
        featured = join_point_in_time(
            featured, lookup_table(view, tables), view, product.event_timestamp, in_order=True
        )
    return model_inputs(product, featured)


def lookup_table(view: FeatureView, tables: Mapping[str, IntoLazyFrameT]) -> IntoLazyFrameT:
    """The view's values with both clocks, from the source's tables (on Polars or on Spark)."""
    assert view.lookup is not None
    wrapped: dict[str, nw.LazyFrame[Any]] = {name: nw.from_native(table) for name, table in tables.items()}
    found: IntoLazyFrameT = nw.to_native(view.lookup(wrapped))
    return found


def model_inputs(product: ModelProduct, featured: IntoLazyFrameT) -> IntoLazyFrameT:
    """Entity key, event timestamp and every model input as the model takes it, in the order of the model's columns."""
    identity = dict.fromkeys((*product.entity_key, product.event_timestamp))
    inputs = (_typed(item.name, item.kind) for item in product.inputs if item.name not in identity)
    return nw.to_native(nw.from_native(featured).select(*identity, *inputs))


def newest_per_key(view: FeatureView, tables: Mapping[str, pl.LazyFrame], now: datetime) -> pl.DataFrame:
    """What the online store holds at `now`: of every key the newest row that was known by then."""
    return newest_by(view, lookup_table(view, tables), now)


def newest_by(view: FeatureView, lookup: pl.LazyFrame, now: datetime) -> pl.DataFrame:
    """Of every key in the view's values the newest that was known at `now`."""
    known = newest_known(lookup.filter(pl.col(CREATED_TIME) <= now), view)
    return (
        known.group_by(list(view.key))
        .agg(pl.all().sort_by(CREATED_TIME, EVENT_TIME).last())
        .sort(list(view.key))
        .collect()
    )


def _typed(name: str, kind: FeatureKind) -> nw.Expr:
    return nw.col(name).cast(nw.String if kind is FeatureKind.CATEGORICAL else nw.Float64)
