"""Tries a product on one period of its real source, without storing anything: contract, features, label, online path."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

import polars as pl

from mlops_assets.data.arrived import whole_periods
from mlops_assets.data.contract import check_contract, conform
from mlops_assets.data.gaps import how_to_allow
from mlops_assets.data.labels import LABEL, known_labels
from mlops_assets.data.outlook import drift_outlook, features_of_window, read_training_window, score_outlook
from mlops_assets.errors import ContractBroken, DataError, NotArrived
from mlops_assets.features.build import build_features, require_finite
from mlops_assets.features.categories import many_categories
from mlops_assets.features.checks import check_online_path
from mlops_assets.features.validation import validate_product
from mlops_assets.products.periods import Period
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import tables_by_name
from mlops_assets.products.task import Task


@dataclass(frozen=True)
class Finding:
    """The result of one step of the check. is_well: False means a warning. seconds: how long the step took."""

    what: str
    seen: str
    seconds: float
    is_well: bool = True


def check_product(product: ModelProduct, now: datetime, key: str = "") -> Iterator[Finding]:
    """Check the product step by step. key: the period to check; "" means the newest one that has arrived.

    Raises PlatformError: a step failed; the steps after it are not run."""
    started = perf_counter()

    def finding(what: str, seen: str, *, is_well: bool = True) -> Finding:
        nonlocal started
        before, started = started, perf_counter()
        return Finding(what, seen, started - before, is_well)

    validate_product(product)
    yield finding(
        "declaration", f"the label and {len(product.inputs)} features fit the columns that the source declares"
    )
    arrived, incomplete = whole_periods(product, now)
    period = product.period.at(key) if key else arrived[-1]
    if period not in arrived:
        if incomplete and period == product.period.shift(arrived[-1], 1):
            raise NotArrived(incomplete)
        raise NotArrived(f"{key} has not arrived. The source holds {arrived[0].key} to {arrived[-1].key}.")
    yield finding(
        "source",
        f"{len(arrived)} periods have arrived, {arrived[0].key} to {arrived[-1].key}; the first champion learns from "
        f"{product.training_periods}",
    )
    if incomplete:
        yield finding("source", incomplete, is_well=False)
    tables = _tables_with_lookback(product, period)
    yield finding("contract", _keeps_contract(product, period, tables))
    main = tables[product.source.main.name]
    clock = product.event_timestamp
    of_period = main.filter(pl.col(clock) >= period.start, pl.col(clock) < period.end)
    lazy = {name: table.lazy() for name, table in tables.items()}
    rows = of_period.select(product.request)
    built = require_finite(product, build_features(product, rows.lazy(), lazy))
    yield finding("features", _of_features(product, built))
    window = read_training_window(product, period, of_period.height)
    labelled, place = (
        (window[product.source.main.name], "the newest training window") if window else (of_period, period.key)
    )
    yield finding("label", _of_label(product, labelled, place))
    _refuse_copies(product, of_period, built)
    online = check_online_path(product, rows, lazy, built)
    if not online.holds:
        raise DataError(f"{product.name}: {online.reason}. The API would answer otherwise than what is learned from.")
    yield finding("request", f"{online.rows} rows through the API's own code have the features that are stored")
    if window:
        built = features_of_window(product, window)
        if drift := drift_outlook(product, period, built):
            yield finding("outlook", drift, is_well=False)
    for sentence in filter(None, (score_outlook(product, period, of_period), many_categories(product, built))):
        yield finding("outlook", sentence, is_well=False)


def _tables_with_lookback(product: ModelProduct, period: Period) -> dict[str, pl.DataFrame]:
    """Every source table for the period and for the earlier periods that its features look back to."""
    count = product.period.covering(product.lookback) + 1
    periods = product.period.up_to(period.key, count)
    return {
        name: pl.concat([conform(table, product.source.read(name, each)) for each in periods])
        for name, table in tables_by_name(product.source).items()
    }


def _keeps_contract(product: ModelProduct, period: Period, tables: dict[str, pl.DataFrame]) -> str:
    results = []
    for name, table in tables_by_name(product.source).items():
        clock = pl.col(table.event_timestamp)
        frame = tables[name].filter(clock >= period.start, clock < period.end)
        referenced = {foreign_key.table: tables[foreign_key.table] for foreign_key in table.foreign_keys}
        result = check_contract(table, period, frame, (), referenced)
        if table is product.source.main and not result.rows and product.gaps == "allow":
            raise NotArrived(
                f"the source has no row of {period.key}, which gaps='allow' lets it be stored without: there is nothing to try. Name "
                "another period with --period."
            )
        if not result.kept:
            remedy = f" {how_to_allow(product, period)}" if table is product.source.main and not result.rows else ""
            raise ContractBroken(f"{period.key} breaks its contract: {result.reason}.{remedy}")
        results.append(result.reason)
    return f"{period.key}: {'; '.join(results)}"


def _of_features(product: ModelProduct, built: pl.DataFrame) -> str:
    empty = [name for name in product.feature_names if built.height and built[name].null_count() == built.height]
    constant = [name for name in product.feature_names if name not in empty and built[name].n_unique() == 1]
    summary = f"{built.height:,} rows with {len(product.inputs)} features"
    if empty:
        summary += f"; null in every row: {', '.join(empty)}"
    if constant:
        summary += f"; one value in every row: {', '.join(constant)}"
    return summary


def _of_label(product: ModelProduct, rows: pl.DataFrame, place: str) -> str:
    """How many rows have a label, and which values it has. place: in words, where the rows come from."""
    labels = _labels(product, rows)[LABEL].drop_nulls()
    if labels.is_empty():
        raise DataError(
            f"{product.name}: no row has a label: {product.label.name} is null in all {rows.height:,}. Compare its expression "
            "with the columns of the source."
        )
    summary = f"{product.label.name} is known of {labels.len():,} of {rows.height:,} rows of {place}"
    if product.task is Task.REGRESSION:
        ordered = labels.sort().to_list()
        return f"{summary}, from {ordered[0]:,.4g} to {ordered[-1]:,.4g}"
    counts = labels.value_counts(sort=True, name="rows")
    if counts.height == 1:
        raise DataError(
            f"{product.name}: {product.label.name} is {counts[LABEL][0]} in every row, so there is nothing to tell apart."
        )
    names = {0.0: "false", 1.0: "true"} if product.task is Task.BINARY else {}
    shares = ", ".join(
        f"{names.get(value, value)}: {100 * count / labels.len():.1f} %" for value, count in counts.head(8).iter_rows()
    )
    return f"{summary}; {shares}"


def _refuse_copies(product: ModelProduct, rows: pl.DataFrame, built: pl.DataFrame) -> None:
    """Raises DataError: a feature is the label itself, under another name."""
    identity = list(dict.fromkeys((*product.entity_key, product.event_timestamp)))
    labelled = built.join(_labels(product, rows).drop_nulls(LABEL), on=identity, how="inner")
    label = labelled[LABEL]
    for item in product.inputs:
        value = labelled[item.name]
        if (value.dtype == pl.String) == (label.dtype == pl.String) and labelled.height and (value == label).all():
            raise DataError(
                f"{product.name}: the feature {item.name} is the label {product.label.name} in each of {labelled.height:,} rows: the "
                "model would copy it. Leave it out of the features."
            )


def _labels(product: ModelProduct, rows: pl.DataFrame) -> pl.DataFrame:
    return known_labels(product, rows.lazy(), datetime.max.replace(tzinfo=UTC))
