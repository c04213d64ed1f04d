"""Fits a candidate on rows of a training set, and encodes inputs, labels and predictions for it."""

import time
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mlops_assets.data.labels import LABEL
from mlops_assets.products.candidates import Candidate
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from mlops_assets.state.calibration import Calibration
from mlops_assets.state.encoding import encode
from mlops_assets.state.manifest import Input
from mlops_assets.training.calibration import fit_calibration, split_in_time
from mlops_assets.training.candidates import Estimator, fit_options, make_estimator

PREDICTION = "prediction"
# A smaller matrix is fitted by one thread of OpenMP and BLAS: threads that wait for each other thousands of times cost more than
# they save, on an idle machine because they have to be woken, on a busy one because they wait for a core.
SINGLE_THREAD_CELLS = 10_000_000


@dataclass(frozen=True)
class Fitted:
    """A fitted estimator, its inputs, its classes in code order, the seconds of the fit, and the calibration of its
    probabilities if the product declares one."""

    candidate: Candidate
    estimator: Estimator
    inputs: tuple[Input, ...]
    classes: tuple[str, ...]
    task: Task
    seconds: float
    calibration: Calibration | None = None

    def scores(self, features: pl.DataFrame) -> NDArray[np.float64]:
        """(n,) probability of class 1 or prediction; (n, classes) for multiclass."""
        return estimator_scores(self.estimator, self.task, encode(features, self.inputs), self.calibration)


def fit(product: ModelProduct, candidate: Candidate, rows: pl.DataFrame) -> Fitted:
    """Fit on rows of a training set (inputs and label)."""
    candidate = product.as_declared(candidate)
    inputs = learn_inputs(product, rows)
    classes = class_names(product.task, rows[LABEL])
    earlier, later = split_in_time(rows) if product.calibrate else (rows, None)
    matrix, labels = encode(earlier, inputs), label_codes(product.task, earlier[LABEL], classes)
    if candidate.estimator == "gradient_boosting":
        # scikit-learn 1.9 refuses a column without any value; no tree ever splits by a constant one
        matrix[:, np.isnan(matrix).all(axis=0)] = 0
    estimator = make_estimator(candidate, product.task, inputs, product.seed, product.declared_estimators)
    started = time.perf_counter()
    with threadpool_limits(1 if matrix.size < SINGLE_THREAD_CELLS else None):
        estimator.fit(matrix, labels, **fit_options(candidate, inputs))
    calibration = None
    if later is not None:
        probabilities = estimator_scores(estimator, product.task, encode(later, inputs))
        calibration = fit_calibration(probabilities, label_codes(product.task, later[LABEL], classes))
    seconds = time.perf_counter() - started
    return Fitted(candidate, estimator, inputs, classes, product.task, seconds, calibration)


def learn_inputs(product: ModelProduct, rows: pl.DataFrame) -> tuple[Input, ...]:
    """The model's signature: every input with its categories in these rows, in alphabetical order."""
    return tuple(
        Input(
            feature.name,
            feature.kind,
            feature.unit,
            tuple(rows[feature.name].drop_nulls().unique().sort().to_list())
            if feature.kind is FeatureKind.CATEGORICAL
            else (),
        )
        for feature in product.inputs
    )


def class_names(task: Task, labels: pl.Series) -> tuple[str, ...]:
    if task is Task.REGRESSION:
        return ()
    return ("false", "true") if task is Task.BINARY else tuple(labels.drop_nulls().unique().sort().to_list())


def label_codes(task: Task, labels: pl.Series, classes: tuple[str, ...]) -> NDArray[np.float64]:
    """Labels as numbers: the value itself, or the position of the class; NaN for a class that is not among `classes`."""
    if task is Task.MULTICLASS:
        codes = dict(zip(classes, map(float, range(len(classes))), strict=True))
        labels = labels.replace_strict(codes, default=None, return_dtype=pl.Float64)
    return labels.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def predicted(task: Task, scores: NDArray[np.float64], classes: tuple[str, ...]) -> pl.Series:
    """The prediction of each row as one column whose drift can be measured: the probability of class 1, the value, or the
    most probable class. scores: (n,) or, for multiclass, (n, classes)."""
    if task is Task.MULTICLASS:
        most_probable = scores.reshape(-1, len(classes)).argmax(axis=1)
        return pl.Series(PREDICTION, [classes[code] for code in most_probable], dtype=pl.String)
    return pl.Series(PREDICTION, scores, dtype=pl.Float64)


def estimator_scores(
    estimator: Estimator, task: Task, matrix: NDArray[np.float32], calibration: Calibration | None = None
) -> NDArray[np.float64]:
    """The scores of the estimator that `Bundle.score` has to reproduce for the same matrix."""
    if task is Task.REGRESSION:
        return np.asarray(estimator.predict(matrix), dtype=np.float64).reshape(-1)
    probabilities = np.asarray(estimator.predict_proba(matrix), dtype=np.float64)  # type: ignore[attr-defined]
    if task is Task.MULTICLASS:
        return probabilities
    return probabilities[:, 1] if calibration is None else calibration.apply(probabilities[:, 1])
