"""Scores of predictions against labels, with bootstrap intervals over whole days."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.products.task import METRICS, Task

Array = NDArray[np.float64]
Groups = NDArray[np.int64]
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
    if task is Task.MULTICLASS:
        labels, scores = _with_unseen(labels, scores)
    return float(_function(metric, task)(labels, scores))


def mean_score(metric: str, task: Task, labels: Array, scores: Array, groups: Groups | None) -> float:
    """Mean of `score` over the groups of rows that have one, so that a rate which differs between groups is not taken
    for skill; of all rows as they are without groups. groups: (n,) the number of each row's group.

    Raises NothingToLearnFrom: no group can be scored."""
    if groups is None:
        return score(metric, task, labels, scores)
    found = []
    reason = f"{metric} of 0 rows does not exist. Wait for labels."
    for part in _parts(groups):
        try:
            found.append(score(metric, task, labels[part], scores[part]))
        except NothingToLearnFrom as nothing:
            reason = str(nothing)
    if not found:
        raise NothingToLearnFrom(reason)
    return float(np.mean(found))


def score_with_interval(
    metric: str,
    task: Task,
    labels: Array,
    scores: Array,
    days: pl.Series,
    *,
    groups: Groups | None = None,
    confidence: float = 0.95,
    seed: int = 7,
) -> Score:
    """`mean_score` with a percentile interval from resampling whole days, since rows of one day are not independent
    (Efron & Tibshirani 1993, ch. 8: block resampling). days: (n,) the day of each row."""
    value = mean_score(metric, task, labels, scores, groups)
    resampled = scores_of_samples(metric, task, labels, scores, days, seed, groups=groups)
    low, high = _interval(resampled[~np.isnan(resampled)], value, confidence)
    return Score(metric, value, low, high, len(labels))


def paired_gain(
    metric: str,
    task: Task,
    labels: Array,
    new: Array,
    old: Array,
    days: pl.Series,
    *,
    confidence: float,
    groups: Groups | None = None,
    seed: int = 7,
) -> Score:
    """How much better `new` scores than `old` on the same rows, with its interval; positive is better."""
    values = [mean_score(metric, task, labels, scores, groups) for scores in (new, old)]
    value = METRICS[metric].gain(*values)
    better, worse = (
        scores_of_samples(metric, task, labels, scores, days, seed, groups=groups) for scores in (new, old)
    )
    resampled = METRICS[metric].sign * (better - worse)
    low, high = _interval(resampled[~np.isnan(resampled)], value, confidence)
    return Score(metric, value, low, high, len(labels))


def _interval(resampled: Array, value: float, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail]) if len(resampled) else (value, value)
    return float(low), float(high)


def scores_of_samples(
    metric: str,
    task: Task,
    labels: Array,
    scores: Array,
    days: pl.Series,
    seed: int = 7,
    resamples: int = RESAMPLES,
    *,
    groups: Groups | None = None,
) -> Array:
    """`mean_score` of samples that draw whole days of every group, (resamples,); NaN for one that cannot be scored.

    A day that is drawn twice counts twice: rows are sorted or summed once, and each sample only weighs the days."""
    codes = day_codes(days)
    if not len(codes):
        return np.empty(0)
    if task is Task.MULTICLASS:
        labels, scores = _with_unseen(labels, scores)
    weighed = []
    for part in [slice(None)] if groups is None else _parts(groups):
        held, own = np.unique(codes[part], return_inverse=True)
        weigh = _weighed(metric, task, labels[part], scores[part], own)
        if groups is None or not np.isnan(weigh(np.ones(len(held)))):
            weighed.append((weigh, len(held)))
    draw = np.random.default_rng(seed)

    def drawn(count: int) -> Array:
        return np.bincount(draw.integers(0, count, count), minlength=count).astype(float)

    return np.array([np.mean([weigh(drawn(count)) for weigh, count in weighed]) for _ in range(resamples)])


def _parts(groups: Groups) -> list[NDArray[np.bool_]]:
    return [groups == group for group in np.unique(groups)]


def day_blocks(days: pl.Series, seed: int, resamples: int = RESAMPLES) -> list[NDArray[np.int64]]:
    """Row numbers of `resamples` samples that draw whole days with replacement."""
    found, draw = rows_by_day(days), np.random.default_rng(seed)
    return [draw_days(found, draw) for _ in range(resamples if found else 0)]


def rows_by_day(days: pl.Series) -> list[NDArray[np.int64]]:
    """Row numbers of every day, oldest day first."""
    codes = day_codes(days)
    return [np.flatnonzero(codes == code) for code in range(int(codes.max()) + 1)] if len(codes) else []


def day_codes(days: pl.Series) -> NDArray[np.int64]:
    """The number of each row's day, 0 for the oldest, (n,)."""
    ranks = days.cast(pl.Categorical if days.dtype == pl.String else days.dtype).rank("dense")
    return ranks.to_numpy().astype(np.int64) - 1


