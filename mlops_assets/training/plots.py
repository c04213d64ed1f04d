"""Plots of an experiment for asset metadata."""

from typing import TYPE_CHECKING

from mlops_assets.records.training import Leaderboard

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def leaderboard_figure(board: Leaderboard) -> "Figure":
    """Score of every candidate with its interval, best on top."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 0.6 * len(board.trials) + 1))
    axes = figure.subplots()
    for row, trial in enumerate(reversed(board.trials)):
        colour = "tab:blue" if trial.is_tied_with_best else "tab:gray"
        axes.plot([trial.low, trial.high], [row, row], color=colour)
        axes.plot([trial.score], [row], "o", color=colour)
    axes.margins(y=0.3)
    axes.set_yticks(range(len(board.trials)), [trial.candidate for trial in reversed(board.trials)])
    axes.set_xlabel(f"{board.metric} on {len(board.folds)} later folds, 95 % interval")
    axes.set_title(f"Candidates of {board.product}; grey: behind the best beyond noise", fontsize=9)
    return figure
