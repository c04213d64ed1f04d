"""Golden rows of a version: from its test window, as a request sees it, with the features that were stored."""

import narwhals as nw
import polars as pl
import pytest

from mlops_assets.errors import DataError
from mlops_assets.features.golden import Golden
from mlops_assets.products.feature_view import Feature, FeatureKind, FeatureView
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.workspace import ProductState, Workspace
from mlops_assets.training.golden import TEST_ROWS, golden_rows
from mlops_assets.training.split import PERIOD, SPLIT, TEST
from tests.unit.training.builders import a_product, a_training_set, january

PRODUCT = a_product()
ROWS = a_training_set(PRODUCT)  # its test window is 7 and 8 January
KEY = "2020-01-09"
TWICE = a_product(
    features=(
        FeatureView(
            "trip",
            (Feature("origin", nw.col("origin"), FeatureKind.CATEGORICAL), Feature("distance", nw.col("distance") * 2)),
        ),
    )
)


def a_state(workspace: Workspace, product: ModelProduct = PRODUCT) -> ProductState:
    """The rides of the test window are stored, with the columns that a request carries."""
    state = workspace.of(product)
    raw = ROWS.select(
        *product.request,
        pl.lit(9.0).alias("waited"),
        pl.lit(january(9)).cast(pl.Datetime("us", "UTC")).alias("told_at"),
        PERIOD,
    )
    for key in ("2020-01-07", "2020-01-08"):
        state.tables.write("raw", key, raw.filter(pl.col(PERIOD) == key).drop(PERIOD))
    return state


def test_they_are_spread_over_the_test_window_and_hold_what_was_stored(workspace):
    golden = Golden.unpack(golden_rows(a_state(workspace), KEY, ROWS), "version 1")

    unseen = ROWS.filter(pl.col(SPLIT) == TEST)
    real = golden.rows.join(unseen.select("ride"), on="ride", how="semi")
    assert TEST_ROWS // 2 < real.height <= TEST_ROWS
    assert set(real["asked_at"].dt.date()) == {january(7).date(), january(8).date()}
    assert golden.first_difference(PRODUCT) is None
    difference = golden.first_difference(TWICE)
    assert difference is not None
    assert difference.feature == "feature 'distance'"


def test_stored_features_of_other_definitions_are_not_trained_on(workspace):
    with pytest.raises(
        DataError, match=r"stored features of taxi differ from what its definitions give now: feature 'distance'"
    ):
        golden_rows(a_state(workspace, TWICE), KEY, ROWS)
