"""Trains a version: fits the recipe, converts it to ONNX, and profiles its training window for the bundle."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import msgspec
import numpy as np
import polars as pl

from mlops_assets.data.labels import LABEL
from mlops_assets.drift.profile import build_profiles, windows_of
from mlops_assets.drift.reference import ReferenceProfile, build_reference
from mlops_assets.drift.windows import reference_window
from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.products.candidates import Candidate
from mlops_assets.products.feature_view import Feature, FeatureKind
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task, metrics_of
from mlops_assets.state.encoding import encode
from mlops_assets.state.manifest import ESTIMATOR, MODEL, REFERENCE, Input
from mlops_assets.training.conversion import to_onnx
from mlops_assets.training.fit import PREDICTION, Fitted, fit, label_codes, predicted
from mlops_assets.training.metrics import score
from mlops_assets.training.serialization import dumps_trusted
from mlops_assets.training.split import FIT, PERIOD, SPLIT, TEST


@dataclass(frozen=True)
class Trained:
    """A fitted candidate as the files of its bundle.

    metrics: on the test split. spread_percent: week-to-week standard deviation of the primary metric, in percent of
    its mean. baseline: `typical` of the manifest. shift_since, fitted_until, tested_from: see `Manifest`."""

    fitted: Fitted
    files: dict[str, bytes]
    rows: int
    metrics: dict[str, float]
    spread_percent: float
    baseline: tuple[float | None, ...]
    shift_since: str = ""
    fitted_until: datetime | None = None
    tested_from: datetime | None = None


@dataclass(frozen=True)
class LaterPeriods:
    """How a model that was fitted on earlier periods scores later ones. predictions: columns `prediction`, `window`."""

    spread_percent: float
    predictions: pl.DataFrame


def train(
    product: ModelProduct,
    candidate: Candidate,
    training_set: pl.DataFrame,
    on_progress: Callable[[str], None] = lambda _: None,
    shift_since: str = "",
) -> Trained:
    """Fit and convert the candidate, and meanwhile profile the training window for monitoring.

    shift_since: first period of the shift that the training set was split for, "" for the usual split.
    Raises NotConvertible if the estimator has no ONNX form."""
    rows = training_set.filter(pl.col(SPLIT) == FIT)

    def profile_window() -> tuple[LaterPeriods, bytes]:
        later = score_later_periods(product, candidate, rows, shift_since)
        return later, msgspec.json.encode(profile_training_window(product, rows, later), order="deterministic")

    on_progress(
        f"fitting {candidate.name} on {rows.height:,} rows, and measuring how much the score varies from week to week"
    )
    with ThreadPoolExecutor(1, thread_name_prefix="window") as background:
        profiling = background.submit(profile_window)
        fitted = fit(product, candidate, rows)
        on_progress(f"fitted in {fitted.seconds:.1f} s; converting to ONNX")
        files = {
            MODEL: to_onnx(fitted.estimator, product.task, len(fitted.inputs), fitted.candidate.to_onnx),
            ESTIMATOR: dumps_trusted(fitted.estimator, product),
        }
        later, files[REFERENCE] = profiling.result()
    test = training_set.filter(pl.col(SPLIT) == TEST)
    labels, scores = label_codes(product.task, test[LABEL], fitted.classes), fitted.scores(test)
    metrics = {name: score(name, product.task, labels, scores) for name in metrics_of(product.task)}
    return Trained(
        fitted,
        files,
        rows.height,
        metrics,
        later.spread_percent,
        baseline_row(rows, fitted.inputs),
        shift_since,
        _as_datetime(rows[product.event_timestamp].max()),
        _as_datetime(test[product.event_timestamp].min()),
    )


def baseline_row(rows: pl.DataFrame, inputs: tuple[Input, ...]) -> tuple[float | None, ...]:
    """Median of each number, code of the most frequent category; None if every value is null. (inputs,)"""
    baseline: list[float | None] = []
    for item, column in zip(inputs, encode(rows, inputs).T, strict=True):
        finite = column[np.isfinite(column)]
        if not len(finite):
            baseline.append(None)
        elif item.kind is FeatureKind.NUMERIC:
            baseline.append(float(np.median(finite)))
        else:
            codes, counts = np.unique(finite, return_counts=True)
            baseline.append(float(codes[counts.argmax()]))
    return tuple(baseline)


def profile_training_window(product: ModelProduct, rows: pl.DataFrame, later: LaterPeriods) -> ReferenceProfile:
    """The reference for drift: inputs and labels of the fitted rows, and predictions for periods after a fit."""
    window = reference_window(product, rows)
    order = tuple(dict.fromkeys((product.event_timestamp, *product.entity_key)))
    inputs = build_reference(rows, product.inputs, window, lookups=product.lookups, order=order)
    label_column = Feature(LABEL, kind=_kind(product.task is Task.MULTICLASS))
    (label,) = build_profiles(windows_of(rows.select(LABEL), window), [label_column])
    score_profile = None
    if later.predictions.height:
        score_column = Feature(PREDICTION, kind=_kind(product.task is Task.MULTICLASS))
        (score_profile,) = build_profiles(windows_of(later.predictions, "window"), [score_column])
    return msgspec.structs.replace(inputs, label=label, score=score_profile)


def score_later_periods(
    product: ModelProduct, candidate: Candidate, rows: pl.DataFrame, shift_since: str = ""
) -> LaterPeriods:
    """Fit on the first half of the periods and score each later one, for the natural variation of the metric.

    The spread is the standard deviation over those periods in percent of their mean; 0 with fewer than three of them. The
    effect of a shift is not natural variation, so periods from `shift_since` on are left out of the spread."""
    periods = rows[PERIOD].unique().sort().to_list()
    later = periods[len(periods) // 2 :]
    fitted = fit(product, candidate, rows.filter(pl.col(PERIOD) < later[0]))
    unseen = rows.filter(pl.col(PERIOD) >= later[0])
    scores = fitted.scores(unseen)
    labels = label_codes(product.task, unseen[LABEL], fitted.classes)
    period_scores = []
    for period in later:
        if shift_since and period >= shift_since:
            break
        part = (unseen[PERIOD] == period).to_numpy()
        try:
            period_scores.append(score(product.metric, product.task, labels[part], scores[part]))
        except NothingToLearnFrom:
            continue  # a period with one class only has no score
    has_spread = len(period_scores) >= 3
    spread = float(100 * np.std(period_scores, ddof=1) / abs(np.mean(period_scores))) if has_spread else 0.0
    predictions = pl.DataFrame([predicted(product.task, scores, fitted.classes), reference_window(product, unseen)])
    return LaterPeriods(spread, predictions)


def _as_datetime(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None


def _kind(is_category: bool) -> FeatureKind:
    return FeatureKind.CATEGORICAL if is_category else FeatureKind.NUMERIC
