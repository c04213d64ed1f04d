"""Drift arithmetic: how far the current window moved from the reference window, in percent of probability mass.

A reading of 6 says that 6 % of the rows of the current window lie where the reference has no such rows. The reference
is kept as bin counts per window, because rows of one day are not independent: a shift has to exceed how much a bin's
share varies between windows by itself (`natural variance`), not the sampling error of independent rows alone.
"""

from collections.abc import Collection
from enum import StrEnum

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.data.profile import Array, Counts, FeatureProfile, ReferenceProfile, count_bins, what_is_wrong
from mlops_assets.products.feature_view import Role

FALSE_ALARM_RATE = 0.01  # of one product's reading, shared between both directions of all bins of all features
CONFIDENCE = 0.95  # of the interval around a reading
BLIND_FROM_PERCENT = 5.0  # a feature that cannot see a smaller shift says so

Mask = NDArray[np.bool_]


class DriftState(StrEnum):
    CONCLUSIVE = "conclusive"
    INCONCLUSIVE = "inconclusive"


class FeatureReading(msgspec.Struct, frozen=True):
    """Percent of rows that moved in one feature, with its interval.

    smallest_detectable: percent of rows that has to move into one bin to be told from the feature's natural variation.
    """

    name: str
    percent: float
    low: float
    high: float
    smallest_detectable: float
    role: str
    acts: bool
    note: str = ""


class DriftReading(msgspec.Struct, frozen=True):
    """The product's reading: the largest among the features that act, a lower bound of the joint shift.

    percent: None only when inconclusive. feature: the one behind it, "" when nothing moved.
    """

    state: DriftState
    percent: float | None
    low: float | None
    high: float | None
    feature: str
    features: tuple[FeatureReading, ...]
    rows: int
    reason: str


def measure_drift(
    reference: ReferenceProfile, current: pl.DataFrame, *, min_rows: int, unused: Collection[str] = ()
) -> DriftReading:
    """Compare the current window with the reference, feature by feature.

    unused: features the champion hardly uses; they are shown and do not act. Whatever is wrong with a column is a
    reading with a note, never an exception."""
    rows = current.height
    if rows < max(1, min_rows):
        return _inconclusive(rows, f"{rows} rows, the policy asks for {min_rows}")
    if reference.windows < 2:
        return _inconclusive(rows, "the reference is a single window, so its natural variation is unknown")
    readings = tuple(_read_feature(profile, reference, current, unused) for profile in reference.features)
    acting = [reading for reading in readings if reading.acts]
    if not acting:
        return _inconclusive(rows, "no feature acts: all are seasonal, calendar, unused or blind", readings)
    largest = max(acting, key=lambda reading: reading.percent)
    if largest.percent == 0:
        hidden = max(reading.high for reading in acting)
        return DriftReading(DriftState.CONCLUSIVE, 0.0, 0.0, hidden, "", readings, rows, "no feature moved")
    reason = f"{largest.percent:.1f} % of rows moved in {largest.name} ({largest.low:.1f} to {largest.high:.1f})"
    return DriftReading(
        DriftState.CONCLUSIVE, largest.percent, largest.low, largest.high, largest.name, readings, rows, reason
    )


def _inconclusive(rows: int, reason: str, features: tuple[FeatureReading, ...] = ()) -> DriftReading:
    return DriftReading(DriftState.INCONCLUSIVE, None, None, None, "", features, rows, reason)


def _read_feature(
    profile: FeatureProfile, reference: ReferenceProfile, current: pl.DataFrame, unused: Collection[str]
) -> FeatureReading:
    name, role = profile.name, profile.role.value
    if (broken := what_is_wrong(current, name, profile.kind)) is not None:  # no season does that: it acts in every role
        return FeatureReading(name, 100.0, 100.0, 100.0, 0.0, role, True, f"column {broken}")
    shares = _Shares(profile, count_bins(profile, current[name]), len(reference.features))
    smallest = shares.smallest_detectable()
    notes = _notes(profile, shares, current[name])
    if shares.current[-1] == 1 and not (shares.counts[:, -1] == shares.window_rows).any():
        lost = 100 * (1 - float(shares.reference[-1]))
        return FeatureReading(name, lost, lost, lost, smallest, role, True, "; ".join(notes))
    is_blind = smallest > BLIND_FROM_PERCENT
    outside = shares.reading(shares.outside)
    acts = profile.role is Role.INPUT and name not in unused and (not is_blind or outside[0] > 0)
    percent, low, high = outside if is_blind and acts else shares.reading()
    if profile.role is not Role.INPUT:
        notes.append(f"{role}: shown, not acted on")
    elif name in unused:
        notes.append("hardly used by the champion: shown, not acted on")
    if is_blind:
        notes.append(f"blind below {smallest:.0f} %" + (": only nulls and values new to it act" if acts else ""))
    return FeatureReading(name, percent, low, high, smallest, role, acts, "; ".join(notes))


