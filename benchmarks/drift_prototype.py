"""The drift reading that ours started from, kept as a yardstick: bins of values only, Student's t on every bin.

Natural variance of a bin is that of the windows' shares beyond sampling; a bin counts when its share moved by more than
t(W-1) (normal where sampling rules) times the standard error and by more than any window left out of the reference.
"""

import numpy as np
import polars as pl
from scipy.stats import norm, t

from mlops_assets.drift.binning import count_bins
from mlops_assets.drift.profile import column_fault
from mlops_assets.drift.reference import ReferenceProfile
from mlops_assets.products.feature_view import Role

ALPHA = 0.01


def prototype_readings(reference: ReferenceProfile, current: pl.DataFrame) -> dict[str, float]:
    """Percent of rows that moved, by feature that acts (role input)."""
    profiles = [profile for profile in reference.features if profile.role is Role.INPUT]
    assert not [p.name for p in profiles if column_fault(current.schema, p.name, p.kind)]
    found = {}
    for profile, counts in zip(profiles, count_bins(profiles, current.lazy()), strict=True):
        found[profile.name] = _reading(np.array(profile.counts), counts, len(reference.features))
    return found


def _reading(windows: np.ndarray, current: np.ndarray, features: int) -> float:
    rows, count = windows.sum(axis=1), len(windows)
    total, now = rows.sum(), current.sum()
    p, q = windows.sum(axis=0) / total, current / now
    shares = windows / rows[:, None]
    natural = np.maximum(0, shares.var(axis=0, ddof=1) - p * (1 - p) * np.mean(1 / rows)) * (1 + 1 / count)
    pooled = (windows.sum(axis=0) + current) / (total + now)
    sampling = pooled * (1 - pooled) * (1 / total + 1 / now)
    tail = 1 - ALPHA / (2 * features * len(p))
    critical = np.where(natural > sampling, t.ppf(tail, count - 1), norm.ppf(tail))
    others = (windows.sum(axis=0) - windows) / (total - rows)[:, None]
    moved = (np.abs(q - p) > critical * np.sqrt(natural + sampling)) & (
        np.abs(q - p) > np.abs(shares - others).max(axis=0)
    )
    gap = (q - p) * moved
    return float(100 * max(gap[gap > 0].sum(), -gap[gap < 0].sum()))
