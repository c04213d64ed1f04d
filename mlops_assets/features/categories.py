"""A warning for features with too many categories to be learned or watched one by one."""

import polars as pl

from mlops_assets.products.feature_view import MANY_CATEGORIES, FeatureKind
from mlops_assets.products.product import ModelProduct


def many_categories(product: ModelProduct, features: pl.DataFrame) -> str:
    """A sentence about the features with more than 1,000 categories in these rows, and what that means; "" for none."""
    names = [item.name for item in product.inputs if item.kind is FeatureKind.CATEGORICAL]
    counts = {name: features[name].drop_nulls().n_unique() for name in names}
    many = [f"{name} has {count:,} categories" for name, count in counts.items() if count > MANY_CATEGORIES]
    if not many:
        return ""
    return (
        f"{', '.join(many)} in {features.height:,} rows. A model stores every one of them, and drift readings combine those with "
        "less than 0.5 % of the rows. Group them, or leave the column out if it identifies rows."
    )
