"""Model drift: how much of the primary metric the champion lost against its test report, measured once labels arrive."""

import math

import msgspec
import numpy as np
import polars as pl

from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.products.task import METRICS, Task
from mlops_assets.records.readings import PerformanceReading, PerformanceState
from mlops_assets.training.bootstrap import score_with_interval
from mlops_assets.training.metrics import Array

SPREADS_TO_EXCEED = 2  # of the metric's natural variation between windows


def measure_performance(
    scored: pl.DataFrame,
    *,
    task: Task,
    metric: str,
    expected: float,
    spread_percent: float,
    min_rows: int,
    min_blocks: int = 2,
    periods: int = 1,
    test_periods: int = 1,
) -> PerformanceReading:
    """Score the champion's predictions in a window against the labels that arrived.

    scored: one row per prediction; `label` Float64, null until the label arrives (classes as 0..k-1); `score` Float64, for
    multiclass a List or Array of k probabilities; `day` Date, the block of the bootstrap.
    expected: the champion's score in its test report, over `test_periods`. periods: how many periods `scored` pools.
    min_blocks: least number of days; with fewer, the resampled interval is too narrow or has no width at all.
    """
    natural = spread_percent * math.sqrt(1 / periods + 1 / test_periods)
    labelled = scored.select(pl.col("label").cast(pl.Float64).fill_nan(None), "score", "day").drop_nulls()

    def without_value(state: PerformanceState, reason: str) -> PerformanceReading:
        reading = without_score(metric, expected, state, reason, scored, labelled=labelled.height)
        return msgspec.structs.replace(reading, spread_percent=spread_percent, periods=periods, natural_percent=natural)

    if labelled.height == 0:
        return without_value(PerformanceState.NO_LABELS, f"none of {scored.height} predictions has a label yet")
    if labelled.height < min_rows:
        return without_value(
            PerformanceState.INCONCLUSIVE,
            f"{labelled.height} labelled rows, the policy asks for {min_rows}: "
            f"{_periods_needed(min_rows, labelled.height, periods)}",
        )
    blocks = labelled["day"].n_unique()
    if blocks < min_blocks:
        return without_value(
            PerformanceState.INCONCLUSIVE,
            f"labels of {blocks} day{'' if blocks == 1 else 's'}, an interval takes {min_blocks} (min_blocks): "
            f"{_periods_needed(min_blocks, blocks, periods)}",
        )
    labels, scores = labelled["label"].to_numpy(), _scores(labelled["score"], task)
    try:
        result = score_with_interval(metric, task, labels, scores, labelled["day"])
    except NothingToLearnFrom as nothing:
        return without_value(PerformanceState.INCONCLUSIVE, str(nothing))
    if expected == 0:
        return without_value(
            PerformanceState.INCONCLUSIVE, f"the test report's {metric} is 0, so a loss in percent does not exist"
        )
    losses = sorted(-100 * METRICS[metric].gain(value, expected) / abs(expected) for value in (result.low, result.high))
    loss = -100 * METRICS[metric].gain(result.value, expected) / abs(expected)
    is_actionable = losses[0] > 0 and loss > SPREADS_TO_EXCEED * natural
    return PerformanceReading(
        state=PerformanceState.CONCLUSIVE,
        metric=metric,
        value=result.value,
        low=result.low,
        high=result.high,
        expected=expected,
        loss_percent=loss,
        loss_low=losses[0],
        loss_high=losses[1],
        spread_percent=spread_percent,
        is_actionable=is_actionable,
        rows=scored.height,
        labelled=labelled.height,
        reason=_reason(metric, result.value, expected, loss, losses, natural, is_actionable),
        periods=periods,
        natural_percent=natural,
    )


def without_score(
    metric: str, expected: float, state: PerformanceState, reason: str, scored: pl.DataFrame, *, labelled: int = 0
) -> PerformanceReading:
    """The reading of a window without a score, and why there is none."""
    return PerformanceReading(
        state, metric, None, None, None, expected, None, None, None, 0.0, False, scored.height, labelled, reason
    )


def _periods_needed(needed: int, present: int, periods: int) -> str:
    """How many periods hold `needed` rows or days if `periods` of them hold `present`.

    >>> _periods_needed(1000, 96, 4)
    '42 such periods hold them (pooled_periods, now 4)'
    """
    return f"{-(-needed * periods // present)} such periods hold them (pooled_periods, now {periods})"


def periods_to_pool(spread_percent: float, retrain: float, test_periods: int, most: int) -> int:
    """Least number of periods for which twice the natural spread of the loss is below the retraining band, at most `most`.

    If the test itself is too noisy, no number of periods is enough, and the result is `most`.

    >>> periods_to_pool(2.0, 5, 2, 8), periods_to_pool(3.0, 5, 2, 8), periods_to_pool(5.5, 5, 2, 8)
    (1, 6, 8)
    """
    for periods in range(1, most):
        if SPREADS_TO_EXCEED * spread_percent * math.sqrt(1 / periods + 1 / test_periods) < retrain:
            return periods
    return most


def _scores(column: pl.Series, task: Task) -> Array:
    """(n,) for binary and regression, (n, k) for multiclass."""
    if task is Task.MULTICLASS:
        return np.array(column.to_list(), dtype=np.float64)
    return column.cast(pl.Float64).to_numpy()


def _reason(
    metric: str, value: float, expected: float, loss: float, losses: list[float], natural: float, is_actionable: bool
) -> str:
    text = f"{metric} {value:.4g} against {expected:.4g} in the test report: "
    text += f"{abs(loss):.1f} % {'lost' if loss > 0 else 'gained'}, loss {losses[0]:.1f} to {losses[1]:.1f}"
    if is_actionable:
        return text
    if losses[1] < 0:
        return f"{text}, so nothing was lost"
    if losses[0] <= 0:
        return f"{text}, which does not exclude zero"
    return f"{text}, within twice the natural spread of {natural:.1f} %"
