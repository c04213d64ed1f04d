"""Renders the Evidently reports of a period into the home, where the API serves them."""

from pathlib import Path

import polars as pl

from mlops_assets.data.windows import current_keys
from mlops_assets.monitoring.load import scored_with_labels, serving_at_end
from mlops_assets.monitoring.reports import render_drift_report, render_performance_report
from mlops_assets.monitoring.run import DATA_DRIFT, PERFORMANCE, DriftRecord, PerformanceRecord
from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.home import Home
from mlops_assets.stores.model_bundle import read_manifest
from mlops_assets.training.split import FIT, SPLIT


def render_drift(product: ModelProduct, home: Home, key: str) -> Path:
    """The data drift report of a period whose reading is stored."""
    champion = serving_at_end(product, home, key)
    reference = home.offline.scan(f"{product.name}/training_set", [champion.partition]).filter(pl.col(SPLIT) == FIT)
    current = home.offline.scan(f"{product.name}/features", current_keys(product, key))
    reading = home.documents.load(product.name, DATA_DRIFT, key, DriftRecord).reading
    path = report_path(home, product.name, DATA_DRIFT, key)
    render_drift_report(reference, current, product, reading, str(path))
    return path


def render_performance(product: ModelProduct, home: Home, key: str) -> Path:
    """The classification or regression report of a period whose labels arrived."""
    champion = serving_at_end(product, home, key)
    scored = scored_with_labels(product, home, key, read_manifest(Path(champion.bundle)))
    reading = home.documents.load(product.name, PERFORMANCE, key, PerformanceRecord).reading
    path = report_path(home, product.name, PERFORMANCE, key)
    render_performance_report(scored, None, product, reading, str(path))
    return path


def report_path(home: Home, product: str, asset: str, key: str) -> Path:
    path = home.reports / product / asset / f"{key}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
