"""Experiment: compares every candidate on the same time-ordered validation folds, and says which differences are noise."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import polars as pl

from mlops_assets.data.labels import LABEL
from mlops_assets.errors import NotConvertible
from mlops_assets.products.candidates import Candidate
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.training import Leaderboard, Trial
from mlops_assets.state.trials import Trials
from mlops_assets.training.bootstrap import paired_gain, score_with_interval
from mlops_assets.training.conversion import to_onnx
from mlops_assets.training.fit import class_names, label_codes
from mlops_assets.training.folds import FOLDS, Validated, fold_score, validate, validation_folds
from mlops_assets.training.metrics import Array, Groups
from mlops_assets.training.serialization import dumps
from mlops_assets.training.split import FIT, PERIOD, SPLIT
from mlops_assets.training.tuning import Best, Tuned, study_name, tune

__all__ = ["FOLDS", "run_experiment", "validation_folds"]


def run_experiment(
    product: ModelProduct,
    as_of: str,
    training_set: pl.DataFrame,
    on_progress: Callable[[str], None] = lambda _: None,
    *,
    trials: Trials | None = None,
) -> Leaderboard:
    """Compare the product's candidates on the last periods of the fit split, never on the test window.

    Each fold fits on everything before it and scores the periods in it. The score is the mean over the folds; its interval
    and the paired difference to the best come from resampling the days of each fold. on_progress: gets one line per trial.
    trials: the store from which a killed search continues; None: trials are not stored.
    Raises NothingToLearnFrom if the fit split has too few periods for the folds."""
    rows = training_set.filter(pl.col(SPLIT) == FIT)
    folds = validation_folds(rows[PERIOD].unique().sort().to_list())
    classes = class_names(product.task, rows[LABEL])
    parts = [rows.filter(pl.col(PERIOD).is_in(fold)) for fold in folds]
    validation, fold_of = pl.concat(parts), np.repeat(np.arange(len(parts)), [part.height for part in parts])
    labels, days = label_codes(product.task, validation[LABEL], classes), validation[product.event_timestamp].dt.date()

    def score_of(validated: Validated) -> float:
        count = len(validated.scores)
        return fold_score(product, labels[:count], validated.scores, fold_of[:count])

    def validated(candidate: Candidate) -> Iterator[Validated]:
        return validate(product, candidate, rows, folds, classes)

    data = str(rows.hash_rows(seed=0).sum())
    tuned = tune(product, validated, score_of, on_progress, study_name(product, as_of, data), trials)
    sizes = {name: _size(product, best) for name, best in tuned.best.items()}
    ranked = _ranked(product, tuned, labels, days, fold_of, sizes)
    starts = tuple(keys[0] for keys in folds)
    return Leaderboard(product.name, as_of, product.metric, starts, rows.height, ranked, tuned.searched, tuned.ended_by)


def _ranked(
    product: ModelProduct,
    tuned: Tuned,
    labels: Array,
    days: pl.Series,
    folds: Groups,
    sizes: Mapping[str, int | None],
) -> tuple[Trial, ...]:
    """Best first, each with its interval and its paired difference to the best."""
    metric, task = product.metric, product.task
    results = {
        name: score_with_interval(metric, task, labels, candidate.validated.scores, days, groups=folds)
        for name, candidate in tuned.best.items()
    }
    sign = product.primary_metric.sign
    best = max(results, key=lambda name: sign * results[name].value)
    trials = []
    for name, tuned_candidate in tuned.best.items():
        validated, result = tuned_candidate.validated, results[name]
        best_scores = tuned.best[best].validated.scores
        behind = paired_gain(metric, task, labels, best_scores, validated.scores, days, groups=folds, confidence=0.95)
        trials.append(
            Trial(
                name,
                tuned_candidate.candidate.estimator,
                dict(tuned_candidate.candidate.hyperparameters),
                result.value,
                result.low,
                result.high,
                behind.value,
                behind.low,
                behind.high,
                behind.low <= 0,
                validated.fit_seconds,
                1e6 * validated.predict_seconds / len(labels),
                sizes[name],
                sum(item.candidate == name for item in tuned.searched),
            )
        )
    return tuple(sorted(trials, key=lambda trial: trial.behind_best))


def _size(product: ModelProduct, best: Best) -> int | None:
    """Bytes of the model and the estimator of the last fold; None if the estimator has no ONNX form."""
    fitted = best.validated.fitted
    try:
        return len(to_onnx(fitted.estimator, product.task, len(fitted.inputs), fitted.candidate.to_onnx)) + len(
            dumps(fitted.estimator)
        )
    except NotConvertible:
        return None
