"""Fits the calibration of a version: Platt's sigmoid, on rows after those that the estimator was fitted on."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.state.calibration import Calibration, log_odds
from mlops_assets.training.split import PERIOD

SHARE = 5  # the last fifth of the periods, at least one, is used for calibration
MIN_ROWS = 25  # of either outcome; fewer rows do not determine the sigmoid


def split_in_time(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows to fit on, and later rows to calibrate on, in whole periods. Raises NothingToLearnFrom if there is only one."""
    periods = rows[PERIOD].unique().sort()
    if len(periods) < 2:
        raise NothingToLearnFrom(
            "the training window holds only one period, and calibration needs another one. Lengthen training_window."
        )
    first = periods[-max(1, len(periods) // SHARE)]
    return rows.filter(pl.col(PERIOD) < first), rows.filter(pl.col(PERIOD) >= first)


def fit_calibration(probabilities: NDArray[np.float64], labels: NDArray[np.float64]) -> Calibration:
    """The sigmoid over log-odds that fits the labels best (Platt 1999, with his softened targets).

    probabilities, labels: of class 1 on the later rows, (n,) each. Raises NothingToLearnFrom if one outcome has too few rows."""
    from sklearn.linear_model import LogisticRegression

    positives = int(labels.sum())
    fewest = min(positives, len(labels) - positives)
    if fewest < MIN_ROWS:
        raise NothingToLearnFrom(
            f"the periods to calibrate on hold {fewest} rows of one outcome, {MIN_ROWS} are needed. Lengthen training_window, "
            "or declare calibrate=False."
        )
    # a target between 0 and 1 becomes a row of each class, weighted by the target
    targets = np.where(labels > 0, (positives + 1) / (positives + 2), 1 / (len(labels) - positives + 2))
    column = log_odds(probabilities).reshape(-1, 1)
    sigmoid = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1_000).fit(
        np.concatenate([column, column]),
        np.repeat([1, 0], len(labels)),
        sample_weight=np.concatenate([targets, 1 - targets]),
    )
    return Calibration(float(sigmoid.coef_[0, 0]), float(sigmoid.intercept_[0]))