def _notes(profile: FeatureProfile, shares: "_Shares", column: pl.Series) -> list[str]:
    notes = []
    if shares.reference[-1] == 1:
        notes.append("null throughout the reference")
    elif shares.reference.max() == 1 and profile.minimum == profile.maximum:
        notes.append("constant in the reference")
    if shares.current[-1] == 1:
        notes.append("null throughout the current window")
    elif shares.reference.max() < 1 and column.n_unique() == 1:
        notes.append("constant in the current window")
    return notes


class _Shares:
    """Shares of the rows in each bin of one feature, and how far the current ones must be from the reference's.

    reference, current, gap, natural, left_out: (bins,). outside: mask (bins,) of nulls and values new to the feature.
    """

    def __init__(self, profile: FeatureProfile, current: Counts, features: int) -> None:
        self.counts = np.array(profile.counts, dtype=np.int64)
        self.window_rows = self.counts.sum(axis=1)
        pooled = self.counts.sum(axis=0)
        self.rows, self.current_rows = int(pooled.sum()), int(current.sum())
        self.reference, self.current = pooled / self.rows, current / self.current_rows
        self.gap = self.current - self.reference
        first_outside = len(pooled) - 1 - len(profile.alone[0])
        self.outside = np.arange(len(pooled)) >= first_outside

        # seen from the other windows, a row beyond all of them is outside, though the pooled reference holds it
        apart = self.counts.copy()
        apart[:, first_outside:-1] += np.array(profile.alone, dtype=np.int64)
        self.natural = self._natural_variance(apart)
        others = (pooled - self.counts) / np.maximum(self.rows - self.window_rows, 1)[:, None]
        self.left_out: Array = np.abs(apart / self.window_rows[:, None] - others).max(axis=0)
        self.tail = FALSE_ALARM_RATE / (2 * features * len(pooled))
        expected = (pooled + current + 0.5) / (self.rows + self.current_rows + 1)
        self.counts_as_moved = np.abs(self.gap) > self._threshold(expected)

    def reading(self, among: Mask | bool = True) -> tuple[float, float, float]:
        """Percent, low, high, over the bins `among` that count: the larger of what was gained and what was lost."""
        gained, lost = (among & self.counts_as_moved & side for side in (self.gap > 0, self.gap < 0))
        moved = gained if self.gap[gained].sum() >= -self.gap[lost].sum() else lost
        percent = min(100.0, 100 * float(np.abs(self.gap[moved].sum())))
        if percent == 0:
            return 0.0, 0.0, self.smallest_detectable()
        here, there = float(self.current[moved].sum()), float(self.reference[moved].sum())
        near = (here * self.current_rows + 2) / (self.current_rows + 4)  # Agresti & Coull (1998): wide at 0 and 100 %
        sampling = near * (1 - near) / (self.current_rows + 4) + there * (1 - there) / self.rows
        natural = self._natural_variance(self.counts[:, moved].sum(axis=1, keepdims=True))
        width = 100 * float(self._largest_by_chance(natural, np.array([sampling]), (1 - CONFIDENCE) / 2)[0])
        return percent, max(0.0, percent - width), min(100.0, percent + width)

    def smallest_detectable(self) -> float:
        """Percent of rows: half of the reference's rows lie in bins with this threshold or a lower one."""
        threshold = self._threshold(self.reference)
        order = np.argsort(threshold)
        middle = np.searchsorted(np.cumsum(self.reference[order]), 0.5 - 1e-9)
        return min(100.0, 100 * float(threshold[order][middle]))

    def _natural_variance(self, counts: Counts) -> Array:
        """Variance of the windows' shares beyond what the sampling of rows explains. counts: (windows, bins)."""
        share = counts.sum(axis=0) / self.rows
        spread = np.var(counts / self.window_rows[:, None], axis=0, ddof=1)
        return np.asarray(np.maximum(0.0, spread - share * (1 - share) * np.mean(1 / self.window_rows)))

    def _threshold(self, share: Array) -> Array:
        sampling = share * (1 - share) * (1 / self.rows + 1 / self.current_rows)
        return np.maximum(self._largest_by_chance(self.natural, sampling, self.tail), self.left_out)

    def _largest_by_chance(self, natural: Array, sampling: Array, tail: float) -> Array:
        """Largest difference of shares that both variances explain, but for this tail probability.

        Degrees of freedom after Satterthwaite (1946): W-1 where natural variance rules, normal where sampling does."""
        from scipy.special import stdtrit  # slow to import, and the code location imports this file

        windows = len(self.window_rows)
        natural = natural * (1 + 1 / windows)
        total = natural + sampling
        ratio = np.divide(total, natural, out=np.full_like(total, np.inf), where=natural > 0)
        freedom = (windows - 1) * np.minimum(ratio, 1e6) ** 2
        return np.asarray(-stdtrit(freedom, tail) * np.sqrt(total))
