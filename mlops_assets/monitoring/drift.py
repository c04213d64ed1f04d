"""Drift arithmetic: how far the current window moved from the reference window, in percent of probability mass.

A reading of 6 says that 6 % of the rows of the current window lie where the reference has no such rows. The reference
is kept as bin counts per window, because rows of one day are not independent: a shift has to exceed how much a bin's
share varies between windows by itself (`natural variance`), not the sampling error of independent rows alone.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.data.binning import Counts, count_bins
from mlops_assets.data.profile import Array, FeatureProfile, Table, what_is_wrong
from mlops_assets.data.reference import ChangeProfile, ReferenceProfile, changes_of
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

    by: what was read, "values", "changes" (from the row before with the same key) or "column" (it is gone).
    values_percent: the percent read in the values, whatever was acted on. smallest_detectable: percent of rows that has to
    move into one bin to be told from the feature's natural variation, in what is read.
    """

    name: str
    percent: float
    low: float
    high: float
    smallest_detectable: float
    role: str
    acts: bool
    note: str = ""
    by: str = "values"
    values_percent: float = 0.0


class DriftReading(msgspec.Struct, frozen=True):
    """The product's reading: the largest among the features that act, a lower bound of the joint shift.

    percent: None only when inconclusive. feature: the one behind it, "" when nothing moved. prediction: the same percent
    of the distribution of scores, None where it cannot be read; it is shown and does not act.
    """

    state: DriftState
    percent: float | None
    low: float | None
    high: float | None
    feature: str
    features: tuple[FeatureReading, ...]
    rows: int
    reason: str
    prediction: FeatureReading | None = None


def measure_drift(
    reference: ReferenceProfile,
    current: Table,
    *,
    min_rows: int,
    unused: Collection[str] = (),
    season: ReferenceProfile | None = None,
) -> DriftReading:
    """Compare the current window with the reference, feature by feature, in one streaming pass over its rows.

    unused: features the champion hardly uses; they are shown and do not act. season: the same season a year before, read
    in place of the training window for the features it holds. Whatever is wrong with a column is a reading with a note,
    never an exception."""
    lazy = current.lazy()
    rows = int(lazy.select(pl.len()).collect(engine="streaming").item())
    if rows < max(1, min_rows):
        return inconclusive(rows, f"{rows} rows, the policy asks for {min_rows}")
    if reference.windows < 2:
        return inconclusive(rows, "the reference is a single window, so its natural variation is unknown")
    of_season = (
        {profile.name: profile for profile in season.features} if season is not None and season.windows > 1 else {}
    )
    readings = _read_features(reference, lazy, unused, of_season)
    acting = [reading for reading in readings if reading.acts]
    if not acting:
        return inconclusive(rows, "no feature acts: all are seasonal, calendar, unused or blind", readings)
    largest = max(acting, key=lambda reading: reading.percent)
    if largest.percent == 0:
        hidden = max(reading.high for reading in acting)
        return DriftReading(DriftState.CONCLUSIVE, 0.0, 0.0, hidden, "", readings, rows, "no feature moved")
    what = "rows moved" if largest.by != "changes" else "rows broke with the row before"
    reason = f"{largest.percent:.1f} % of {what} in {largest.name} ({largest.low:.1f} to {largest.high:.1f})"
    return DriftReading(
        DriftState.CONCLUSIVE, largest.percent, largest.low, largest.high, largest.name, readings, rows, reason
    )


def measure_distribution(profile: FeatureProfile, current: Table, *, min_rows: int) -> FeatureReading | None:
    """Percent of rows that moved in the values of one column that is shown and does not act: scores, labels.

    None where it cannot be read: too few rows with a value, or a reference of fewer than two windows."""
    known = current.lazy().select(profile.name).drop_nulls()
    rows = int(known.select(pl.len()).collect(engine="streaming").item())
    if rows < max(1, min_rows) or len(profile.counts) < 2:
        return None
    (counts,) = count_bins([profile], known)
    shares = Shares(profile.counts, profile.alone, counts, 1)
    percent, low, high = shares.reading()
    smallest = shares.smallest_detectable()
    note = f"blind below {smallest:.0f} %" if smallest > BLIND_FROM_PERCENT else ""
    return FeatureReading(profile.name, percent, low, high, smallest, profile.name, False, note, "values", percent)


