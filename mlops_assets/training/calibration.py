"""Fits the calibration of a version: Platt's sigmoid, on later rows than the estimator was fitted on."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.state.calibration import Calibration, log_odds
from mlops_assets.training.split import PERIOD

SHARE = 5  # the last fifth of the periods calibrates, at least one of them
MIN_ROWS = 25  # rows of either outcome that are needed; fewer draw the sigmoid anywhere


def split_in_time(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows to fit on, and the later ones to calibrate on: whole periods. Raises NothingToLearnFrom: there is one only."""
    periods = rows[PERIOD].unique().sort()
    if len(periods) < 2:
        raise NothingToLearnFrom(
            "the training window holds one period only, and calibration needs another one. Lengthen training_window."
        )
    first = periods[-max(1, len(periods) // SHARE)]
    return rows.filter(pl.col(PERIOD) < first), rows.filter(pl.col(PERIOD) >= first)


def fit_calibration(probabilities: NDArray[np.float64], labels: NDArray[np.float64]) -> Calibration:
    """The sigmoid over log-odds that fits the labels best (Platt 1999, with his softened targets).

    probabilities, labels: of class 1 on later rows, (n,) each. Raises NothingToLearnFrom: too few rows of one outcome."""
    from sklearn.linear_model import LogisticRegression

    late = int(labels.sum())
    fewest = min(late, len(labels) - late)
    if fewest < MIN_ROWS:
        raise NothingToLearnFrom(
            f"the periods to calibrate on hold {fewest} rows of one outcome, {MIN_ROWS} are needed. Lengthen training_window, "
            "or declare calibrate=False."
        )
    # a target between 0 and 1 is a row of either class, weighted by it
    targets = np.where(labels > 0, (late + 1) / (late + 2), 1 / (len(labels) - late + 2))
    column = log_odds(probabilities).reshape(-1, 1)
    sigmoid = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1_000).fit(
        np.concatenate([column, column]),
        np.repeat([1, 0], len(labels)),
        sample_weight=np.concatenate([targets, 1 - targets]),
    )
    return Calibration(float(sigmoid.coef_[0, 0]), float(sigmoid.intercept_[0]))
