"""Calibrated probabilities: Platt's sigmoid over an estimator's log-odds, fitted on later rows than the estimator."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.training.split import PERIOD

# added to both sides of the odds: near 0 and 1 the log-odds of two float32 neighbours lie far apart, and would tell an
# estimator and its ONNX form apart by more than 1e-5; so they differ by at most 4e-6, whatever the slope, and keep their order
SOFTENED = 5e-4
SHARE = 5  # the last fifth of the periods calibrates, at least one of them
LEAST = 25  # rows of either outcome that are needed; fewer draw the sigmoid anywhere


def split_in_time(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows to fit on, and the later ones to calibrate on: whole periods. Raises NothingToLearnFrom: there is one only."""
    periods = rows[PERIOD].unique().sort()
    if len(periods) < 2:
        raise NothingToLearnFrom("one period cannot be fitted on and calibrated on. Lengthen training_window.")
    first = periods[-max(1, len(periods) // SHARE)]
    return rows.filter(pl.col(PERIOD) < first), rows.filter(pl.col(PERIOD) >= first)


def calibrated(estimator: Any, matrix: NDArray[np.float32], labels: NDArray[np.float64]) -> Any:
    """scikit-learn's CalibratedClassifierCV around the fitted estimator, which stays as it is (Platt 1999).

    matrix, labels: later rows, (n, inputs) and (n,). Raises NothingToLearnFrom: too few rows of one outcome."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    from mlops_assets.training.log_odds import LogOdds

    fewest = min(int(labels.sum()), int(len(labels) - labels.sum()))
    if fewest < LEAST:
        raise NothingToLearnFrom(
            f"the periods to calibrate on hold {fewest} rows of one outcome, {LEAST} are needed. Lengthen training_window, "
            "or declare calibrate=False."
        )
    return CalibratedClassifierCV(FrozenEstimator(LogOdds(estimator)), method="sigmoid").fit(matrix, labels)


def parts_of(estimator: Any) -> tuple[Any, float, float] | None:
    """The estimator inside, and slope and intercept over its log-odds; None where `calibrated` did not make it."""
    from mlops_assets.training.log_odds import LogOdds

    held = getattr(getattr(estimator, "estimator", None), "estimator", None)
    if not isinstance(held, LogOdds):
        return None
    (fitted,) = estimator.calibrated_classifiers_
    (sigmoid,) = fitted.calibrators
    return held.estimator, -float(sigmoid.a_), -float(sigmoid.b_)
