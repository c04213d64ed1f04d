"""Pictures of a test report for asset metadata."""

from typing import TYPE_CHECKING

from mlops_assets.testing.report import TestReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def test_report_figure(report: TestReport) -> "Figure":
    """Calibration (binary) beside the importance of the inputs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    axes = figure.subplots(1, 2 if report.calibration else 1, squeeze=False)[0]
    if report.calibration:
        axes[0].plot([0, 1], [0, 1], color="lightgray")
        axes[0].plot([b.predicted for b in report.calibration], [b.observed for b in report.calibration], "o-")
        axes[0].set_xlabel("predicted probability")
        axes[0].set_ylabel("observed share")
        axes[0].set_title("Calibration", fontsize=9)
    shown = list(report.importance.items())[:12][::-1]
    axes[-1].barh([name for name, _ in shown], [loss for _, loss in shown])
    axes[-1].set_title("Loss of the primary metric when the input is shuffled", fontsize=9)
    axes[-1].tick_params(labelsize=7)
    return figure
