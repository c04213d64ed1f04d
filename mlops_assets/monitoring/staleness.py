"""Staleness: what a fresh model would gain now.

A challenger of the same recipe, fitted on what was known before some recent periods, is compared with the champion on
those periods, paired. Drift says that something moved; this says whether retraining would help.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.products.task import METRICS, Task
from mlops_assets.training.metrics import RESAMPLES, Array, draw_days, rows_by_day, score

CONFIDENCE = 0.95
MIN_RESAMPLES = RESAMPLES // 2  # fewer that can be scored make no interval


class StalenessState(StrEnum):
    CONCLUSIVE = "conclusive"
    INCONCLUSIVE = "inconclusive"
    NOT_DUE = "not_due"


class StalenessReading(msgspec.Struct, frozen=True):
    """Percent of the primary metric that a fresh model gains over the champion, with its interval.

    percent, low, high: None unless conclusive; negative where the champion is better. acts: the interval lies above zero
    and the gain reaches the policy's `stale`. periods: those compared on; trained_before: the challenger saw nothing later.
    """

    state: StalenessState
    metric: str
    percent: float | None
    low: float | None
    high: float | None
    acts: bool
    reason: str
    periods: tuple[str, ...] = ()
    rows: int = 0
    champion: float | None = None
    challenger: float | None = None
    trained_before: str = ""


@dataclass(frozen=True)
class PeriodScores:
    """Labels of one period and what both models said of them: (n,) or, for multiclass, (n, classes). days: (n,)."""

    period: str
    labels: Array
    champion: Array
    challenger: Array
    days: pl.Series


def without_reading(state: StalenessState, metric: str, reason: str) -> StalenessReading:
    return StalenessReading(state, metric, None, None, None, False, reason)


def measure_staleness(
    periods: Sequence[PeriodScores],
    *,
    task: Task,
    metric: str,
    stale: float,
    min_rows: int,
    trained_before: str,
    seed: int,
) -> StalenessReading:
    """Mean over the periods of the challenger's gain, and its interval from resampling whole days within each period.

    Scores are compared within a period and then averaged, so that a change of the outcome's rate between periods is not
    taken for skill. stale: percent from which it acts. Percentile bootstrap over day blocks (Efron & Tibshirani 1993)."""
    rows = sum(len(item.labels) for item in periods)
    if rows < max(1, min_rows):
        return without_reading(
            StalenessState.INCONCLUSIVE, metric, f"{rows} labelled rows to compare on, the policy asks for {min_rows}"
        )
    try:
        champion, challenger = _mean_scores(periods, task, metric, [slice(None)] * len(periods))
    except NothingToLearnFrom as nothing:
        return without_reading(StalenessState.INCONCLUSIVE, metric, str(nothing))
    if champion == 0:
        return without_reading(
            StalenessState.INCONCLUSIVE, metric, f"the champion's {metric} is 0: no percent of it exists"
        )
    gains = []
    draw = np.random.default_rng(seed)
    by_day = [rows_by_day(item.days) for item in periods]
    for _ in range(RESAMPLES):
        try:
            old, new = _mean_scores(periods, task, metric, [draw_days(of_days, draw) for of_days in by_day])
        except NothingToLearnFrom:
            continue  # a sample of days with one outcome only has no ranking
        gains.append(METRICS[metric].gain(new, old))
    if len(gains) < MIN_RESAMPLES:
        return without_reading(
            StalenessState.INCONCLUSIVE,
            metric,
            "too few days hold both outcomes for an interval: compare on more periods",
        )
    scale = 100 / abs(champion)
    percent = scale * METRICS[metric].gain(challenger, champion)
    tail = (1 - CONFIDENCE) / 2
    low, high = (scale * float(value) for value in np.quantile(gains, [tail, 1 - tail]))
    acts = low > 0 and percent >= stale
    return StalenessReading(
        StalenessState.CONCLUSIVE,
        metric,
        percent,
        low,
        high,
        acts,
        _reason(metric, percent, low, high, stale, len(periods)),
        tuple(item.period for item in periods),
        rows,
        champion,
        challenger,
        trained_before,
    )


def _mean_scores(
    periods: Sequence[PeriodScores], task: Task, metric: str, rows_of: Sequence[slice | NDArray[np.int64]]
) -> tuple[float, float]:
    """Mean score of champion and challenger over the periods, each on its own `rows_of`."""
    found = []
    for item, rows in zip(periods, rows_of, strict=True):
        labels = item.labels[rows]
        found.append([score(metric, task, labels, side[rows]) for side in (item.champion, item.challenger)])
    old, new = np.mean(found, axis=0)
    return float(old), float(new)


def _reason(metric: str, percent: float, low: float, high: float, stale: float, periods: int) -> str:
    verb = "gains" if percent >= 0 else "loses"
    text = f"a fresh model {verb} {abs(percent):.1f} % of {metric} ({low:.1f} to {high:.1f}) on {periods} periods"
    if low <= 0:
        return f"{text}, which does not exclude zero"
    return text if percent >= stale else f"{text}, below the {stale:g} % that is worth a retraining"
