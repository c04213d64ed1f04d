"""Trains a version: fit the recipe, convert it, profile its training window, seal the bundle."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
import polars as pl

from mlops_assets.data.labels import LABEL
from mlops_assets.data.profile import build_reference
from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.products.candidates import Candidate
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import metrics_of
from mlops_assets.stores.model_bundle import ESTIMATOR, MODEL, REFERENCE
from mlops_assets.training.conversion import to_onnx
from mlops_assets.training.fit import Fitted, fit, label_codes
from mlops_assets.training.metrics import score
from mlops_assets.training.split import FIT, PERIOD, SPLIT, TEST


@dataclass(frozen=True)
class Trained:
    """A fitted candidate as the files of its bundle.

    metrics: on the test split. spread_percent: week-to-week standard deviation of the primary metric, in percent of
    its mean."""

    fitted: Fitted
    files: dict[str, bytes]
    rows: int
    metrics: dict[str, float]
    spread_percent: float


def train(
    product: ModelProduct,
    candidate: Candidate,
    training_set: pl.DataFrame,
    told: Callable[[str], None] = lambda _: None,
) -> Trained:
    """Raises NotConvertible: the estimator has no ONNX form."""
    import skops.io

    rows = training_set.filter(pl.col(SPLIT) == FIT)
    told(f"fitting {candidate.name} on {rows.height:,} rows")
    fitted = fit(product, candidate, rows)
    told(f"fitted in {fitted.seconds:.1f} s; converting to ONNX")
    files = {
        MODEL: to_onnx(fitted.estimator, product.task, len(fitted.inputs)),
        REFERENCE: msgspec.json.encode(build_reference(rows, product.inputs, rows[PERIOD]), order="deterministic"),
        ESTIMATOR: skops.io.dumps(fitted.estimator),
    }
    test = training_set.filter(pl.col(SPLIT) == TEST)
    labels, scores = label_codes(product.task, test[LABEL], fitted.classes), fitted.scores(test)
    metrics = {name: score(name, product.task, labels, scores) for name in metrics_of(product.task)}
    told("measuring how much the score varies from week to week")
    return Trained(fitted, files, rows.height, metrics, natural_spread_percent(product, candidate, rows))


def natural_spread_percent(product: ModelProduct, candidate: Candidate, rows: pl.DataFrame) -> float:
    """Fit on the first half of the periods and score each later one: how much the metric varies by itself.

    Standard deviation over those periods in percent of their mean; 0 with fewer than three of them."""
    periods = rows[PERIOD].unique().sort().to_list()
    later = periods[len(periods) // 2 :]
    fitted = fit(product, candidate, rows.filter(pl.col(PERIOD) < later[0]))
    found = []
    for period in later:
        part = rows.filter(pl.col(PERIOD) == period)
        try:
            labels = label_codes(product.task, part[LABEL], fitted.classes)
            found.append(score(product.metric, product.task, labels, fitted.scores(part)))
        except NothingToLearnFrom:
            continue  # a period with one class only says nothing about the spread
    return float(100 * np.std(found, ddof=1) / abs(np.mean(found))) if len(found) >= 3 else 0.0
