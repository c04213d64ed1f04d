"""Staleness: what a fresh model would gain now.

A challenger of the newest recipe is fitted on what was known before some recent periods, and compared with the champion on the
rows of those periods, paired. Drift says that something moved; staleness says whether retraining would help.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.products.task import METRICS, Task
from mlops_assets.records.readings import StalenessReading, StalenessState
from mlops_assets.training.bootstrap import RESAMPLES, scores_of_samples
from mlops_assets.training.metrics import Array, mean_score

CONFIDENCE = 0.95
MIN_RESAMPLES = RESAMPLES // 2  # fewer samples that can be scored do not give an interval


@dataclass(frozen=True)
class PeriodScores:
    """Labels of one period, (n,), and the scores of both models: (n,) or, for multiclass, (n, classes). days: (n,)."""

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
    min_blocks: int = 2,
    periods_in_group: int = 1,
    trained_before: str,
    seed: int,
) -> StalenessReading:
    """Mean over the periods of the challenger's gain, and its interval from resampling whole days within each period.

    Scores are compared within a period and then averaged, so that a change of the outcome's rate between periods does not
    count as skill. periods_in_group: this many periods count as one, because a period of a single day cannot be resampled; the
    remainder belongs to the last group. min_blocks: least number of days for an interval. stale: percent from which the gain
    is actionable. Percentile bootstrap over day blocks (Efron & Tibshirani 1993)."""
    lengths = [len(item.labels) for item in periods]
    rows = sum(lengths)
    if rows < max(1, min_rows):
        return without_reading(
            StalenessState.INCONCLUSIVE, metric, f"{rows} labelled rows to compare on, the policy asks for {min_rows}"
        )
    labels, old, new = (
        np.concatenate([getattr(item, name) for item in periods]) for name in ("labels", "champion", "challenger")
    )
    days = pl.concat([item.days for item in periods])
    blocks = days.n_unique()
    if blocks < min_blocks:
        return without_reading(
            StalenessState.INCONCLUSIVE,
            metric,
            f"labels of {blocks} day{'' if blocks == 1 else 's'} to compare on, an interval takes {min_blocks} (min_blocks): "
            "compare on more periods (staleness_every)",
        )
    last_group = max(1, len(periods) // periods_in_group) - 1
    groups = np.repeat(np.minimum(np.arange(len(periods)) // periods_in_group, last_group), lengths)
    try:
        champion, challenger = (mean_score(metric, task, labels, scores, groups) for scores in (old, new))
    except NothingToLearnFrom as nothing:
        return without_reading(StalenessState.INCONCLUSIVE, metric, str(nothing))
    if champion == 0:
        return without_reading(
            StalenessState.INCONCLUSIVE, metric, f"the champion's {metric} is 0, so a gain in percent does not exist"
        )
    worse, better = (
        scores_of_samples(metric, task, labels, scores, days, seed, groups=groups) for scores in (old, new)
    )
    gains = METRICS[metric].sign * (better - worse)
    gains = gains[~np.isnan(gains)]
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
    is_actionable = low > 0 and percent >= stale
    return StalenessReading(
        StalenessState.CONCLUSIVE,
        metric,
        percent,
        low,
        high,
        is_actionable,
        _reason(metric, percent, low, high, stale, len(periods)),
        tuple(item.period for item in periods),
        rows,
        champion,
        challenger,
        trained_before,
    )


def _reason(metric: str, percent: float, low: float, high: float, stale: float, periods: int) -> str:
    verb = "gains" if percent >= 0 else "loses"
    text = f"a fresh model {verb} {abs(percent):.1f} % of {metric} ({low:.1f} to {high:.1f}) on {periods} period{'s' * (periods != 1)}"
    if high < 0:
        return f"{text}, which is worse"
    if low <= 0:
        return f"{text}, which does not exclude zero"
    return text if percent >= stale else f"{text}, below the {stale:g} % that is worth a retraining"
