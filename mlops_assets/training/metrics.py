"""Scores of predictions against labels."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.products.task import OPERATING_THRESHOLD, Task

Array = NDArray[np.float64]
Groups = NDArray[np.int64]
COMPARING = ("roc_auc", "average_precision", "r2")  # metrics that are undefined if all labels are the same
Weigh = Callable[[Array], float]  # how often each day was drawn -> the metric of that sample


def score(metric: str, task: Task, labels: Array, scores: Array) -> float:
    """One metric. labels: (n,), classes as 0..k-1; scores: (n,) probability of class 1 or prediction, (n, k) multiclass.

    The label NaN stands for a class that the model was not trained on, which it gives probability 0.
    Raises NothingToLearnFrom without rows, or if all labels are the same and the metric compares different ones."""
    if len(labels) == 0:
        raise NothingToLearnFrom(f"{metric} cannot be computed on 0 rows. Wait for labels.")
    if metric in COMPARING and len(np.unique(labels)) < 2:
        raise NothingToLearnFrom(f"{metric} cannot be computed on {len(labels)} rows that all have the same label.")
    if task is Task.MULTICLASS:
        labels, scores = with_unseen(labels, scores)
    return weighed(metric, task, labels, scores, np.zeros(len(labels), dtype=np.int64))(np.ones(1))


def mean_score(metric: str, task: Task, labels: Array, scores: Array, groups: Groups | None) -> float:
    """Mean of `score` over the groups that can be scored, so that a rate which differs between groups does not count as
    skill; `score` of all rows if `groups` is None. groups: (n,) the number of each row's group.

    Raises NothingToLearnFrom if no group can be scored."""
    if groups is None:
        return score(metric, task, labels, scores)
    values = []
    reason = f"{metric} cannot be computed on 0 rows. Wait for labels."
    for part in parts(groups):
        try:
            values.append(score(metric, task, labels[part], scores[part]))
        except NothingToLearnFrom as nothing:
            reason = str(nothing)
    if not values:
        raise NothingToLearnFrom(reason)
    return float(np.mean(values))


def parts(groups: Groups) -> list[NDArray[np.bool_]]:
    return [groups == group for group in np.unique(groups)]


def with_unseen(labels: Array, scores: Array) -> tuple[Array, Array]:
    """Labels and scores with one more class of probability 0, for labels that the model was not trained on."""
    if not np.isnan(labels).any():
        return labels, scores
    return np.where(np.isnan(labels), scores.shape[1], labels), np.column_stack([scores, np.zeros(len(scores))])


def weighed(metric: str, task: Task, labels: Array, scores: Array, codes: NDArray[np.int64]) -> Weigh:
    """The metric as a function of how often each day counts. codes: (n,) the day of each row."""
    if metric == "roc_auc" and task is Task.MULTICLASS:
        each = [
            _rank_metric(metric, (labels == code).astype(float), scores[:, code], codes)
            for code in np.unique(labels).astype(int)
        ]

        def mean_of_classes(drawn: Array) -> float:
            values = [value for value in (one(drawn) for one in each) if not np.isnan(value)]
            return float(np.mean(values)) if values else np.nan

        return mean_of_classes
    if metric in ("roc_auc", "average_precision"):
        return _rank_metric(metric, labels, scores, codes)
    rows = np.bincount(codes).astype(float)
    losses = np.bincount(codes, _losses(metric, task, labels, scores))
    if metric == "rmse":
        return lambda drawn: float(np.sqrt(drawn @ losses / (drawn @ rows)))
    if metric == "r2":
        centred = labels - labels.mean()
        sums, squares = np.bincount(codes, centred), np.bincount(codes, centred**2)

        def explained(drawn: Array) -> float:
            spread = drawn @ squares - (drawn @ sums) ** 2 / (drawn @ rows)
            # if all labels are the same, the spread is only rounding
            return float(1 - drawn @ losses / spread) if spread > 1e-12 * (drawn @ squares) else np.nan

        return explained
    return lambda drawn: float(drawn @ losses / (drawn @ rows))


def _losses(metric: str, task: Task, labels: Array, scores: Array) -> Array:
    """The contribution of each row to a metric that is a mean over rows, (n,)."""
    lost: Array
    if metric == "mae":
        lost = np.abs(labels - scores)
    elif metric in ("rmse", "r2", "brier"):
        lost = (labels - scores) ** 2
    elif metric == "accuracy":
        predicted = scores >= OPERATING_THRESHOLD if task is Task.BINARY else scores.argmax(axis=1)
        lost = (predicted == labels).astype(np.float64)
    elif metric == "log_loss":
        if task is Task.BINARY:
            likelihood = np.where(labels > 0.5, scores, 1 - scores)
        else:
            likelihood = (scores / scores.sum(axis=1, keepdims=True))[np.arange(len(labels)), labels.astype(int)]
        least = np.finfo(likelihood.dtype).eps
        lost = -np.log(np.clip(likelihood, least, 1 - least))
    else:
        raise KeyError(metric)
    return lost


def _rank_metric(metric: str, labels: Array, scores: Array, codes: NDArray[np.int64]) -> Weigh:
    """Area under the ROC curve (Mann-Whitney, ties count half) or average precision; the rows are sorted only once."""
    order = np.argsort(-scores, kind="stable")
    positive, of_day = labels[order] > 0.5, codes[order]
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])

    def weigh(drawn: Array) -> float:
        weights = drawn[of_day]
        rows = np.add.reduceat(weights, starts)
        hits = np.add.reduceat(weights * positive, starts)
        above = np.cumsum(hits)
        total, others = above[-1], rows.sum() - above[-1]
        if not total or not others:
            return np.nan
        if metric == "roc_auc":
            return float(((rows - hits) * (above - hits / 2)).sum() / (total * others))
        seen = np.cumsum(rows)
        precision = np.divide(above, seen, out=np.zeros(len(seen)), where=seen > 0)
        return float((hits * precision).sum() / total)

    return weigh
