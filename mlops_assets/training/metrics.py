"""Scores of predictions against labels, with bootstrap intervals over whole days."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.products.task import METRICS, Task

Array = NDArray[np.float64]
RESAMPLES = 200


@dataclass(frozen=True)
class Score:
    """A metric's value with its interval (percentile bootstrap over day blocks), in the metric's unit."""

    metric: str
    value: float
    low: float
    high: float
    rows: int


def score(metric: str, task: Task, labels: Array, scores: Array) -> float:
    """One metric. labels: (n,), classes as 0..k-1; scores: (n,) probability of class 1 or prediction, (n, k) multiclass.

    A class that was never seen in training is NaN among the labels: the model gave it probability 0.
    Raises NothingToLearnFrom: no rows, or a ranking metric with one class only."""
    if len(labels) == 0:
        raise NothingToLearnFrom(f"{metric} of 0 rows does not exist. Wait for labels.")
    if metric in ("roc_auc", "average_precision") and len(np.unique(labels)) < 2:
        raise NothingToLearnFrom(f"{metric} of {len(labels)} rows that all have the same label does not exist.")
    if task is Task.MULTICLASS and np.isnan(labels).any():
        labels = np.where(np.isnan(labels), scores.shape[1], labels)
        scores = np.column_stack([scores, np.zeros(len(scores))])
    return float(_function(metric, task)(labels, scores))


def score_with_interval(
    metric: str, task: Task, labels: Array, scores: Array, days: pl.Series, *, confidence: float = 0.95, seed: int = 7
) -> Score:
    """`score` with a percentile interval from resampling whole days, since rows of one day are not independent
    (Efron & Tibshirani 1993, ch. 8: block resampling). days: (n,) the day of each row."""
    value = score(metric, task, labels, scores)
    resampled = np.array(
        [
            score(metric, task, labels[rows], scores[rows])
            for rows in day_blocks(days, seed)
            if _can_score(metric, labels[rows])
        ]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail]) if len(resampled) else (value, value)
    return Score(metric, value, float(low), float(high), len(labels))


def paired_gain(
    metric: str, task: Task, labels: Array, new: Array, old: Array, days: pl.Series, *, confidence: float, seed: int = 7
) -> Score:
    """How much better `new` scores than `old` on the same rows, with its interval; positive is better."""
    gain = METRICS[metric].gain
    value = gain(score(metric, task, labels, new), score(metric, task, labels, old))
    resampled = np.array(
        [
            gain(score(metric, task, labels[rows], new[rows]), score(metric, task, labels[rows], old[rows]))
            for rows in day_blocks(days, seed)
            if _can_score(metric, labels[rows])
        ]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail]) if len(resampled) else (value, value)
    return Score(metric, value, float(low), float(high), len(labels))


def day_blocks(days: pl.Series, seed: int, resamples: int = RESAMPLES) -> list[NDArray[np.int64]]:
    """Row numbers of `resamples` samples that draw whole days with replacement."""
    found, draw = rows_by_day(days), np.random.default_rng(seed)
    return [draw_days(found, draw) for _ in range(resamples if found else 0)]


def rows_by_day(days: pl.Series) -> list[NDArray[np.int64]]:
    """Row numbers of every day, oldest day first."""
    codes = days.cast(pl.Categorical if days.dtype == pl.String else days.dtype).rank("dense").to_numpy() - 1
    return [np.flatnonzero(codes == code) for code in range(int(codes.max()) + 1)] if len(codes) else []


def draw_days(of_days: Sequence[NDArray[np.int64]], draw: np.random.Generator) -> NDArray[np.int64]:
    """Row numbers of as many days as there are, drawn with replacement."""
    return np.concatenate([of_days[day] for day in draw.integers(0, len(of_days), len(of_days))])


def _can_score(metric: str, labels: Array) -> bool:
    return metric not in ("roc_auc", "average_precision") or len(np.unique(labels)) > 1


def _function(metric: str, task: Task) -> Callable[[Array, Array], float]:
    if metric == "roc_auc" and task is Task.BINARY:
        return _roc_auc  # the one that runs hundreds of times a period
    from sklearn import metrics as sk

    if task is Task.REGRESSION:
        numbers: dict[str, Callable[[Array, Array], float]] = {
            "mae": sk.mean_absolute_error,
            "rmse": sk.root_mean_squared_error,
            "r2": sk.r2_score,
        }
        return numbers[metric]
    classes: dict[str, Callable[[Array, Array], float]] = {
        "roc_auc": _roc_auc_of_classes,
        "average_precision": sk.average_precision_score,
        "brier": sk.brier_score_loss,
        "accuracy": lambda y, p: sk.accuracy_score(y, p >= 0.5 if task is Task.BINARY else p.argmax(axis=1)),
        "log_loss": lambda y, p: (
            sk.log_loss(y, p, labels=[0, 1]) if task is Task.BINARY else _log_loss_of_classes(y, p)
        ),
    }
    return classes[metric]


def _log_loss_of_classes(labels: Array, scores: Array) -> float:
    from sklearn.metrics import log_loss

    # float32 probabilities do not sum to one as closely as scikit-learn asks for
    return float(log_loss(labels, scores / scores.sum(axis=1, keepdims=True), labels=range(scores.shape[1])))


def _roc_auc_of_classes(labels: Array, scores: Array) -> float:
    """Mean over the classes that occur of one class against the rest (Provost & Domingos 2000, unweighted)."""
    present = np.unique(labels).astype(int)
    return float(np.mean([_roc_auc((labels == code).astype(np.float64), scores[:, code]) for code in present]))


def _roc_auc(labels: Array, scores: Array) -> float:
    """Mann-Whitney form: mean rank of the positives, ties averaged."""
    ranks = pl.Series(scores).rank("average").to_numpy()
    positive = labels > 0.5
    count = int(positive.sum())
    other = len(labels) - count
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * other))
