"""Feature views: an on-demand view computes and a batch view looks up."""

from datetime import timedelta
from typing import Any

import narwhals as nw
import pytest

from mlops_assets.errors import DeclarationError
from mlops_assets.products.feature_view import Feature, FeatureView, Tables

DISTANCE = Feature("distance", nw.col("distance"))


def the_table(tables: Tables) -> Any:
    return tables["weather"]


def another_table(tables: Tables) -> Any:
    return tables["wind"]


def a_lookup(**changes: Any) -> FeatureView:
    usual = {"key": ("origin",), "lookup": the_table, "time_to_live": timedelta(hours=6)}
    return FeatureView("weather", (Feature("wind"),), **{**usual, **changes})


def test_a_view_without_features_is_refused():
    with pytest.raises(DeclarationError, match=r"feature view 'empty' has no feature. Give it one or leave it out"):
        FeatureView("empty", ())


@pytest.mark.parametrize(
    ("features", "changes", "missing"),
    [
        ((DISTANCE, Feature("wind")), {}, "missing: wind"),
        ((DISTANCE,), {"key": ("origin",)}, "missing: none"),
        ((DISTANCE,), {"time_to_live": timedelta(hours=1)}, "missing: none"),
    ],
)
def test_a_view_without_lookup_needs_expressions_and_nothing_to_look_up_by(features, changes, missing):
    with pytest.raises(DeclarationError, match=f"has no lookup, so every feature needs an expression .{missing}"):
        FeatureView("mixed", features, **changes)


@pytest.mark.parametrize(
    "changes",
    [{"key": ()}, {"time_to_live": None}, {"time_to_live": timedelta(0)}, {"time_to_live": timedelta(hours=-1)}],
)
def test_a_lookup_needs_a_key_and_a_positive_time_to_live(changes):
    with pytest.raises(DeclarationError, match=r"batch view 'weather' needs a key and a positive time_to_live"):
        a_lookup(**changes)


def test_only_a_view_with_a_lookup_looks_up():
    assert a_lookup().is_batch
    assert not FeatureView("plain", (DISTANCE,)).is_batch
