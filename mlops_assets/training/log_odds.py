"""A fitted classifier as scikit-learn's calibration asks it: for the log-odds of class 1."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from mlops_assets.training.calibration import SOFTENED


class LogOdds(ClassifierMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn is untyped
    """Around a fitted classifier, which stays as it is.

    scikit-learn would take `decision_function` of one and the probability of another: a sigmoid over a probability cannot
    leave what is calibrated already as it is, over log-odds it can (slope 1, intercept 0)."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def __sklearn_is_fitted__(self) -> bool:
        return True

    @property
    def classes_(self) -> NDArray[np.float64]:
        return np.asarray(self.estimator.classes_)

    def fit(self, X: Any, y: Any) -> "LogOdds":  # noqa: N803 (sklearn's)
        raise NotImplementedError("what it holds is fitted already")

    def decision_function(self, X: Any) -> NDArray[np.float64]:  # noqa: N803 (sklearn's)
        likely = np.asarray(self.estimator.predict_proba(X), dtype=np.float64)[:, 1]
        return np.asarray(np.log((likely + SOFTENED) / (1 - likely + SOFTENED)))

    def predict(self, X: Any) -> Any:  # noqa: N803 (sklearn's)
        return self.estimator.predict(X)
