"""Plots of a test report for asset metadata."""

import math
from typing import TYPE_CHECKING

from mlops_assets.records.testing import TestReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def test_report_figure(report: TestReport) -> "Figure":
    """Calibration and confusion of a classifier, importance of the inputs, and the worst slices."""
    from matplotlib.figure import Figure

    draws = [_importance, _worst]
    if report.confusion:
        draws.insert(0, _confusion)
    if report.calibration:
        draws.insert(0, _calibration)
    # two columns: Dagster's dialog cuts off what is wider
    figure = Figure(figsize=(9, 3.5 * math.ceil(len(draws) / 2)), layout="constrained")
    places = figure.subplots(math.ceil(len(draws) / 2), 2, squeeze=False).flatten()
    for axes, draw in zip(places, draws, strict=False):
        draw(axes, report)
    for axes in places[len(draws) :]:
        axes.set_axis_off()
    return figure


def _calibration(axes: "Axes", report: TestReport) -> None:
    axes.plot([0, 1], [0, 1], color="lightgray")
    axes.plot([b.predicted for b in report.calibration], [b.observed for b in report.calibration], "o-")
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("observed share")
    error = report.calibration_error
    axes.set_title("Calibration" + (f", error {error.value:.3f}" if error else ""), fontsize=9)


def _confusion(axes: "Axes", report: TestReport) -> None:
    assert report.confusion is not None  # the caller has checked
    classes, counts = report.confusion.classes, report.confusion.counts
    axes.imshow(counts, cmap="Blues")
    dark_from = max(max(row) for row in counts) / 2
    for true, row in enumerate(counts):
        for predicted, count in enumerate(row):
            colour = "white" if count > dark_from else "black"
            axes.text(predicted, true, f"{count:,}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(classes)), classes, fontsize=7)
    axes.set_yticks(range(len(classes)), classes, fontsize=7)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    threshold = report.confusion.threshold
    axes.set_title("Rows" + (f" at threshold {threshold:g}" if threshold is not None else ""), fontsize=9)


def _importance(axes: "Axes", report: TestReport) -> None:
    shown = list(report.importance.items())[:12][::-1]
    axes.barh([name for name, _ in shown], [loss for _, loss in shown])
    axes.set_title("Loss of the primary metric when the input is shuffled", fontsize=9)
    axes.tick_params(labelsize=7)


def _worst(axes: "Axes", report: TestReport) -> None:
    shown = report.worst_slices[::-1]
    axes.barh([item.description for item in shown], [item.gap for item in shown], color="tab:orange")
    axes.set_title(f"Gap of the worst of {report.slices_examined} slices", fontsize=9)
    axes.tick_params(labelsize=7)
