"""Test report: a challenger on unseen, later rows, beside the champion on the same rows."""

import msgspec
import numpy as np
import polars as pl

from mlops_assets.data.labels import LABEL
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.gates import NotWorseThanChampion, SliceGap
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import METRICS, Task, metrics_of
from mlops_assets.stores.model_bundle import Bundle
from mlops_assets.testing.parity import Parity
from mlops_assets.training.fit import label_codes
from mlops_assets.training.metrics import Array, paired_gain, score, score_with_interval

IMPORTANCE_ROWS = 2_000
CALIBRATION_BINS = 10


class Scored(msgspec.Struct, frozen=True):
    metric: str
    value: float
    low: float
    high: float


class Slice(msgspec.Struct, frozen=True):
    """A category of a feature and the metric on it; None where the slice cannot be scored (one class only)."""

    feature: str
    category: str
    rows: int
    metric: str
    value: float | None
    gap: float | None


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


class TestReport(msgspec.Struct, frozen=True):
    """What is known of a version before it may serve. `importance`: metric lost when the input is shuffled.

    onnx_difference: the largest of `parity_rows`, the test window and edge rows. flipped_labels: of the same rows."""

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
    parity_rows: int = 0
    flipped_labels: int = 0

    def against_champion(self, metric: str) -> Comparison | None:
        """None while there is no champion to be compared with."""
        return next((item for item in self.comparisons if item.metric == metric), None)

    def value_of(self, metric: str) -> float:
        return next(item.value for item in self.scores if item.metric == metric)


def test_model(
    product: ModelProduct, bundle: Bundle, parity: Parity, champion: Bundle | None, rows: pl.DataFrame
) -> TestReport:
    """Measure a challenger. rows: the test split; parity: of the bundle with its estimator."""
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
    return TestReport(
        product.name,
        bundle.manifest.version,
        bundle.manifest.partition,
        rows.height,
        tuple(Scored(item.metric, item.value, item.low, item.high) for item in intervals),
        tuple(_slices(product, rows, labels, scores, overall)),
        tuple(_calibration(labels, scores)) if task is Task.BINARY else (),
        _importance(product, bundle, rows, labels),
        parity.difference,
        tuple(comparisons),
        parity.rows,
        parity.flipped,
    )


def _compared(product: ModelProduct) -> dict[str, float]:
    """Metrics compared with the champion, each with the two-sided level whose lower end is the bound its gate asks for."""
    asked = {product.metric: 0.9}
    for gate in product.gates:
        if isinstance(gate, NotWorseThanChampion):
            asked[gate.metric] = 2 * gate.confidence - 1
    return asked


def _slices(product: ModelProduct, rows: pl.DataFrame, labels: Array, scores: Array, overall: float) -> list[Slice]:
    gates = [gate for gate in product.gates if isinstance(gate, SliceGap)]
    declared = [(gate.feature, gate.metric) for gate in gates]
    declared += [
        (feature.name, product.metric)
        for feature in product.inputs
        if feature.kind is FeatureKind.CATEGORICAL and rows[feature.name].n_unique() <= 20
    ]
    found = []
    for feature_name, metric in dict.fromkeys(declared):
        whole = overall if metric == product.metric else score(metric, product.task, labels, scores)
        for category in rows[feature_name].drop_nulls().unique().sort().to_list():
            of_slice = (rows[feature_name] == category).fill_null(False).to_numpy()
            value = None
            if product.task is Task.REGRESSION or len(np.unique(labels[of_slice])) > 1:
                value = score(metric, product.task, labels[of_slice], scores[of_slice])
            gap = None if value is None else METRICS[metric].gain(whole, value)
            found.append(Slice(feature_name, str(category), int(of_slice.sum()), metric, value, gap))
    return found


def _calibration(labels: Array, scores: Array) -> list[CalibrationBin]:
    order = np.array_split(np.argsort(scores, kind="stable"), CALIBRATION_BINS)
    return [
        CalibrationBin(float(scores[part].mean()), float(labels[part].mean()), len(part)) for part in order if len(part)
    ]


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