def inconclusive(rows: int, reason: str, features: tuple[FeatureReading, ...] = ()) -> DriftReading:
    return DriftReading(DriftState.INCONCLUSIVE, None, None, None, "", features, rows, reason)


def _read_features(
    reference: ReferenceProfile, current: pl.LazyFrame, unused: Collection[str], of_season: Mapping[str, FeatureProfile]
) -> tuple[FeatureReading, ...]:
    schema = current.collect_schema()
    broken = {
        profile.name: wrong
        for profile in reference.features
        if (wrong := what_is_wrong(schema, profile.name, profile.kind)) is not None
    }
    read_against = [of_season.get(profile.name, profile) for profile in reference.features]
    sound = [profile for profile in read_against if profile.name not in broken]
    tests = len(reference.features) + len(reference.changes)
    counted = dict(zip([profile.name for profile in sound], count_bins(sound, current), strict=True)) if sound else {}
    moved = _count_changes(reference, current, counted)
    readings = []
    for profile in read_against:
        if profile.name in broken:  # no season does that: it acts in every role
            note = f"column {broken[profile.name]}"
            gone = FeatureReading(
                profile.name, 100.0, 100.0, 100.0, 0.0, profile.role.value, True, note, "column", 100.0
            )
            readings.append(gone)
            continue
        values = Shares(profile.counts, profile.alone, counted[profile.name], tests)
        changes = None
        if profile.name in moved:
            change, counts = moved[profile.name]
            changes = Shares(change.counts, change.alone, counts, tests, is_change=True)
        notes = _notes(profile, values, current)
        if profile.name in of_season:
            notes.append("against the same season a year before")
        readings.append(_read_feature(profile, values, changes, notes, profile.name in unused))
    return tuple(readings)


def _count_changes(
    reference: ReferenceProfile, current: pl.LazyFrame, sound: Collection[str]
) -> dict[str, tuple[FeatureProfile, Counts]]:
    """Profile and counts of the changes of every feature that can be followed in the current window."""
    schema = current.collect_schema()
    by_key: dict[tuple[str, ...], dict[str, ChangeProfile]] = {}
    for change in reference.changes:
        name = change.profile.name
        if name in sound and all(column in schema for column in (*change.key, *reference.order)):
            by_key.setdefault(change.key, {})[name] = change
    found: dict[str, tuple[FeatureProfile, Counts]] = {}
    for key, followed in by_key.items():
        kinds = {name: change.is_category for name, change in followed.items()}
        moved = changes_of(current, key, kinds, reference.order).collect().lazy()
        profiles = [change.profile for change in followed.values()]
        for profile, counts in zip(profiles, count_bins(profiles, moved), strict=True):
            known = counts.copy()
            known[-1] = 0  # the first row of a key follows nothing; values that turn null are read in the values
            if known.sum():
                found[profile.name] = (profile, known)
    return found


def _read_feature(
    profile: FeatureProfile, values: "Shares", changes: "Shares | None", notes: list[str], is_unused: bool
) -> FeatureReading:
    name, role = profile.name, profile.role.value
    smallest, whole = values.smallest_detectable(), values.reading()
    if values.current[-1] == 1 and not (values.counts[:, -1] == values.window_rows).any():
        lost = 100 * (1 - float(values.reference[-1]))
        return FeatureReading(name, lost, lost, lost, smallest, role, True, "; ".join(notes), "values", lost)
    if is_unused:
        notes.append("hardly used by the champion: shown, not acted on")
        return FeatureReading(name, *whole, smallest, role, False, "; ".join(notes), "values", whole[0])
    is_input, is_blind = profile.role is Role.INPUT, smallest > BLIND_FROM_PERCENT
    # no season or calendar turns values null; a blind feature still sees what it never held
    among = True if is_input and not is_blind else values.outside if is_input else values.null
    acted, by = values.reading(among), "values"
    acts = acted[0] > 0 or (is_input and not is_blind)
    steps = changes.smallest_detectable() if changes is not None else 100.0
    if changes is not None and steps <= BLIND_FROM_PERCENT:
        step = changes.reading()
        if not acts or step[0] > acted[0]:
            acted, by = step, "changes"
        acts, smallest = True, min(smallest, steps)
    notes += _limits(profile, is_blind, values.smallest_detectable(), steps, acts)
    shown = acted if acts else whole
    return FeatureReading(name, *shown, smallest, role, acts, "; ".join(notes), by, whole[0])


