"""Experiment: every candidate on the same time-ordered validation folds, and which differences are noise."""

import time
from collections.abc import Callable

import msgspec
import numpy as np
import polars as pl

from mlops_assets.data.labels import LABEL
from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.products.candidates import Candidate
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from mlops_assets.training.fit import class_names, fit, label_codes
from mlops_assets.training.metrics import Array, paired_gain, score_with_interval
from mlops_assets.training.split import FIT, PERIOD, SPLIT

FOLDS = 3


class Trial(msgspec.Struct, frozen=True):
    """One candidate's validation: mean score with its interval, how far behind the best with its interval, cost."""

    candidate: str
    estimator: str
    hyperparameters: dict[str, int | float | str | bool | None]
    score: float
    low: float
    high: float
    behind_best: float
    behind_low: float
    behind_high: float
    is_tied_with_best: bool
    fit_seconds: float
    microseconds_per_row: float


class Leaderboard(msgspec.Struct, frozen=True):
    """Trials, best first. `as_of`: the partition whose training window was searched."""

    product: str
    as_of: str
    metric: str
    folds: tuple[str, ...]
    rows: int
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        return self.trials[0]


def run_experiment(
    product: ModelProduct, as_of: str, training_set: pl.DataFrame, told: Callable[[str], None] = lambda _: None
) -> Leaderboard:
    """Compare the product's candidates on the last periods of the fit split, never on the test window.

    Each fold fits on everything before it and scores the periods in it; scores are pooled over folds and their interval
    and the paired difference to the best come from resampling days. `told` hears one line of progress per candidate.
    Raises NothingToLearnFrom: the fit split has too few periods for the folds."""
    rows = training_set.filter(pl.col(SPLIT) == FIT)
    folds = validation_folds(rows[PERIOD].unique().sort().to_list())
    classes = class_names(product.task, rows[LABEL])
    labels, days = _pooled(product, rows, folds, classes)
    scored = {}
    for number, candidate in enumerate(product.candidates, 1):
        scored[candidate.name] = _validate(product, candidate, rows, folds, classes)
        told(f"candidate {number} of {len(product.candidates)}, {candidate.name}: fitted on {FOLDS} folds")
    metric, task = product.metric, product.task
    results = {name: score_with_interval(metric, task, labels, made[0], days) for name, made in scored.items()}
    sign = 1 if product.primary_metric.more_is_better else -1
    best = max(results, key=lambda name: sign * results[name].value)
    trials = []
    for candidate in product.candidates:
        scores, fit_seconds, predict_seconds = scored[candidate.name]
        behind = paired_gain(metric, task, labels, scored[best][0], scores, days, confidence=0.95)
        result = results[candidate.name]
        trials.append(
            Trial(
                candidate.name,
                candidate.estimator,
                dict(candidate.hyperparameters),
                result.value,
                result.low,
                result.high,
                behind.value,
                behind.low,
                behind.high,
                behind.low <= 0,
                fit_seconds,
                1e6 * predict_seconds / len(labels),
            )
        )
    trials.sort(key=lambda trial: trial.behind_best)
    return Leaderboard(product.name, as_of, metric, tuple(keys[0] for keys in folds), rows.height, tuple(trials))


def validation_folds(periods: list[str]) -> list[list[str]]:
    """The last half of the periods in `FOLDS` adjacent groups, oldest first.

    >>> validation_folds(["a", "b", "c", "d", "e", "f"])
    [['d'], ['e'], ['f']]
    """
    held = len(periods) // 2
    if held < FOLDS:
        raise NothingToLearnFrom(
            f"{len(periods)} periods to fit are too few for {FOLDS} validation folds: {2 * FOLDS} are needed. "
            "Lengthen training_window."
        )
    return [part.tolist() for part in np.array_split(np.array(periods[-held:]), FOLDS)]


def _validate(  # type: ignore[no-untyped-def]
    product: ModelProduct, candidate: Candidate, rows: pl.DataFrame, folds: list[list[str]], classes: tuple[str, ...]
):
    scores, fit_seconds, predict_seconds = [], 0.0, 0.0
    for fold in folds:
        fitted = fit(product, candidate, rows.filter(pl.col(PERIOD) < fold[0]))
        fit_seconds += fitted.seconds
        started = time.perf_counter()
        found = fitted.scores(rows.filter(pl.col(PERIOD).is_in(fold)))
        scores.append(_aligned(found, fitted.classes, classes) if product.task is Task.MULTICLASS else found)
        predict_seconds += time.perf_counter() - started
    return np.concatenate(scores), fit_seconds, predict_seconds


def _aligned(scores: Array, fitted: tuple[str, ...], classes: tuple[str, ...]) -> Array:
    """A class that appears only after the fold's training rows has probability 0."""
    aligned = np.zeros((len(scores), len(classes)))
    aligned[:, [classes.index(name) for name in fitted]] = scores
    return aligned


def _pooled(  # type: ignore[no-untyped-def]
    product: ModelProduct, rows: pl.DataFrame, folds: list[list[str]], classes: tuple[str, ...]
):
    held = pl.concat([rows.filter(pl.col(PERIOD).is_in(fold)) for fold in folds])
    return label_codes(product.task, held[LABEL], classes), held[product.event_timestamp].dt.date()
