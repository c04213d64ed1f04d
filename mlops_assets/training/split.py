"""Training set: features with the labels known by the cutoff, split by time."""

from datetime import datetime

import polars as pl

from mlops_assets.data.labels import KNOWN_AT, LABEL
from mlops_assets.drift.windows import keys_of
from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.products.product import ModelProduct

PERIOD, SPLIT = "period", "split"
FIT, EMBARGO, TEST = "fit", "embargo", "test"
MIN_FIT_ROWS, MIN_TEST_ROWS = 200, 50


def build_training_set(
    product: ModelProduct,
    features: pl.LazyFrame,
    labels: pl.LazyFrame,
    cutoff: datetime,
    test_start: datetime | None = None,
) -> pl.DataFrame:
    """Feature rows of the training window with their label and split.

    Only labels known at `cutoff` are used. Rows whose event lies at `test_start` or later (None: in the last `test_window`) are
    `test`. Earlier rows whose label became known after that are `embargo`, because a model fitted at `test_start` could not
    have used them. The other rows are `fit`.

    features: entity key, event timestamp, inputs. labels: entity key, label (null: it never arrived), known_at (UTC).
    Raises NothingToLearnFrom if either side has too few labelled rows."""
    if test_start is None:
        test_start = product.period.window_start(product.period.containing(cutoff).key, product.test_window)
    event = pl.col(product.event_timestamp)
    rows = (
        features.join(labels.select(*product.entity_key, LABEL, KNOWN_AT), on=list(product.entity_key), how="inner")
        .filter(pl.col(LABEL).is_not_null(), pl.col(KNOWN_AT) <= cutoff, event < cutoff)
        .with_columns(
            pl.when(event >= test_start)
            .then(pl.lit(TEST))
            .when(pl.col(KNOWN_AT) > test_start)
            .then(pl.lit(EMBARGO))
            .otherwise(pl.lit(FIT))
            .alias(SPLIT),
            period_of(product).alias(PERIOD),
        )
        .drop(KNOWN_AT)
        .sort(product.event_timestamp, *product.entity_key)
        .collect()
    )
    _require(product, rows, FIT, MIN_FIT_ROWS, cutoff)
    _require(product, rows, TEST, MIN_TEST_ROWS, cutoff)
    return rows


def period_of(product: ModelProduct) -> pl.Expr:
    """Key of the period that holds a row's event."""
    event = pl.col(product.event_timestamp)
    return event.map_batches(lambda moments: keys_of(product.period, moments), return_dtype=pl.String)


def _require(product: ModelProduct, rows: pl.DataFrame, split: str, at_least: int, cutoff: datetime) -> None:
    part = rows.filter(pl.col(SPLIT) == split)
    if part.height < at_least:
        raise NothingToLearnFrom(
            f"{product.name}: there are {part.height} labelled rows to {split} before {cutoff:%Y-%m-%d}, and {at_least} are needed. "
            "Materialise features and labels of the training window, or choose a later partition."
        )
    if product.task.value != "regression" and part[LABEL].n_unique() < 2:
        raise NothingToLearnFrom(
            f"{product.name}: all {part.height} rows to {split} before {cutoff:%Y-%m-%d} have the same label. "
            "Choose a partition whose window holds both outcomes."
        )