def _limits(profile: FeatureProfile, is_blind: bool, smallest: float, steps: float, acts: bool) -> list[str]:
    """What is not acted on, and from where on a shift is seen."""
    sees_changes = steps <= BLIND_FROM_PERCENT
    seen = [f"changes from row to row, from {steps:.1f} %"] if sees_changes else []
    if profile.role is not Role.INPUT:
        kept = f"; {' and '.join(['nulls', *seen])} act" if seen else ""
        return [f"{profile.role.value}: shown, not acted on{kept}"]
    if not is_blind:
        return []
    only = ["nulls", "values new to it", *seen] if acts else []
    return [f"blind below {smallest:.0f} %" + (f": only {', '.join(only[:-1])} and {only[-1]} act" if only else "")]


def _notes(profile: FeatureProfile, shares: "Shares", current: pl.LazyFrame) -> list[str]:
    notes = []
    if shares.reference[-1] == 1:
        notes.append("null throughout the reference")
    elif shares.reference.max() == 1 and profile.minimum == profile.maximum:
        notes.append("constant in the reference")
    if shares.current[-1] == 1:
        notes.append("null throughout the current window")
    elif shares.current.max() == 1 > shares.reference.max() and _is_constant(current, profile.name):
        notes.append("constant in the current window")
    return notes


def _is_constant(rows: pl.LazyFrame, name: str) -> bool:
    return bool(rows.select(pl.col(name).n_unique() == 1).collect(engine="streaming").item())


class Shares:
    """Shares of the rows in each bin of one profile, and how far the current ones must be from the reference's.

    counts: (windows, bins), alone: (windows, 1 or 2), current: (bins,). tests: profiles read together, which share the
    rate of false alarms. is_change: a row that moved also breaks with the next one, so readings are turned into rows.
    reference, current, gap, natural, left_out: (bins,). outside: mask (bins,) of nulls and values new to the feature.
    """

    def __init__(
        self,
        counts: Sequence[Sequence[int]],
        alone: Sequence[Sequence[int]],
        current: Counts,
        tests: int,
        *,
        is_change: bool = False,
    ) -> None:
        self.is_change = is_change
        held = np.array(counts, dtype=np.int64)
        self.counts = held[held.sum(axis=1) > 0]
        self.window_rows = self.counts.sum(axis=1)
        pooled = self.counts.sum(axis=0)
        self.rows, self.current_rows = int(pooled.sum()), int(current.sum())
        self.reference, self.current = pooled / self.rows, current / self.current_rows
        self.gap = self.current - self.reference
        beyond = np.array(alone, dtype=np.int64)[held.sum(axis=1) > 0]
        first_outside = len(pooled) - 1 - beyond.shape[1]
        self.outside = np.arange(len(pooled)) >= first_outside
        self.null = np.arange(len(pooled)) == len(pooled) - 1

        # seen from the other windows, a row beyond all of them is outside, though the pooled reference holds it
        apart = self.counts.copy()
        apart[:, first_outside:-1] += beyond
        self.natural = self._natural_variance(apart)
        others = (pooled - self.counts) / np.maximum(self.rows - self.window_rows, 1)[:, None]
        self.left_out: Array = np.abs(apart / self.window_rows[:, None] - others).max(axis=0)
        self.tail = FALSE_ALARM_RATE / (2 * tests * len(pooled))
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
        return self._rows(percent), self._rows(max(0.0, percent - width)), self._rows(min(100.0, percent + width))

    def smallest_detectable(self) -> float:
        """Percent of rows: half of the reference's rows lie in bins with this threshold or a lower one."""
        threshold = self._threshold(self.reference)
        order = np.argsort(threshold)
        middle = np.searchsorted(np.cumsum(self.reference[order]), 0.5 - 1e-9)
        return self._rows(min(100.0, 100 * float(threshold[order][middle])))

    def _rows(self, percent: float) -> float:
        """Percent of rows behind a percent of changes a: of two neighbours either may have moved, a = 1 - (1 - x)^2."""
        return 100 * (1 - math.sqrt(1 - percent / 100)) if self.is_change else percent

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
