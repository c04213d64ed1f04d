"""Test report: a challenger on unseen, later rows, beside the champion on the same rows."""

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.data.labels import LABEL
from mlops_assets.products.gates import NotWorseThanChampion
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import OPERATING_THRESHOLD, Task, metrics_of
from mlops_assets.stores.model_bundle import Bundle
from mlops_assets.testing.leakage import Leakage, probe_leakage
from mlops_assets.testing.parity import Parity
from mlops_assets.testing.slices import Slice, WorstSlice, declared_slices, worst_slices
from mlops_assets.training.fit import label_codes
from mlops_assets.training.metrics import Array, day_blocks, paired_gain, score, score_with_interval

IMPORTANCE_ROWS = 2_000
CALIBRATION_BINS = 10


class Scored(msgspec.Struct, frozen=True):
    metric: str
    value: float
    low: float
    high: float


class CalibrationBin(msgspec.Struct, frozen=True):
    predicted: float
    observed: float
    rows: int


class Comparison(msgspec.Struct, frozen=True):
    """Gain over the champion on the same rows, paired; positive is better, in the metric's unit."""

    champion_version: int
    metric: str
    gain: float
    low: float
    high: float
    confidence: float


class Confusion(msgspec.Struct, frozen=True):
    """Rows by true class (outer) and answered class (inner), in the order of `classes`. threshold: probability from which
    on the answer is the second class; None for more than two classes, where the most probable one is answered."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    threshold: float | None


class TestReport(msgspec.Struct, frozen=True):
    """What is known of a version before it may serve. `importance`: metric lost when the input is shuffled.

    calibration_error: mean distance of predicted and observed share over the bins, weighted by rows (binary).
    slices_examined: how many slices the search for the worst looked at. onnx_difference: the largest of `parity_rows`,
    the test window and edge rows; flipped_labels: of the same rows. Reports of before these were measured lack them.
    """

    product: str
    version: int
    partition: str
    rows: int
    scores: tuple[Scored, ...]
    slices: tuple[Slice, ...]
    calibration: tuple[CalibrationBin, ...]
    importance: dict[str, float]
    onnx_difference: float
    comparisons: tuple[Comparison, ...]
    calibration_error: Scored | None = None
    confusion: Confusion | None = None
    worst_slices: tuple[WorstSlice, ...] = ()
    slices_examined: int = 0
    leakage: Leakage | None = None
    bundle_bytes: int | None = None
    parity_rows: int = 0
    flipped_labels: int = 0

    def against_champion(self, metric: str) -> Comparison | None:
        """None while there is no champion to be compared with."""
        return next((item for item in self.comparisons if item.metric == metric), None)

    def value_of(self, metric: str) -> float:
        return next(item.value for item in self.scores if item.metric == metric)


def test_model(
    product: ModelProduct,
    bundle: Bundle,
    parity: Parity,
    champion: Bundle | None,
    rows: pl.DataFrame,
    fit_rows: pl.DataFrame | None,
) -> TestReport:
    """Measure a challenger. rows: the test split; parity: of the bundle with its estimator; fit_rows: what it was fitted
    on, without which leakage is not probed."""
    task, metric = product.task, product.metric
    labels = label_codes(task, rows[LABEL], bundle.manifest.classes)
    days = rows[product.event_timestamp].dt.date()
    scores = bundle.predict(rows).astype(np.float64)
    intervals = [score_with_interval(name, task, labels, scores, days) for name in metrics_of(task)]
    overall = next(item.value for item in intervals if item.metric == metric)
    comparisons = []
    if champion is not None:
        old = champion.predict(rows).astype(np.float64)
        for name, confidence in _compared(product).items():
            gain = paired_gain(name, task, labels, scores, old, days, confidence=confidence)
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
        bundle_bytes=sum(path.stat().st_size for path in bundle.folder.iterdir()),
        parity_rows=parity.rows,
        flipped_labels=parity.flipped,
    )


def _compared(product: ModelProduct) -> dict[str, float]:
    """Metrics compared with the champion, each with the two-sided level whose lower end is the bound its gate asks for."""
    asked = {product.metric: 0.9}
    for gate in product.gates:
        if isinstance(gate, NotWorseThanChampion):
            asked[gate.metric] = 2 * gate.confidence - 1
    return asked


def _calibration(labels: Array, scores: Array) -> list[CalibrationBin]:
    order = np.array_split(np.argsort(scores, kind="stable"), CALIBRATION_BINS)
    return [
        CalibrationBin(float(scores[part].mean()), float(labels[part].mean()), len(part)) for part in order if len(part)
    ]


def _calibration_error(labels: Array, scores: Array, days: pl.Series) -> Scored:
    """Expected calibration error in ten bins of equal rows (Naeini et al. 2015), with its interval over days.

    It is never negative, so chance alone gives some: the interval of a perfect model does not hold 0."""

    def error(rows: NDArray[np.int64]) -> float:
        bins = _calibration(labels[rows], scores[rows])
        return sum(abs(item.predicted - item.observed) * item.rows for item in bins) / len(rows)

    resampled = [error(rows) for rows in day_blocks(days, seed=7)]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Scored("calibration_error", error(np.arange(len(labels))), float(low), float(high))


def _confusion(task: Task, classes: tuple[str, ...], labels: Array, scores: Array) -> Confusion:
    """A class that was never seen in training is in no row of it: the model could not answer it."""
    answered = (scores >= OPERATING_THRESHOLD).astype(int) if task is Task.BINARY else scores.argmax(axis=1)
    known = ~np.isnan(labels)
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (labels[known].astype(int), answered[known]), 1)
    return Confusion(
        classes, tuple(tuple(row) for row in counts.tolist()), OPERATING_THRESHOLD if task is Task.BINARY else None
    )


def _importance(product: ModelProduct, bundle: Bundle, rows: pl.DataFrame, labels: Array) -> dict[str, float]:
    """Permutation importance on at most 2,000 rows (Breiman 2001, Random Forests, section 10)."""
    draw = np.random.default_rng(product.seed)
    chosen = np.sort(draw.permutation(rows.height)[:IMPORTANCE_ROWS])
    matrix = bundle.encode(rows[chosen])
    if product.task is not Task.REGRESSION and len(np.unique(labels[chosen])) < 2:
        return {}
    gain = product.primary_metric.gain
    whole = score(product.metric, product.task, labels[chosen], bundle.score(matrix).astype(np.float64))
    importance = {}
    for column, name in enumerate(bundle.input_names):
        shuffled = matrix.copy()
        shuffled[:, column] = draw.permutation(shuffled[:, column])
        broken = score(product.metric, product.task, labels[chosen], bundle.score(shuffled).astype(np.float64))
        importance[name] = gain(whole, broken)
    return dict(sorted(importance.items(), key=lambda item: -item[1]))