def draw_days(of_days: Sequence[NDArray[np.int64]], draw: np.random.Generator) -> NDArray[np.int64]:
    """Row numbers of as many days as there are, drawn with replacement."""
    return np.concatenate([of_days[day] for day in draw.integers(0, len(of_days), len(of_days))])


def _with_unseen(labels: Array, scores: Array) -> tuple[Array, Array]:
    """A class that was never seen in training as one more, of probability 0."""
    if not np.isnan(labels).any():
        return labels, scores
    return np.where(np.isnan(labels), scores.shape[1], labels), np.column_stack([scores, np.zeros(len(scores))])


Weigh = Callable[[Array], float]  # how often each day was drawn -> the metric of that sample


def _weighed(metric: str, task: Task, labels: Array, scores: Array, codes: NDArray[np.int64]) -> Weigh:
    if metric == "roc_auc" and task is Task.MULTICLASS:
        each = [
            _ranked((labels == code).astype(float), scores[:, code], codes) for code in np.unique(labels).astype(int)
        ]

        def of_classes(drawn: Array) -> float:
            values = [value for value in (one(drawn)[0] for one in each) if not np.isnan(value)]
            return float(np.mean(values)) if values else np.nan

        return of_classes
    if metric in ("roc_auc", "average_precision"):
        ranked, place = _ranked(labels, scores, codes), int(metric == "average_precision")
        return lambda drawn: ranked(drawn)[place]
    rows = np.bincount(codes).astype(float)
    losses = np.bincount(codes, _losses(metric, task, labels, scores))
    if metric == "rmse":
        return lambda drawn: float(np.sqrt(drawn @ losses / (drawn @ rows)))
    if metric == "r2":
        centred = labels - labels.mean()
        sums, squares = np.bincount(codes, centred), np.bincount(codes, centred**2)

        def explained(drawn: Array) -> float:
            spread = drawn @ squares - (drawn @ sums) ** 2 / (drawn @ rows)
            # of labels that are all the same what is left is rounding
            return float(1 - drawn @ losses / spread) if spread > 1e-12 * (drawn @ squares) else np.nan

        return explained
    return lambda drawn: float(drawn @ losses / (drawn @ rows))


def _losses(metric: str, task: Task, labels: Array, scores: Array) -> Array:
    """What each row adds to a metric that is a mean over rows, (n,)."""
    lost: Array
    if metric == "mae":
        lost = np.abs(labels - scores)
    elif metric in ("rmse", "r2", "brier"):
        lost = (labels - scores) ** 2
    elif metric == "accuracy":
        said = scores >= 0.5 if task is Task.BINARY else scores.argmax(axis=1)
        lost = (said == labels).astype(np.float64)
    elif metric == "log_loss":
        if task is Task.BINARY:
            given = np.where(labels > 0.5, scores, 1 - scores)
        else:
            given = (scores / scores.sum(axis=1, keepdims=True))[np.arange(len(labels)), labels.astype(int)]
        least = np.finfo(given.dtype).eps
        lost = -np.log(np.clip(given, least, 1 - least))
    else:
        raise KeyError(metric)
    return lost


def _ranked(labels: Array, scores: Array, codes: NDArray[np.int64]) -> Callable[[Array], tuple[float, float]]:
    """Area under the ROC curve (Mann-Whitney, ties count half) and average precision, of rows sorted once."""
    order = np.argsort(-scores, kind="stable")
    positive, of_day = labels[order] > 0.5, codes[order]
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])

    def both(drawn: Array) -> tuple[float, float]:
        weights = drawn[of_day]
        rows = np.add.reduceat(weights, starts)
        hits = np.add.reduceat(weights * positive, starts)
        above = np.cumsum(hits)
        total, others = above[-1], rows.sum() - above[-1]
        if not total or not others:
            return np.nan, np.nan
        area = float(((rows - hits) * (above - hits / 2)).sum() / (total * others))
        seen = np.cumsum(rows)
        precision = np.divide(above, seen, out=np.zeros(len(seen)), where=seen > 0)
        return area, float((hits * precision).sum() / total)

    return both


def _function(metric: str, task: Task) -> Callable[[Array, Array], float]:
    if metric == "roc_auc" and task is Task.BINARY:
        return _roc_auc
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
