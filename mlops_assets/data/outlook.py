"""Tells from the rows of the source whether drift readings and scores of a product would be conclusive, before it runs."""

from collections.abc import Sequence

import polars as pl

from mlops_assets.data.contract import conform
from mlops_assets.data.labels import LABEL, known_labels
from mlops_assets.drift.reading import measure_drift
from mlops_assets.drift.reference import build_reference
from mlops_assets.drift.windows import current_keys, periods_with_blocks, reference_window, unseen_from
from mlops_assets.errors import SourceError
from mlops_assets.features.build import build_features
from mlops_assets.products.periods import Period
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Table, tables_by_name
from mlops_assets.records.readings import DriftState

MOST_ROWS = 200_000  # more rows of a training window take long to read, and leave no feature blind


def read_training_window(product: ModelProduct, newest: Period, rows_in_newest: int) -> dict[str, pl.DataFrame]:
    """Every source table for the monitoring window that ends with `newest`, the training window before it, and their lookback.

    Empty if the main table would have more than 200,000 rows."""
    first = product.period.at(current_keys(product, newest.key)[0])
    window = [*product.period.window_before(first.key, product.training_window), first]
    if rows_in_newest * (len(window) + 1) > MOST_ROWS:
        return {}
    periods = product.period.with_lookback(window[0].key, product.lookback)
    while periods[-1] < newest:
        periods.append(product.period.shift(periods[-1], 1))
    return {name: _read_span(product, table, periods) for name, table in tables_by_name(product.source).items()}


def drift_outlook(product: ModelProduct, newest: Period, built: pl.DataFrame) -> str:
    """Why a drift reading of the newest window would be inconclusive, and what it needs; "" if it would be conclusive.

    built: features of the newest window and of the training window before it."""
    clock = pl.col(product.event_timestamp)
    first = product.period.at(current_keys(product, newest.key)[0])
    current = built.filter(clock >= first.start)
    fitted = built.filter(clock < unseen_from(product, first.key))
    if fitted.is_empty() or current.is_empty():
        return ""
    order = tuple(dict.fromkeys((product.event_timestamp, *product.entity_key)))
    window = reference_window(product, fitted)
    reference = build_reference(fitted, product.inputs, window, lookups=product.lookups, order=order)
    reading = measure_drift(reference, current, min_rows=product.drift.min_rows)
    if reading.state is DriftState.CONCLUSIVE:
        return ""
    return f"data drift of {newest.key} would be inconclusive: {reading.reason}"


def score_outlook(product: ModelProduct, newest: Period, rows: pl.DataFrame) -> str:
    """Why a score would be inconclusive, and what it needs; "" if it would be conclusive. rows: of the newest period."""
    policy, counted = product.drift, product.period.a_day
    labels = known_labels(product, rows.lazy(), newest.end + product.label.delay).drop_nulls(LABEL)
    if labels.is_empty():
        return ""
    rows_there, days_there = labels.height, labels[product.event_timestamp].dt.date().n_unique()
    most = policy.pooled_periods * counted
    for_rows, for_days = -(-policy.min_rows // rows_there), -(-policy.min_blocks // days_there)
    if for_rows > most:
        facts = f"{rows_there:,} labelled rows, the policy asks for min_rows={policy.min_rows:,}, which {for_rows} such periods hold"
        remedy = f"Declare DriftPolicy(pooled_periods={-(-for_rows // counted)}), longer periods, or a lower min_rows."
        return f"a score of {newest.key} would be inconclusive: {facts}. {remedy}"
    pooled = max(for_rows, policy.agreeing_periods * counted, periods_with_blocks(product))
    if for_days > pooled:
        facts = f"{_days(days_there)} with labels in a period, the policy asks for min_blocks={policy.min_blocks}, and {pooled} periods"
        remedy = f"Declare longer periods, or DriftPolicy(min_blocks={max(2, pooled * days_there)})."
        return f"a score of {newest.key} would be inconclusive: {facts} are pooled. {remedy}"
    return ""


def features_of_window(product: ModelProduct, tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    rows = tables[product.source.main.name].select(product.request).lazy()
    return build_features(product, rows, {name: table.lazy() for name, table in tables.items()})


def _read_span(product: ModelProduct, table: Table, periods: Sequence[Period]) -> pl.DataFrame:
    """The table in these adjacent periods; those that cannot be read are left out."""
    newest, clock = periods[-1], table.event_timestamp
    try:
        span = Period(periods[0].start, newest.end, newest.key_format)
        rows = conform(table, product.source.read(table.name, span))
        if rows.filter(pl.col(clock) >= newest.start).height:
            return rows
    except SourceError:
        pass
    # a file of one period is found by the key of its period, and a broken row fails only its own period
    parts: list[pl.DataFrame] = []
    for period in periods:
        try:
            parts.append(conform(table, product.source.read(table.name, period)))
        except SourceError:
            continue
    return pl.concat(parts)


def _days(count: int) -> str:
    return f"{count} day{'' if count == 1 else 's'}"
