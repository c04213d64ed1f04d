"""A feature that cannot be made, or not of one row, is refused before real rows come, with what to change."""

from dataclasses import replace
from typing import Any

import narwhals as nw
import pytest

from examples.flights.catalog import CATALOG
from mlops_assets.errors import DeclarationError
from mlops_assets.features.build import build_features
from mlops_assets.features.validation import validate_features, validate_product
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, Feature, FeatureView, Tables
from mlops_assets.products.periods import days, hours
from mlops_assets.products.trailing import COUNT, trailing_view
from tests.unit.training.builders import BASKET, a_product, rides

DISTANCE, WAITED = nw.col("distance"), nw.col("waited")


def of_request(expression: nw.Expr, *steps: tuple[str, nw.Expr]) -> FeatureView:
    return FeatureView("extra", (Feature("made", expression),), intermediate=steps)


def reported_rides(tables: Tables) -> Any:
    return tables["rides"].with_columns(nw.col("told_at").alias(CREATED_TIME))


def of_sums(expression: nw.Expr, **changes: Any) -> FeatureView:
    usual = {"rows": reported_rides, "key": ("origin",), "window": hours(2), "sums": ("waited",)}
    lives = {"time_to_live": hours(6), "lookback": days(1)}
    return trailing_view("lately", (Feature("made", expression),), **{**usual, **lives, **changes})


def looked_up(lookup: Any, *names: str) -> FeatureView:
    features = tuple(Feature(name) for name in names or ("waited",))
    return FeatureView("last_wait", features, key=("origin",), lookup=lookup, time_to_live=days(1))


def with_clocks(tables: Tables) -> Any:
    return tables["rides"].with_columns(nw.col("asked_at").alias(EVENT_TIME), nw.col("told_at").alias(CREATED_TIME))


@pytest.mark.parametrize("product", CATALOG, ids=lambda product: product.name)
def test_the_products_of_the_catalog_are_sound(product):
    validate_features(product)


@pytest.mark.parametrize(
    ("view", "sentence"),
    [
        (
            of_request(nw.col("distnce") + 1),
            r"^taxi cannot compute 'made': unable to find column \"distnce\"; valid columns: .*\"distance\".*add the column to request",
        ),
        (
            of_request(nw.max_horizontal("distance", "waited")),
            r"cannot compute 'made': .*\"waited\".*add the column to request",
        ),
        (
            of_request(DISTANCE, ("far", nw.col("waited") > 5)),
            r"cannot compute 'far': .*\"waited\".*add the column to request",
        ),
        (
            of_request(nw.col("origin").dt.hour()),
            r"cannot compute 'made': `hour` operation not supported for dtype `str`",
        ),
        (
            of_sums(nw.when(nw.col(COUNT) > 1).then(DISTANCE)),
            r"'lately' cannot compute 'made': .*\"distance\"; valid columns: \[\"row_count\", \"waited\"\].*column in sums",
        ),
        (of_sums(WAITED, sums=("waited", "tip")), r"'lately': its lookup fails on the tables rides: .*\"tip\""),
        (
            looked_up(lambda tables: with_clocks(tables).rename({"waited": "minutes"})),
            r"'last_wait': its lookup returns a table without waited\. It has ride, origin, .*minutes",
        ),
        (
            looked_up(lambda tables: tables["rides"]),
            r"its lookup returns a table without event_time, created_time\..*both clocks and every feature",
        ),
        (
            looked_up(lambda tables: tables["cabs"]),
            r"its lookup fails on the tables rides: cabs\. Change lookup",
        ),
    ],
    ids=[
        *("a misspelt column", "a column that no request carries", "a step of one", "of a wrong type"),
        *("what is not summed", "a sum of nothing", "a missing feature", "missing clocks", "no such table"),
    ],
)
def test_a_view_that_does_not_fit_its_columns_is_refused_with_those_there_are(view, sentence):
    product = a_product(features=(BASKET, view))

    with pytest.raises(DeclarationError, match=sentence):
        validate_features(product)


@pytest.mark.parametrize(
    "made_of",
    [
        lambda column: nw.len(),
        lambda column: column - column.mean(),
        lambda column: column.shift(1),
        lambda column: nw.when(column >= column.max()).then(nw.lit(1.0)),
    ],
    ids=["number of rows", "mean", "row before", "in a condition"],
)
def test_a_feature_of_other_rows_is_refused_because_a_request_has_none(made_of):
    product, trailing = (
        a_product(features=(BASKET, v)) for v in (of_request(made_of(DISTANCE)), of_sums(made_of(WAITED)))
    )

    with pytest.raises(
        DeclarationError, match=r"^taxi computes 'made' from other rows as well.* Sum other rows in a trailing view"
    ):
        validate_features(product)
    with pytest.raises(
        DeclarationError, match=r"view 'lately' computes 'made' from other rows as well.* Add them to sums"
    ):
        validate_features(trailing)


def test_a_sum_over_rows_that_are_alike_is_one_of_other_rows():
    product = a_product(features=(BASKET, of_sums(WAITED.sum().over(COUNT))))

    with pytest.raises(DeclarationError, match="'made' from other rows as well"):
        validate_features(product)


def test_a_text_that_is_no_number_in_rows_that_are_made_up_is_no_fault():
    validate_features(a_product(features=(BASKET, of_request(nw.col("origin").cast(nw.Int64)))))


def test_no_feature_is_built_of_a_product_that_is_refused():
    product = a_product(features=(BASKET, of_request(nw.col("distnce"))))

    with pytest.raises(DeclarationError, match="distnce"):
        build_features(product, rides().lazy().select(product.request), {"rides": rides().lazy()})


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        (
            nw.col("wated") > 5,
            r"taxi: the label 'late' cannot be computed from rides: unable to find column \"wated\"; valid columns: .* "
            r"\(did you mean 'waited'\?\)\. Use only columns that the table declares",
        ),
        (
            nw.col("origin"),
            r"taxi: the label 'late' is String, and binary needs numbers\. Use a number, or a condition",
        ),
    ],
    ids=["a misspelt column", "a text"],
)
def test_a_label_that_cannot_be_made_is_refused_with_the_column_that_was_meant(label, sentence):
    product = a_product()

    with pytest.raises(DeclarationError, match=sentence):
        validate_product(replace(product, label=replace(product.label, expression=label)))


def test_a_lookup_of_a_misspelt_column_names_the_one_that_was_meant():
    product = a_product(features=(BASKET, looked_up(lambda tables: with_clocks(tables).with_columns(nw.col("wated")))))

    with pytest.raises(DeclarationError, match=r"its lookup fails .*\(did you mean 'waited'\?\)\. Change lookup"):
        validate_product(product)
