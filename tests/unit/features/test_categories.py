"""Features of very many categories are named with their number."""

import polars as pl

from mlops_assets.features.categories import many_categories
from mlops_assets.products.feature_view import MANY_CATEGORIES
from tests.unit.training.builders import a_product


def rows_with(origins: int) -> pl.DataFrame:
    return pl.DataFrame({"origin": [None, *(f"stop {number}" for number in range(origins))], "distance": 1.0})


def test_more_than_a_thousand_categories_are_said_with_their_number():
    assert many_categories(a_product(), rows_with(5_000)).startswith("origin has 5,000 categories in 5,001 rows. ")


def test_a_thousand_are_not_too_many():
    assert many_categories(a_product(), rows_with(MANY_CATEGORIES)) == ""
    assert many_categories(a_product(), rows_with(MANY_CATEGORIES + 1)) != ""
