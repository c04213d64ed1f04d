"""The plot of a replay: readings over the bands with the action taken, and the score with and without retraining."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mlops_assets.products.product import ModelProduct
from mlops_assets.replay.story import Week

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def replay_figure(product: ModelProduct, weeks: Sequence[Week], deployed: Mapping[str, int]) -> "Figure":
    """deployed: the version that became champion after a period's decision; vertical lines mark them."""
    from matplotlib.figure import Figure

    from mlops_assets.monitoring.plots import draw_readings

    figure = Figure(figsize=(10, 5.5), layout="constrained")
    readings, scores = figure.subplots(2, 1, sharex=True)
    at = range(len(weeks))
    draw_readings(readings, [week.drift for week in weeks], [week.decision.action for week in weeks], product.drift)
    readings.set_title(f"{product.name}: data drift by period; colour: the action taken", fontsize=9)
    readings.set_ylabel("% of rows moved", fontsize=8)
    scores.plot(at, [_number(week.performance) for week in weeks], label="champion", linewidth=1.2)
    scores.plot(at, [_number(week.never_retrained) for week in weeks], "--", label="never retrained", linewidth=1)
    scores.set_ylabel(product.metric, fontsize=8)
    for place, week in enumerate(weeks):
        if week.period in deployed:
            scores.axvline(place + 0.5, color="gray", linewidth=0.8, linestyle=":")
            scores.annotate(
                f"v{deployed[week.period]}", (place + 0.5, 0.98), xycoords=("data", "axes fraction"), fontsize=7
            )
    scores.legend(fontsize=7)
    step = max(1, len(weeks) // 12)
    scores.set_xticks(range(0, len(weeks), step), [week.period for week in weeks[::step]], rotation=30, fontsize=7)
    return figure


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
