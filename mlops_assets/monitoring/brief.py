"""Loads what the rework brief of a period needs, and writes it."""

from collections.abc import Mapping

import polars as pl

from mlops_assets.data.labels import LABEL
from mlops_assets.monitoring.load import champion_at_end, own_test_report, scored_with_labels
from mlops_assets.monitoring.rework import write_brief
from mlops_assets.monitoring.run import decisions_before, score_or_none
from mlops_assets.records.decisions import DriftDecision, ReworkBrief, SliceFall
from mlops_assets.records.readings import DriftRecord, PerformanceRecord, StalenessRecord
from mlops_assets.state.workspace import ProductState

MIN_SLICE_ROWS = 200  # labelled rows; the score of a smaller slice is mostly noise


def brief_of(state: ProductState, key: str, links: Mapping[str, str]) -> ReworkBrief:
    """The rework brief of a period whose readings and decision are stored. links: addresses by name."""
    product = state.product
    serving = state.bundles.manifest(champion_at_end(state, key).version).estimator
    present = [candidate.name for candidate in product.candidates if candidate.estimator == serving]
    others = [candidate.name for candidate in product.candidates if candidate.estimator != serving]
    return write_brief(
        product.name,
        state.records.load(DriftDecision, key),
        decisions_before(state, key),
        state.records.load(DriftRecord, key).reading,
        state.records.load(PerformanceRecord, key).reading,
        state.clock.now(),
        staleness=state.records.load(StalenessRecord, key).reading,
        slices=_slices_that_fell(state, key),
        candidates=[present[0] if present else serving, *others],
        links=links,
    )


def _slices_that_fell(state: ProductState, key: str) -> list[SliceFall]:
    """Slices of the champion's test report on which it now scores worse; none if it has no test report of its own."""
    product = state.product
    champion = champion_at_end(state, key)
    report = own_test_report(state, champion)
    if report is None:
        return []
    manifest, metric = state.bundles.manifest(champion.version), product.primary_metric
    features = state.tables.read("features", [key])
    rows = scored_with_labels(state, key, manifest).drop_nulls(LABEL)
    rows = rows.join(features.drop("day", strict=False), on=list(product.entity_key), how="inner")
    falls = []
    for item in report.slices:
        if item.metric != product.metric or not item.value or item.feature not in rows.columns:
            continue
        part = rows.filter(pl.col(item.feature).cast(pl.String) == item.category)
        now = score_or_none(product, part) if part.height >= MIN_SLICE_ROWS else None
        if now is not None and (lost := -100 * metric.gain(now, item.value) / abs(item.value)) > 0:
            falls.append(SliceFall(item.feature, item.category, part.height, item.value, now, lost))
    return falls
