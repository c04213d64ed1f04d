"""Counts rows per bin of a profile, in one streaming pass whose memory does not grow with the rows.

Numbers are compared with every edge and the matches summed, which the engine does in blocks that fit the cache: binning
costs little more than reading the file. Categories are counted by value.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.products.feature_view import FeatureKind

if TYPE_CHECKING:
    from mlops_assets.drift.profile import FeatureProfile

Counts = NDArray[np.int64]


def count_bins(profiles: Sequence["FeatureProfile"], rows: pl.LazyFrame) -> list[Counts]:
    """Rows in each bin of every profile, (bins,) each. The columns exist and are of the profile's kind."""
    return [counts[0] for counts in count_bins_by_window(profiles, [rows])]


def count_bins_by_window(profiles: Sequence["FeatureProfile"], windows: Sequence[pl.LazyFrame]) -> list[Counts]:
    """Rows in each bin of every profile, window by window, (windows, bins) each."""
    numeric = [profile for profile in profiles if profile.kind is FeatureKind.NUMERIC]
    categorical = [profile for profile in profiles if profile.kind is FeatureKind.CATEGORICAL]
    comparisons = [expression for profile in numeric for expression in _comparisons(profile)]
    counts: dict[str, list[Counts]] = {profile.name: [] for profile in profiles}
    for rows in windows:  # one at a time, so that memory holds the buffers of one window only
        numbers = as_numbers(rows, [profile.name for profile in numeric]).select(pl.len(), *comparisons)
        queries = [numbers, *(values_of(rows, profile.name) for profile in categorical)]
        compared, *tables = pl.collect_all(queries, engine="streaming")
        for profile in numeric:
            counts[profile.name].append(_numeric_bins(profile, compared.to_dicts()[0]))
        for profile, table in zip(categorical, tables, strict=True):
            counts[profile.name].append(categorical_bins(profile, table))
    return [np.stack(counts[profile.name]) for profile in profiles]


def as_numbers(rows: pl.LazyFrame, names: Sequence[str]) -> pl.LazyFrame:
    """These columns as floats; NaN becomes null."""
    return rows.select(pl.col(name).cast(pl.Float64).fill_nan(None) for name in names)


def values_of(rows: pl.LazyFrame, name: str) -> pl.LazyFrame:
    """Columns `value` and `rows`: how many rows hold each value of a categorical column."""
    return rows.select(pl.col(name).cast(pl.String).alias("value")).group_by("value").agg(rows=pl.len())


def _comparisons(profile: "FeatureProfile") -> list[pl.Expr]:
    value, name = pl.col(profile.name), profile.name
    comparisons = [value.null_count().alias(f"{name}|null")]
    if profile.minimum is None or profile.maximum is None:
        return comparisons
    comparisons += [(value <= edge).sum().alias(f"{name}|edge{index}") for index, edge in enumerate(profile.edges)]
    comparisons += [(value == spike).sum().alias(f"{name}|spike{index}") for index, spike in enumerate(profile.spikes)]
    return [
        *comparisons,
        (value < profile.minimum).sum().alias(f"{name}|below"),
        (value > profile.maximum).sum().alias(f"{name}|above"),
    ]


def _numeric_bins(profile: "FeatureProfile", row: Mapping[str, int]) -> Counts:
    """Rows per interval, per spike, below, above and null, in the order of FeatureProfile. row: the counted comparisons."""
    intervals, spikes = len(profile.edges) + 1, len(profile.spikes)
    counts = np.zeros(intervals + spikes + 3, dtype=np.int64)
    name = profile.name
    null, rows = row[f"{name}|null"], row["len"]
    counts[-1] = null
    if profile.minimum is None or profile.maximum is None:
        counts[-2] = rows - null
        return counts
    below, above = row[f"{name}|below"], row[f"{name}|above"]
    up_to = [below, *(row[f"{name}|edge{index}"] for index in range(intervals - 1)), rows - null - above]
    counts[:intervals] = np.diff(up_to)
    for index, spike in enumerate(profile.spikes):
        counts[intervals + index] = row[f"{name}|spike{index}"]
        counts[np.searchsorted(np.array(profile.edges), spike, side="left")] -= row[f"{name}|spike{index}"]
    counts[-3], counts[-2] = below, above
    return counts


def categorical_bins(profile: "FeatureProfile", table: pl.DataFrame) -> Counts:
    """Rows per category, then of the other, unseen and null bins. table: `values_of` the column."""
    other = len(profile.categories)
    bin_of = {name: index for index, name in enumerate(profile.categories)} | dict.fromkeys(profile.rare, other)
    counts = np.zeros(other + 3, dtype=np.int64)
    for value, rows in table.select("value", "rows").iter_rows():
        counts[other + 2 if value is None else bin_of.get(value, other + 1)] += rows
    return counts
