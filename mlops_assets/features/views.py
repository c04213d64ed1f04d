"""Applies a product's feature views to tables, in the same way on Polars, on Spark and for requests."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import narwhals as nw
from narwhals.typing import IntoLazyFrameT

from mlops_assets.features.trailing import trailing_table
from mlops_assets.products.feature_view import FeatureKind, FeatureView, Trailing
from mlops_assets.products.product import ModelProduct

Expressions = dict[str, nw.Expr]  # by the name of their column


def request_features(product: ModelProduct, rows: IntoLazyFrameT) -> IntoLazyFrameT:
    """`rows` (the product's request columns) with the features of its on-demand views."""
    frame = nw.from_native(rows)
    steps, features = request_expressions(product)
    featured: IntoLazyFrameT = nw.to_native(with_expressions(frame, steps, features).drop(*steps))
    return featured


def with_expressions(frame: Any, *layers: Expressions) -> Any:
    """A Narwhals frame with the columns of each layer; a layer may use the columns of earlier layers."""
    for columns in layers:
        if columns:
            frame = frame.with_columns(*(expression.alias(name) for name, expression in columns.items()))
    return frame


def request_expressions(product: ModelProduct) -> tuple[Expressions, Expressions]:
    """The intermediate steps, which use the request's columns, and the features, which use these and the steps."""
    views = [view for view in product.features if not view.is_batch]
    steps = {name: expression for view in views for name, expression in view.intermediate}
    features = {
        feature.name: feature.expression
        for view in views
        for feature in view.features
        if feature.expression is not None
    }
    return steps, features


def lookup_table(view: FeatureView, tables: Mapping[str, IntoLazyFrameT]) -> IntoLazyFrameT:
    """The view's values with both clocks, from the source's tables."""
    lookup = partial(trailing_table, view.lookup) if isinstance(view.lookup, Trailing) else view.lookup
    assert callable(lookup)
    wrapped: dict[str, nw.LazyFrame[Any]] = {name: nw.from_native(table) for name, table in tables.items()}
    table: IntoLazyFrameT = nw.to_native(lookup(wrapped))
    return table


def model_inputs(product: ModelProduct, featured: IntoLazyFrameT) -> IntoLazyFrameT:
    """Entity key, event timestamp and every model input with the model's type, in the order of the model's columns."""
    identity = dict.fromkeys((*product.entity_key, product.event_timestamp))
    inputs = (_typed(item.name, item.kind) for item in product.inputs if item.name not in identity)
    return nw.to_native(nw.from_native(featured).select(*identity, *inputs))


def _typed(name: str, kind: FeatureKind) -> nw.Expr:
    return nw.col(name).cast(nw.String if kind is FeatureKind.CATEGORICAL else nw.Float64)
