"""The score of a first model: the declared product trained and tested on windows of its past, as a retraining would do it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl

from mlops_assets.data.labels import LABEL, known_labels
from mlops_assets.errors import DataError, DeclarationError
from mlops_assets.features.build import features_of
from mlops_assets.products.candidates import dummy
from mlops_assets.products.product import ModelProduct
from mlops_assets.testing.leakage import probe_leakage
from mlops_assets.training.bootstrap import Score, score_with_interval
from mlops_assets.training.fit import class_names, fit, label_codes
from mlops_assets.training.split import FIT, SPLIT, TEST, build_training_set

WINDOWS = 3  # of the past: the first with enough rows for a training, one in the middle, the last
MOST_FIT_ROWS, MOST_TEST_ROWS = 20_000, 10_000
NEVER = datetime(9_000, 1, 1, tzinfo=UTC)  # by then every outcome is known


@dataclass(frozen=True)
class Baseline:
    """scores: of the best candidate in each window, oldest first. ranked: names of the candidates that beat a constant answer in
    every window, or else on average, best first. constant: the mean score of that answer. limit: of the gate, which each of them
    reaches. margin: smaller differences of scores do not count."""

    metric: str
    scores: tuple[Score, ...]
    ranked: tuple[str, ...]
    constant: float
    limit: float
    margin: float

    @property
    def value(self) -> float:
        return float(np.mean([score.value for score in self.scores]))

    @property
    def low(self) -> float:
        return min(score.low for score in self.scores)

    @property
    def high(self) -> float:
        return max(score.high for score in self.scores)


def past_windows(product: ModelProduct, rows: pl.DataFrame) -> list[pl.DataFrame]:
    """Training sets of a few partitions of the past. rows: the main table. Raises DeclarationError: none of them can be trained
    on."""
    features = features_of(product, rows.lazy().sort(product.event_timestamp), {}).lazy()
    labels = known_labels(product, rows.lazy(), NEVER).lazy()
    found, failures = [], []
    for cutoff in _cutoffs(product, rows):
        try:
            found.append(_thinned(build_training_set(product, features, labels, cutoff)))
        except DataError as error:
            failures.append(error)
    if not found:
        fact = str(failures[0]).partition(". ")[0]
        raise DeclarationError(
            f"{fact}, and no other part of the history can be trained on. Add history in which each outcome occurs early and late, or "
            "name another column with --label."
        )
    return found


def leakage_of(product: ModelProduct, windows: Sequence[pl.DataFrame]) -> Mapping[str, float]:
    """How well each input alone predicts the label, from 0 to 1: the highest value of the gate `leakage_probe` on any window, as
    the gate judges every training."""
    highest: dict[str, float] = {}
    for window in windows:
        fitted, tested = (window.filter(pl.col(SPLIT) == split) for split in (FIT, TEST))
        for name, skill in probe_leakage(
            product, fitted, tested, class_names(product.task, fitted[LABEL])
        ).skills.items():
            highest[name] = max(skill, highest.get(name, 0.0))
    return highest


def measure_baseline(
    product: ModelProduct, windows: list[pl.DataFrame], on_progress: Callable[[str], None] = lambda _: None
) -> Baseline:
    """Every candidate, and a constant answer, on every window."""
    scores: dict[str, list[Score]] = {}
    for candidate in (dummy(), *product.candidates):
        on_progress(f"baseline: {candidate.name}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of libraries would hide the remarks
            scores[candidate.name] = [_score(product, candidate, window) for window in windows]
    sign = product.primary_metric.sign
    values = {name: sign * np.array([score.value for score in found]) for name, found in scores.items()}
    constant = values.pop(dummy().name)
    by_mean = sorted(values, key=lambda name: -float(values[name].mean()))
    # an experiment may choose any of them, and one that fails in some part of the past is refused there
    reliable = [name for name in by_mean if bool((values[name] > constant).all())]
    beating = [name for name in by_mean if values[name].mean() > constant.mean()]
    ranked = tuple(reliable or beating or by_mean[:1])
    tested = [score for name in ranked for score in scores[name]]
    best = tuple(scores[ranked[0]])
    width = float(np.mean([(score.high - score.low) / 2 for score in best]))
    if sign > 0:
        limit = max(0.5, math.floor(100 * min(score.low for score in tested)) / 100)
        margin = max(0.01, round(width / 2, 2))
    else:
        limit = rounded(max(score.high for score in tested), math.ceil)
        margin = rounded(width / 2, math.ceil)
    return Baseline(product.metric, best, ranked, sign * float(constant.mean()), limit, margin)


def rounded(value: float, rounding: Callable[[float], int], digits: int = 2) -> float:
    """Rounded up or down to so many significant digits.

    >>> rounded(0.04123, math.ceil), rounded(1234.0, math.ceil)
    (0.042, 1300.0)
    """
    if not value:
        return 0.0
    exponent = math.floor(math.log10(abs(value))) - digits + 1
    return float(round(rounding(value / 10**exponent) * 10**exponent, max(0, -exponent)))


def _score(product: ModelProduct, candidate: object, window: pl.DataFrame) -> Score:
    from mlops_assets.products.candidates import Candidate

    assert isinstance(candidate, Candidate)
    fitted_rows, tested = (window.filter(pl.col(SPLIT) == split) for split in (FIT, TEST))
    fitted = fit(product, candidate, fitted_rows)
    labels = label_codes(product.task, tested[LABEL], fitted.classes)
    days = tested[product.event_timestamp].dt.date()
    return score_with_interval(product.metric, product.task, labels, fitted.scores(tested), days)


def _cutoffs(product: ModelProduct, rows: pl.DataFrame) -> list[datetime]:
    """Starts of partitions, oldest first, none of them after the last row."""
    newest = rows[product.event_timestamp].max()
    assert isinstance(newest, datetime)
    starts = [period.end for period in product.period.ended_by(product.period.containing(newest).end)]
    possible = [start for start in starts if start - product.training_window >= product.period.start] or starts[-1:]
    chosen = np.linspace(0, len(possible) - 1, min(WINDOWS, len(possible))).round().astype(int)
    return [possible[number] for number in chosen]


def _thinned(window: pl.DataFrame) -> pl.DataFrame:
    parts = []
    for split, most in ((FIT, MOST_FIT_ROWS), (TEST, MOST_TEST_ROWS)):
        part = window.filter(pl.col(SPLIT) == split)
        parts.append(part.gather_every(max(1, -(-part.height // most))))
    return pl.concat(parts)
