"""Test report: a challenger on unseen, later rows, beside the champion on the same rows."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.data.labels import LABEL
from mlops_assets.products.gates import NotWorseThanChampion
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import OPERATING_THRESHOLD, Task, metrics_of
from mlops_assets.records.testing import (
    CalibrationBin,
    Comparison,
    Confusion,
    Scored,
    TestReport,
)
from mlops_assets.state.bundle import Bundle
from mlops_assets.testing.leakage import probe_leakage
from mlops_assets.testing.parity import Parity
from mlops_assets.testing.slices import declared_slices, worst_slices
from mlops_assets.training.bootstrap import SEED, day_codes, draw_days, paired_gain, score_with_interval
from mlops_assets.training.fit import label_codes
from mlops_assets.training.metrics import Array, score

IMPORTANCE_ROWS = 2_000
CALIBRATION_BINS = 10


def test_model(
    product: ModelProduct,
    bundle: Bundle,
    parity: Parity,
    champion: Bundle | None,
    rows: pl.DataFrame,
    fit_rows: pl.DataFrame | None,
) -> TestReport:
    """Measure a challenger. rows: the test split. parity: of the bundle with its estimator. fit_rows: the rows it was fitted
    on; None: leakage is not probed."""
    task, metric = product.task, product.metric
    labels = label_codes(task, rows[LABEL], bundle.manifest.classes)
    days = rows[product.event_timestamp].dt.date()
    scores = bundle.predict(rows).astype(np.float64)
    intervals = [score_with_interval(name, task, labels, scores, days) for name in metrics_of(task)]
    overall = next(item.value for item in intervals if item.metric == metric)
    comparisons = []
    few_days = bool(bundle.manifest.shift_since)  # the test split is half of the time since a shift
    if champion is not None:
        old = champion.predict(rows).astype(np.float64)
        for name, confidence in _confidence_by_metric(product).items():
            gain = paired_gain(name, task, labels, scores, old, days, confidence=confidence, few_days=few_days)
            comparisons.append(Comparison(champion.manifest.version, name, gain.value, gain.low, gain.high, confidence))
    importance = _importance(product, bundle, rows, labels)
    worst, examined = worst_slices(product, rows, labels, scores, days, list(importance))
    return TestReport(
        product.name,
        bundle.manifest.version,
        bundle.manifest.partition,
        rows.height,
        tuple(Scored(item.metric, item.value, item.low, item.high) for item in intervals),
        tuple(declared_slices(product, rows, labels, scores, overall)),
        tuple(_calibration(labels, scores)) if task is Task.BINARY else (),
        importance,
        parity.difference,
        tuple(comparisons),
        calibration_error=_calibration_error(labels, scores, days) if task is Task.BINARY else None,
        confusion=None if task is Task.REGRESSION else _confusion(task, bundle.manifest.classes, labels, scores),
        worst_slices=worst,
        slices_examined=examined,
        leakage=None if fit_rows is None else probe_leakage(product, fit_rows, rows, bundle.manifest.classes),
        bundle_bytes=bundle.size,
        parity_rows=parity.rows,
        flipped_labels=parity.flipped,
    )


def _confidence_by_metric(product: ModelProduct) -> dict[str, float]:
    """Metrics compared with the champion, each with the two-sided confidence whose lower end is the bound of its gate."""
    confidences = {product.metric: 0.9}
    for gate in product.gates:
        if isinstance(gate, NotWorseThanChampion):
            confidences[gate.metric] = 2 * gate.confidence - 1
    return confidences


def _calibration(labels: Array, scores: Array) -> list[CalibrationBin]:
    order = np.array_split(np.argsort(scores, kind="stable"), CALIBRATION_BINS)
    return [
        CalibrationBin(float(scores[part].mean()), float(labels[part].mean()), len(part)) for part in order if len(part)
    ]


def _calibration_error(labels: Array, scores: Array, days: pl.Series) -> Scored:
    """Expected calibration error in ten bins of equal rows (Naeini et al. 2015), with its interval over days.

    It is never negative, so noise alone makes it positive: the interval of a perfect model does not contain 0."""

    def error(rows: NDArray[np.int64]) -> float:
        bins = _calibration(labels[rows], scores[rows])
        return sum(abs(item.predicted - item.observed) * item.rows for item in bins) / len(rows)

    numbers, codes = np.arange(len(labels)), day_codes(days)
    samples = draw_days([int(codes.max()) + 1], SEED)
    resampled = [error(np.repeat(numbers, counts[codes].astype(int))) for (counts,) in samples]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Scored("calibration_error", error(numbers), float(low), float(high))


def _confusion(task: Task, classes: tuple[str, ...], labels: Array, scores: Array) -> Confusion:
    """Leaves out rows of classes that were not in the training rows, as the model cannot predict them."""
    predicted = (scores >= OPERATING_THRESHOLD).astype(int) if task is Task.BINARY else scores.argmax(axis=1)
    is_known = ~np.isnan(labels)
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (labels[is_known].astype(int), predicted[is_known]), 1)
    return Confusion(
        classes, tuple(tuple(row) for row in counts.tolist()), OPERATING_THRESHOLD if task is Task.BINARY else None
    )


def _importance(product: ModelProduct, bundle: Bundle, rows: pl.DataFrame, labels: Array) -> dict[str, float]:
    """Permutation importance on at most 2,000 rows (Breiman 2001, Random Forests, section 10)."""
    random = np.random.default_rng(product.seed)
    chosen = np.sort(random.permutation(rows.height)[:IMPORTANCE_ROWS])
    matrix = bundle.encode(rows[chosen])
    if product.task is not Task.REGRESSION and len(np.unique(labels[chosen])) < 2:
        return {}
    gain = product.primary_metric.gain
    whole = score(product.metric, product.task, labels[chosen], bundle.score(matrix).astype(np.float64))
    importance = {}
    for column, name in enumerate(bundle.input_names):
        shuffled = matrix.copy()
        shuffled[:, column] = random.permutation(shuffled[:, column])
        without_input = score(product.metric, product.task, labels[chosen], bundle.score(shuffled).astype(np.float64))
        importance[name] = gain(whole, without_input)
    return dict(sorted(importance.items(), key=lambda item: -item[1]))
