"""Plots of drift, decisions and backtests for asset metadata."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mlops_assets.products.policy import DriftPolicy
from mlops_assets.records.decisions import Backtest, DriftDecision
from mlops_assets.records.readings import DriftReading, StalenessReading

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "none": "tab:green",
    "watch": "gold",
    "retrain": "tab:orange",
    "rework": "tab:red",
    "inconclusive": "lightgray",
}


def drift_figure(reading: DriftReading, policy: DriftPolicy) -> "Figure":
    """Every feature's reading with its interval over the bands. Hollow points are not actionable."""
    from matplotlib.figure import Figure

    shown = sorted(reading.features, key=lambda item: item.percent)[-15:]
    figure = Figure(figsize=(7, 0.28 * len(shown) + 1))
    axes = figure.subplots()
    _bands(axes.axvspan, policy, max([policy.rework * 1.5, *(max(item.high, item.values_percent) for item in shown)]))
    for row, item in enumerate(shown):
        axes.plot([item.low, item.high], [row, row], color="black", linewidth=1)
        axes.plot(item.percent, row, "o", color="black", markerfacecolor="black" if item.is_actionable else "white")
        if item.is_actionable and item.values_percent != item.percent:
            axes.plot(item.values_percent, row, "o", color="black", markerfacecolor="white")
    axes.set_yticks(range(len(shown)), [item.name for item in shown], fontsize=8)
    axes.set_xlabel("% of rows moved (hollow: shown, not acted on)")
    return figure


def staleness_figure(readings: Mapping[str, StalenessReading], policy: DriftPolicy) -> "Figure":
    """The gain of a fresh model at every comparison so far, with its interval. The dashed line is the limit for retraining."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.6))
    axes = figure.subplots()
    for column, item in enumerate(readings.values()):
        if item.percent is None or item.low is None or item.high is None:
            continue
        axes.plot([column, column], [item.low, item.high], color="black", linewidth=1)
        colour = COLOURS["retrain" if item.is_actionable else "none"]
        axes.plot(column, item.percent, "o", color=colour, markeredgecolor="black")
    axes.axhline(0, color="gray", linewidth=0.8)
    axes.axhline(policy.stale, color=COLOURS["retrain"], linewidth=1, linestyle="--")
    axes.set_xticks(range(len(readings)), list(readings), rotation=30, fontsize=7)
    axes.set_ylabel("% gained by a fresh model", fontsize=8)
    return figure


def decisions_figure(decisions: list[DriftDecision], policy: DriftPolicy) -> "Figure":
    """The readings so far over the bands, coloured by the action taken."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3))
    axes = figure.subplots()
    draw_readings(axes, [item.reading for item in decisions], [item.action for item in decisions], policy)
    step = max(1, len(decisions) // 8)
    axes.set_xticks(
        range(0, len(decisions), step), [item.period for item in decisions[::step]], rotation=30, fontsize=7
    )
    axes.set_ylabel("% of rows moved")
    axes.set_title("Data drift by period; colour: the action taken", fontsize=9)
    return figure


def draw_readings(axes: "Axes", percents: Sequence[float | None], actions: Sequence[str], policy: DriftPolicy) -> None:
    """One point per period over the bands, coloured by the action taken; a gap for an inconclusive period."""
    readings = [float("nan") if item is None else item for item in percents]
    _bands(axes.axhspan, policy, max([policy.rework * 1.5, *(item for item in readings if item == item)]))
    axes.plot(range(len(readings)), readings, color="gray", linewidth=1)
    axes.scatter(range(len(readings)), readings, c=[COLOURS[item] for item in actions], edgecolors="black", zorder=3)


def backtest_figure(results: Sequence[Backtest], policy: DriftPolicy) -> "Figure":
    """Readings, actions and scores of each plan over the periods."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 1.6 * len(results) + 2.6), layout="constrained")
    axes = figure.subplots(len(results) + 1, 1, sharex=True, squeeze=False)[:, 0]
    for row, result in zip(axes, results, strict=False):
        readings = [float("nan") if item.reading is None else item.reading for item in result.periods]
        _bands(row.axhspan, policy, max([policy.rework * 1.2, *(item for item in readings if item == item)]))
        row.plot(range(len(readings)), readings, color="gray", linewidth=1)
        row.scatter(range(len(readings)), readings, c=[COLOURS[item.action] for item in result.periods], s=18, zorder=3)
        row.set_title(
            f"{result.plan}: {result.deployed} deployed of {result.trained} trained, mean {result.metric} "
            f"{result.mean_score:.4f}, {result.fit_seconds:.0f} s training",
            fontsize=8,
        )
        row.set_ylabel("% moved", fontsize=7)
    for result in results:
        scores = [float("nan") if item.score is None else item.score for item in result.periods]
        axes[-1].plot(range(len(scores)), scores, label=result.plan, linewidth=1)
    axes[-1].legend(fontsize=7, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axes[-1].set_ylabel(results[0].metric, fontsize=7)
    periods = [item.period for item in results[0].periods]
    step = max(1, len(periods) // 10)
    axes[-1].set_xticks(range(0, len(periods), step), periods[::step], rotation=30, fontsize=7)
    return figure


def _bands(span, policy: DriftPolicy, top: float) -> None:  # type: ignore[no-untyped-def] # axvspan or axhspan
    edges = [0, policy.watch, policy.retrain, policy.rework, max(top, policy.rework + 1)]
    for low, high, name in zip(edges, edges[1:], ("none", "watch", "retrain", "rework"), strict=False):
        span(low, high, color=COLOURS[name], alpha=0.15, linewidth=0)
