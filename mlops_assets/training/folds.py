"""Time-ordered validation: each fold scores its periods with a model that was fitted on all earlier rows."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.products.candidates import Candidate
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from mlops_assets.training.fit import Fitted, fit
from mlops_assets.training.metrics import Array, Groups, mean_score
from mlops_assets.training.split import PERIOD

FOLDS = 3


@dataclass(frozen=True)
class Validated:
    """Scores of the folds so far, (n,) or (n, classes), in the order of the folds, and their cost.

    fitted: the model of the last of them."""

    scores: Array
    fit_seconds: float
    predict_seconds: float
    fitted: Fitted


def validation_folds(periods: list[str]) -> list[list[str]]:
    """The last half of the periods in `FOLDS` adjacent groups, oldest first.

    >>> validation_folds(["a", "b", "c", "d", "e", "f"])
    [['d'], ['e'], ['f']]
    """
    validated = len(periods) // 2
    if validated < FOLDS:
        raise NothingToLearnFrom(
            f"{len(periods)} periods to fit are too few for {FOLDS} validation folds: {2 * FOLDS} are needed. "
            "Lengthen training_window."
        )
    return [part.tolist() for part in np.array_split(np.array(periods[-validated:]), FOLDS)]


def validate(
    product: ModelProduct, candidate: Candidate, rows: pl.DataFrame, folds: list[list[str]], classes: tuple[str, ...]
) -> Iterator[Validated]:
    """Yields after each fold the scores of all folds so far, so that the caller may stop early."""
    scores, fit_seconds, predict_seconds = [], 0.0, 0.0
    for fold in folds:
        fitted = fit(product, candidate, rows.filter(pl.col(PERIOD) < fold[0]))
        fit_seconds += fitted.seconds
        started = time.perf_counter()
        latest = fitted.scores(rows.filter(pl.col(PERIOD).is_in(fold)))
        scores.append(_aligned(latest, fitted.classes, classes) if product.task is Task.MULTICLASS else latest)
        predict_seconds += time.perf_counter() - started
        yield Validated(np.concatenate(scores), fit_seconds, predict_seconds, fitted)


def fold_score(product: ModelProduct, labels: Array, scores: Array, folds: Groups) -> float:
    """The mean of the primary metric over the folds, negated for errors so that more is better; NaN if none can be scored.

    folds: (n,) the number of each row's fold."""
    try:
        return product.primary_metric.sign * mean_score(product.metric, product.task, labels, scores, folds)
    except NothingToLearnFrom:
        return float("nan")


def _aligned(scores: Array, fitted: tuple[str, ...], classes: tuple[str, ...]) -> Array:
    """Scores with a column per class of all folds; a class that the fitted model does not have gets probability 0."""
    aligned = np.zeros((len(scores), len(classes)))
    aligned[:, [classes.index(name) for name in fitted]] = scores
    return aligned
