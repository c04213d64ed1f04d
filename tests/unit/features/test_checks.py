"""Guards over stored features: skew and leaks are found, and the feature is named."""

from datetime import timedelta
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
import pytest

from mlops_assets.features.build import build_features
from mlops_assets.features.checks import SAMPLE_ROWS, check_another_future, check_online_path
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, Feature, FeatureView, Tables
from mlops_assets.products.periods import days
from mlops_assets.products.product import ModelProduct
from tests.unit.training.builders import BASKET, a_product, a_ride, january, rides


def wait_of(clock: str) -> Any:
    def waits(tables: Tables) -> Any:
        return tables["rides"].with_columns(
            nw.col("asked_at").alias(EVENT_TIME), nw.col(clock).alias(CREATED_TIME), nw.col("waited").alias("last_wait")
        )

    return waits


def mean_of_all(tables: Tables) -> Any:
    """Knows the waits of the whole table, also of what comes later."""
    mean = tables["rides"].group_by("origin").agg(nw.col("waited").mean().alias("last_wait"))
    return (
        tables["rides"]
        .join(mean, on="origin")
        .with_columns(nw.col("asked_at").alias(EVENT_TIME), nw.col("asked_at").alias(CREATED_TIME))
    )


def a_view(lookup: Any) -> FeatureView:
    return FeatureView("last_wait", (Feature("last_wait"),), key=("origin",), lookup=lookup, time_to_live=days(1))


def a_week(count: int = 200) -> pl.DataFrame:
    draw = np.random.default_rng(5)
    return rides(
        *(
            a_ride(
                number,
                asked := january(1) + timedelta(minutes=30 * number),
                told_at=asked + timedelta(minutes=int(draw.integers(1, 600))),
                waited=float(draw.integers(1, 60)),
                origin=str(draw.choice(["EWR", "JFK"])),
            )
            for number in range(count)
        )
    )


def checked(check: Any, lookup: Any, change: Any = lambda stored: stored) -> Any:
    product: ModelProduct = a_product(features=(BASKET, a_view(lookup)))
    frame = a_week()
    rows, tables = frame.select(product.request), {"rides": frame.lazy()}
    stored = build_features(product, rows.lazy(), tables)
    return check(product, rows, tables, change(stored))


def test_the_online_path_gives_what_was_stored():
    result = checked(check_online_path, wait_of("told_at"))

    assert result.holds
    assert result.reason == f"the online path: every feature of {SAMPLE_ROWS} rows is equal"


def test_a_feature_that_is_another_one_online_is_named_and_no_other():
    result = checked(
        check_online_path, wait_of("told_at"), lambda stored: stored.with_columns(pl.col("distance") + 1e-6)
    )

    assert not result.holds
    assert [(item.feature, item.rows) for item in result.differences] == [("distance", SAMPLE_ROWS)]
    assert "distance differs in 12 rows, for example 2.000001 stored and 2.0 recomputed" in result.reason


def test_a_null_offline_is_not_a_value_online():
    result = checked(
        check_online_path, wait_of("told_at"), lambda stored: stored.with_columns(last_wait=pl.lit(None, pl.Float64))
    )

    assert [item.feature for item in result.differences] == ["last_wait"]


def test_a_feature_that_keeps_to_both_clocks_does_not_leak():
    assert checked(check_another_future, wait_of("told_at")).holds


@pytest.mark.parametrize("lookup", [wait_of("asked_at"), mean_of_all], ids=["before it was told", "mean of all"])
def test_a_feature_that_knows_the_future_is_named(lookup: Any):
    result = checked(check_another_future, lookup)

    assert [item.feature for item in result.differences] == ["last_wait"]
    assert result.reason.startswith("another future after 2020-01-03 02:00")


def test_a_period_with_one_row_can_be_checked():
    product = a_product(features=(BASKET, a_view(wait_of("told_at"))))
    frame = rides(a_ride(1, january(2)))
    rows, tables = frame.select(product.request), {"rides": frame.lazy()}
    stored = build_features(product, rows.lazy(), tables)

    assert check_online_path(product, rows, tables, stored).holds
    assert check_another_future(product, rows, tables, stored).holds
