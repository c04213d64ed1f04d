"""Leakage probe: inputs that predict the label by themselves, and rows that are on both sides of the split."""

import numpy as np
import polars as pl

from mlops_assets.data.labels import LABEL
from mlops_assets.products.feature_view import Feature, FeatureKind
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from mlops_assets.records.testing import Leakage
from mlops_assets.training.fit import label_codes
from mlops_assets.training.metrics import Array, score

BINS = 20  # quantiles of a numeric input
PRIOR_ROWS = 20.0  # weight of the overall mean in each bin, for bins with few rows


def probe_leakage(
    product: ModelProduct, fit_rows: pl.DataFrame, test_rows: pl.DataFrame, classes: tuple[str, ...]
) -> Leakage:
    """Predict the test rows from each input by itself, with the mean label of its bin or category in the fitted rows.

    Skill is 2 ROC AUC - 1 for classes (the mean over classes, one against the rest), R2 for numbers, at least 0."""
    fitted, tested = (label_codes(product.task, rows[LABEL], classes) for rows in (fit_rows, test_rows))
    skills = {}
    for feature in product.inputs:
        codes = _bins(feature, fit_rows[feature.name], test_rows[feature.name])
        skills[feature.name] = _skill(product.task, *codes, fitted, tested)
    keys = list(product.entity_key)
    shared = test_rows.select(keys).join(fit_rows.select(keys).unique(), on=keys, how="semi").height
    return Leakage(dict(sorted(skills.items(), key=lambda item: (-item[1], item[0]))), shared)


def _bins(feature: Feature, fitted: pl.Series, tested: pl.Series) -> tuple[Array, Array]:
    """The bin of every fitted and every tested row; null and unknown categories have bins of their own."""
    if feature.kind is FeatureKind.CATEGORICAL:
        codes = {name: float(code) for code, name in enumerate(fitted.drop_nulls().unique().sort().to_list(), 1)}
        first, second = (
            side.cast(pl.String).replace_strict(codes, default=0.0, return_dtype=pl.Float64).fill_null(0.0).to_numpy()
            if codes
            else np.zeros(len(side))
            for side in (fitted, tested)
        )
        return first, second
    numbers = [side.cast(pl.Float64).to_numpy() for side in (fitted, tested)]
    finite = numbers[0][np.isfinite(numbers[0])]
    edges = np.unique(np.quantile(finite, np.arange(1, BINS) / BINS)) if len(finite) else np.empty(0)
    binned = [np.where(np.isnan(side), -1.0, np.searchsorted(edges, side, side="left")) for side in numbers]
    return binned[0], binned[1]


def _skill(task: Task, fit_bins: Array, test_bins: Array, fitted: Array, tested: Array) -> float:
    if task is not Task.MULTICLASS:
        return _skill_of(task, fit_bins, test_bins, fitted, tested)
    present = [code for code in np.unique(tested) if not np.isnan(code)]
    each = [
        _skill_of(
            Task.BINARY, fit_bins, test_bins, (fitted == code).astype(np.float64), (tested == code).astype(np.float64)
        )
        for code in present
    ]
    return float(np.mean(each)) if each else 0.0


def _skill_of(task: Task, fit_bins: Array, test_bins: Array, fitted: Array, tested: Array) -> float:
    """Skill of the bins' mean label; 0 if all test rows have the same outcome, where no skill can be measured."""
    if len(np.unique(tested)) < 2:
        return 0.0
    names, codes = np.unique(fit_bins, return_inverse=True)
    rows = np.bincount(codes)
    means = (np.bincount(codes, weights=fitted) + PRIOR_ROWS * fitted.mean()) / (rows + PRIOR_ROWS)
    at = np.clip(np.searchsorted(names, test_bins), 0, len(names) - 1)
    predicted = np.where(names[at] == test_bins, means[at], fitted.mean())
    if task is Task.BINARY:
        return max(0.0, 2 * score("roc_auc", task, tested, predicted) - 1)
    return max(0.0, score("r2", task, tested, predicted))
