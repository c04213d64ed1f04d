"""Intervals of scores by a bootstrap over whole days, because the rows of one day are not independent."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.products.task import METRICS, Task
from mlops_assets.training.metrics import Array, Groups, mean_score, parts, weighed, with_unseen

RESAMPLES = 200
SEED = 7  # of the resampling, so that the same rows have the same interval


@dataclass(frozen=True)
class Score:
    """A metric's value with its interval (percentile bootstrap over day blocks), in the metric's unit."""

    metric: str
    value: float
    low: float
    high: float
    rows: int


def score_with_interval(
    metric: str,
    task: Task,
    labels: Array,
    scores: Array,
    days: pl.Series,
    *,
    groups: Groups | None = None,
    confidence: float = 0.95,
) -> Score:
    """`mean_score` with a percentile interval from resampling whole days (Efron & Tibshirani 1993, ch. 8: block resampling).

    days: (n,) the day of each row."""
    value = mean_score(metric, task, labels, scores, groups)
    resampled = scores_of_samples(metric, task, labels, scores, days, groups=groups)
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
    few_days: bool = False,
) -> Score:
    """How much better `new` scores than `old` on the same rows, with its interval; positive is better.

    few_days: widen the interval by Student's t, because percentiles of a handful of days are too narrow: with five days, the
    lower 95 % bound lies above the true value in 10 % of the cases."""
    values = [mean_score(metric, task, labels, scores, groups) for scores in (new, old)]
    value = METRICS[metric].gain(*values)
    better, worse = (scores_of_samples(metric, task, labels, scores, days, groups=groups) for scores in (new, old))
    resampled = METRICS[metric].sign * (better - worse)
    low, high = _interval(resampled[~np.isnan(resampled)], value, confidence)
    if few_days:
        factor = _student_factor(days.n_unique(), confidence)
        low, high = value - factor * (value - low), value + factor * (high - value)
    return Score(metric, value, low, high, len(labels))


def scores_of_samples(
    metric: str,
    task: Task,
    labels: Array,
    scores: Array,
    days: pl.Series,
    seed: int = SEED,
    resamples: int = RESAMPLES,
    *,
    groups: Groups | None = None,
) -> Array:
    """`mean_score` of samples that draw whole days of every group, (resamples,); NaN for a sample that cannot be scored.

    A day that is drawn twice counts twice. Rows are sorted or summed once; each sample only changes the weights of the days."""
    codes = day_codes(days)
    if not len(codes):
        return np.empty(0)
    if task is Task.MULTICLASS:
        labels, scores = with_unseen(labels, scores)
    weighed_groups, counts = [], []
    for part in [slice(None)] if groups is None else parts(groups):
        group_days, day_of_row = np.unique(codes[part], return_inverse=True)
        weigh = weighed(metric, task, labels[part], scores[part], day_of_row)
        if groups is None or not np.isnan(weigh(np.ones(len(group_days)))):
            weighed_groups.append(weigh)
            counts.append(len(group_days))
    return np.array(
        [
            np.mean([weigh(drawn) for weigh, drawn in zip(weighed_groups, sample, strict=True)])
            for sample in draw_days(counts, seed, resamples)
        ]
    )


def draw_days(counts: list[int], seed: int, resamples: int = RESAMPLES) -> Iterator[list[Array]]:
    """How often each sample holds each day of every group; as many days are drawn as the group has, with replacement.

    counts: number of days in each group."""
    random = np.random.default_rng(seed)
    for _ in range(resamples):
        yield [np.bincount(random.integers(0, count, count), minlength=count).astype(float) for count in counts]


def day_codes(days: pl.Series) -> NDArray[np.int64]:
    """The day of each row as a number, 0 for the oldest day, (n,)."""
    ranks = days.cast(pl.Categorical if days.dtype == pl.String else days.dtype).rank("dense")
    return ranks.to_numpy().astype(np.int64) - 1


def _student_factor(days: int, confidence: float) -> float:
    """How much wider Student's interval of a mean over so many days is than the average interval from resampling them."""
    from scipy.special import stdtrit  # slow to import

    upper, days = (1 + confidence) / 2, max(2, days)
    return float(stdtrit(days - 1, upper) / stdtrit(np.inf, upper) * np.sqrt(days / (days - 1)))


def _interval(resampled: Array, value: float, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail]) if len(resampled) else (value, value)
    return float(low), float(high)
