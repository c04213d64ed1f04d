"""Trains a version: fit the recipe, convert it, profile its training window, seal the bundle."""

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
    its mean. typical, shift_since, fitted_until, tested_from: see `Manifest`."""

    fitted: Fitted
    files: dict[str, bytes]
    rows: int
    metrics: dict[str, float]
    spread_percent: float
    typical: tuple[float | None, ...]
    shift_since: str = ""
    fitted_until: datetime | None = None
    tested_from: datetime | None = None


@dataclass(frozen=True)
class LaterPeriods:
    """What a fit on earlier periods scored in later ones. predictions: columns `prediction`, `window`, (rows, 2)."""

    spread_percent: float
    predictions: pl.DataFrame


def train(
    product: ModelProduct,
    candidate: Candidate,
    training_set: pl.DataFrame,
    on_progress: Callable[[str], None] = lambda _: None,
    shift_since: str = "",
) -> Trained:
    """Fit and convert the candidate; what monitoring needs of the training window is measured at the same time.

    shift_since: first period of the shift that the training set was split for, "" where it was split as usual.
    Raises NotConvertible: the estimator has no ONNX form."""
    rows = training_set.filter(pl.col(SPLIT) == FIT)

    def look_at_window() -> tuple[LaterPeriods, bytes]:
        later = score_later_periods(product, candidate, rows, shift_since)
        return later, msgspec.json.encode(profile_training_window(product, rows, later), order="deterministic")

    on_progress(
        f"fitting {candidate.name} on {rows.height:,} rows; beside it, how much the score varies from week to week"
    )
    with ThreadPoolExecutor(1, thread_name_prefix="window") as beside:
        looking = beside.submit(look_at_window)
        fitted = fit(product, candidate, rows)
        on_progress(f"fitted in {fitted.seconds:.1f} s; converting to ONNX")
        files = {
            MODEL: to_onnx(fitted.estimator, product.task, len(fitted.inputs), fitted.candidate.to_onnx),
            ESTIMATOR: dumps_trusted(fitted.estimator, product),
        }
        later, files[REFERENCE] = looking.result()
    test = training_set.filter(pl.col(SPLIT) == TEST)
    labels, scores = label_codes(product.task, test[LABEL], fitted.classes), fitted.scores(test)
    metrics = {name: score(name, product.task, labels, scores) for name in metrics_of(product.task)}
    return Trained(
        fitted,
        files,
        rows.height,
        metrics,
        later.spread_percent,
        typical_row(rows, fitted.inputs),
        shift_since,
        _moment(rows[product.event_timestamp].max()),
        _moment(test[product.event_timestamp].min()),
    )


def typical_row(rows: pl.DataFrame, inputs: tuple[Input, ...]) -> tuple[float | None, ...]:
    """Median of each number, code of the most frequent category; None where every value is null. (inputs,)"""
    typical: list[float | None] = []
    for item, column in zip(inputs, encode(rows, inputs).T, strict=True):
        known = column[np.isfinite(column)]
        if not len(known):
            typical.append(None)
        elif item.kind is FeatureKind.NUMERIC:
            typical.append(float(np.median(known)))
        else:
            codes, counts = np.unique(known, return_counts=True)
            typical.append(float(codes[counts.argmax()]))
    return tuple(typical)


def profile_training_window(product: ModelProduct, rows: pl.DataFrame, later: LaterPeriods) -> ReferenceProfile:
    """The reference that drift is measured against: inputs and labels of the fitted rows, and scores of unseen periods."""
    window = reference_window(product, rows)
    order = tuple(dict.fromkeys((product.event_timestamp, *product.entity_key)))
    inputs = build_reference(rows, product.inputs, window, lookups=product.lookups, order=order)
    named = Feature(LABEL, kind=_kind(product.task is Task.MULTICLASS))
    (label,) = build_profiles(windows_of(rows.select(LABEL), window), [named])
    score_profile = None
    if later.predictions.height:
        of_scores = Feature(PREDICTION, kind=_kind(product.task is Task.MULTICLASS))
        (score_profile,) = build_profiles(windows_of(later.predictions, "window"), [of_scores])
    return msgspec.structs.replace(inputs, label=label, score=score_profile)


def score_later_periods(
    product: ModelProduct, candidate: Candidate, rows: pl.DataFrame, shift_since: str = ""
) -> LaterPeriods:
    """Fit on the first half of the periods and score each later one: how much metric and scores vary by themselves.

    The spread is the standard deviation over those periods in percent of their mean; 0 with fewer than three of them. What
    a shift does to the score is no variation by itself: periods from `shift_since` on are left out of it."""
    periods = rows[PERIOD].unique().sort().to_list()
    later = periods[len(periods) // 2 :]
    fitted = fit(product, candidate, rows.filter(pl.col(PERIOD) < later[0]))
    unseen = rows.filter(pl.col(PERIOD) >= later[0])
    scores = fitted.scores(unseen)
    labels = label_codes(product.task, unseen[LABEL], fitted.classes)
    found = []
    for period in later:
        if shift_since and period >= shift_since:
            break
        part = (unseen[PERIOD] == period).to_numpy()
        try:
            found.append(score(product.metric, product.task, labels[part], scores[part]))
        except NothingToLearnFrom:
            continue  # a period with one class only says nothing about the spread
    spread = float(100 * np.std(found, ddof=1) / abs(np.mean(found))) if len(found) >= 3 else 0.0
    predictions = pl.DataFrame([predicted(product.task, scores, fitted.classes), reference_window(product, unseen)])
    return LaterPeriods(spread, predictions)


def _moment(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None


def _kind(is_category: bool) -> FeatureKind:
    return FeatureKind.CATEGORICAL if is_category else FeatureKind.NUMERIC
