"""Renders the Evidently reports of a period and stores them in the state, from where the API serves them."""

from mlops_assets.drift.windows import current_keys
from mlops_assets.monitoring.load import champion_at_end, fitted_rows, scored_with_labels
from mlops_assets.monitoring.reports import render_drift_report, render_performance_report
from mlops_assets.records.readings import DriftRecord, PerformanceRecord
from mlops_assets.state.workspace import ProductState


def render_drift(state: ProductState, key: str) -> str:
    """Render the data drift report of a period whose reading is stored; returns its address."""
    product = state.product
    champion = champion_at_end(state, key)
    current = state.tables.scan("features", current_keys(product, key))
    reading = state.records.load(DriftRecord, key).reading
    with state.reports.replacing(DriftRecord.asset, key) as path:
        render_drift_report(fitted_rows(state, champion), current, product, reading, str(path))
    return state.reports.address(DriftRecord.asset, key)


def render_performance(state: ProductState, key: str) -> str:
    """Render the performance report of a period whose labels arrived; returns its address."""
    champion = champion_at_end(state, key)
    scored = scored_with_labels(state, key, state.bundles.manifest(champion.version))
    reading = state.records.load(PerformanceRecord, key).reading
    with state.reports.replacing(PerformanceRecord.asset, key) as path:
        render_performance_report(scored, None, state.product, reading, str(path))
    return state.reports.address(PerformanceRecord.asset, key)
