"""Features that a row or a live request determines itself: the one place where their expressions are applied."""

import narwhals as nw
from narwhals.typing import IntoLazyFrameT

from mlops_assets.products.product import ModelProduct


def request_features(product: ModelProduct, rows: IntoLazyFrameT) -> IntoLazyFrameT:
    """`rows` (the product's request columns; on Polars or on Spark) with the features of its request views."""
    views = [view for view in product.features if not view.is_lookup]
    steps = {name: expression.alias(name) for view in views for name, expression in view.intermediate}
    expressions = [
        feature.expression.alias(feature.name)
        for view in views
        for feature in view.features
        if feature.expression is not None
    ]
    frame = nw.from_native(rows)
    for columns in (list(steps.values()), expressions):
        frame = frame.with_columns(*columns) if columns else frame
    return nw.to_native(frame.drop(*steps))
