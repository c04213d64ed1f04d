"""How far the share of rows in each bin of a profile moved from the reference, beyond its natural variation."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlops_assets.drift.binning import Counts
from mlops_assets.drift.profile import Array

FALSE_ALARM_RATE = 0.01  # of one product's reading, divided among both directions of all bins of all features
CONFIDENCE = 0.95  # of the interval around a reading

Mask = NDArray[np.bool_]


class Shares:
    """Shares of the rows in each bin of one profile, and how far the current ones must be from the reference's.

    counts: (windows, bins). exclusive: (windows, 1 or 2), rows beyond all other windows. current: (bins,).
    tests: profiles read together, which share the rate of false alarms. is_change: the bins count changes between neighbouring
    rows; a row that moved alters two of them, so readings are converted to rows.
    reference, current, gap, natural, left_out: (bins,). outside: mask (bins,) of nulls and values new to the feature.
    """

    def __init__(
        self,
        counts: Sequence[Sequence[int]],
        exclusive: Sequence[Sequence[int]],
        current: Counts,
        tests: int,
        *,
        is_change: bool = False,
    ) -> None:
        self.is_change = is_change
        by_window = np.array(counts, dtype=np.int64)
        has_rows = by_window.sum(axis=1) > 0
        self.counts = by_window[has_rows]
        self.window_rows = self.counts.sum(axis=1)
        pooled = self.counts.sum(axis=0)
        self.rows, self.current_rows = int(pooled.sum()), int(current.sum())
        self.reference, self.current = pooled / self.rows, current / self.current_rows
        self.gap = self.current - self.reference
        beyond = np.array(exclusive, dtype=np.int64)[has_rows]
        first_outside = len(pooled) - 1 - beyond.shape[1]
        self.outside = np.arange(len(pooled)) >= first_outside
        self.null = np.arange(len(pooled)) == len(pooled) - 1

        # measured against the other windows, a row beyond all of them is outside, although the pooled reference holds it
        outside_counts = self.counts.copy()
        outside_counts[:, first_outside:-1] += beyond
        self.natural = self._natural_variance(outside_counts)
        others = (pooled - self.counts) / np.maximum(self.rows - self.window_rows, 1)[:, None]
        self.left_out: Array = np.abs(outside_counts / self.window_rows[:, None] - others).max(axis=0)
        self.tail = FALSE_ALARM_RATE / (2 * tests * len(pooled))
        expected = (pooled + current + 0.5) / (self.rows + self.current_rows + 1)
        self.counts_as_moved = np.abs(self.gap) > self._threshold(expected)

    def reading(self, bins: Mask | bool = True) -> tuple[float, float, float]:
        """Percent, low and high of the rows that moved beyond chance in these bins: the larger of the gained and the lost share."""
        gained, lost = (bins & self.counts_as_moved & side for side in (self.gap > 0, self.gap < 0))
        moved = gained if self.gap[gained].sum() >= -self.gap[lost].sum() else lost
        percent = min(100.0, 100 * float(np.abs(self.gap[moved].sum())))
        if percent == 0:
            return 0.0, 0.0, self.smallest_detectable()
        current, reference = float(self.current[moved].sum()), float(self.reference[moved].sum())
        adjusted = (current * self.current_rows + 2) / (
            self.current_rows + 4
        )  # Agresti & Coull (1998): wide at 0 and 100 %
        sampling = adjusted * (1 - adjusted) / (self.current_rows + 4) + reference * (1 - reference) / self.rows
        natural = self._natural_variance(self.counts[:, moved].sum(axis=1, keepdims=True))
        width = 100 * float(self._largest_by_chance(natural, np.array([sampling]), (1 - CONFIDENCE) / 2)[0])
        return self._rows(percent), self._rows(max(0.0, percent - width)), self._rows(min(100.0, percent + width))

    def smallest_detectable(self) -> float:
        """Percent of rows: half of the reference's rows lie in bins whose threshold is this or lower."""
        threshold = self._threshold(self.reference)
        order = np.argsort(threshold)
        middle = np.searchsorted(np.cumsum(self.reference[order]), 0.5 - 1e-9)
        return self._rows(min(100.0, 100 * float(threshold[order][middle])))

    def _rows(self, percent: float) -> float:
        """Percent of rows x behind a percent of changes a: either of two neighbours may have moved, so a = 1 - (1 - x)^2."""
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
        """Largest difference of shares that both variances explain, except with this tail probability.

        Degrees of freedom after Satterthwaite (1946): W-1 where natural variance dominates, normal where sampling does."""
        from scipy.special import stdtrit  # slow to import, and the code location imports this module

        windows = len(self.window_rows)
        natural = natural * (1 + 1 / windows)
        total = natural + sampling
        ratio = np.divide(total, natural, out=np.full_like(total, np.inf), where=natural > 0)
        freedom = (windows - 1) * np.minimum(ratio, 1e6) ** 2
        return np.asarray(-stdtrit(freedom, tail) * np.sqrt(total))
