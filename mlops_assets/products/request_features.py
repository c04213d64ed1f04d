"""Features that a row or a live request determines itself: the one place where their expressions are applied."""

from collections.abc import Collection

import narwhals as nw
from narwhals.typing import IntoLazyFrameT

from mlops_assets.products.expressions import columns_of, is_by_name, is_by_row, is_column
from mlops_assets.products.product import ModelProduct

Columns = dict[str, nw.Expr]


def request_features(product: ModelProduct, rows: IntoLazyFrameT, *, made: Collection[str] = ()) -> IntoLazyFrameT:
    """`rows` (the product's request columns; on Polars or on Spark) with the features of its request views.

    made: what `made_of` added to them already."""
    frame = nw.from_native(rows)
    steps, features = _declared(product)
    for columns in (steps, features):
        missing = [expression.alias(name) for name, expression in columns.items() if name not in made]
        frame = frame.with_columns(*missing) if missing else frame
    return nw.to_native(frame.drop(*steps))


def made_of(product: ModelProduct, column: str, rows: IntoLazyFrameT) -> IntoLazyFrameT:
    """What request views make of this column of `rows` alone, row by row, as far as it is a feature or others use it.

    Nothing, if one of them takes columns by what they are: it would see what is made."""
    frame = nw.from_native(rows)
    steps, features = _declared(product)
    made: list[str] = []
    are_by_name = all(is_by_name(expression) for columns in (steps, features) for expression in columns.values())
    for columns in (steps, features) if are_by_name else ():
        mine = [
            name
            for name, expression in columns.items()
            if name not in product.request and is_by_row(expression) and columns_of(expression) <= {column, *made}
        ]
        made += mine
        frame = frame.with_columns(*(columns[name].alias(name) for name in mine)) if mine else frame
    used = {name for other in computed(product) if other not in made for name in columns_of(features[other])}
    return nw.to_native(frame.select(name for name in made if name in features or name in used))


def computed(product: ModelProduct) -> list[str]:
    """The features of request views that are not a column of the request as it is."""
    return list(_declared(product)[1])


def _declared(product: ModelProduct) -> tuple[Columns, Columns]:
    """Intermediate steps, and the features, which may be made of them."""
    views = [view for view in product.features if not view.is_lookup]
    steps = {name: expression for view in views for name, expression in view.intermediate}
    features = {
        feature.name: feature.expression
        for view in views
        for feature in view.features
        if feature.expression is not None and not is_column(feature.expression, feature.name)
    }
    return steps, features
