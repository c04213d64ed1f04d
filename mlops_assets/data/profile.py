"""Profile of a training window: how many rows lay in which bin, window by window; what drift is read against."""

from collections.abc import Sequence

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.errors import ContractBroken, NothingToLearnFrom
from mlops_assets.products.feature_view import Feature, FeatureKind, Role

SPIKE_SHARE = 0.10  # a value with this share of the rows has a bin of its own
CATEGORY_SHARE = 0.005  # a category with this share of the rows has a bin of its own

Counts = NDArray[np.int64]
Array = NDArray[np.float64]


class FeatureProfile(msgspec.Struct, frozen=True):
    """Bins of one feature and the reference's rows in each.

    Numeric bins, in this order: intervals `(edge, next edge]`, `spikes`, below `minimum`, above `maximum`, null.
    Categorical bins: `categories`, other (`rare`), unseen, null. counts: (windows, bins). alone: (windows, 2), rows of
    a window that lie below/above all other windows, or (windows, 1), rows in categories of that window only.
    """

    name: str
    kind: FeatureKind
    role: Role
    counts: tuple[tuple[int, ...], ...]
    alone: tuple[tuple[int, ...], ...]
    edges: tuple[float, ...] = ()
    spikes: tuple[float, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()


class ReferenceProfile(msgspec.Struct, frozen=True):
    """The reference window as counts: all that is needed to measure drift without its rows; a JSON document."""

    features: tuple[FeatureProfile, ...]
    rows: int
    windows: int


def build_reference(features: pl.DataFrame, inputs: Sequence[Feature], window: pl.Series) -> ReferenceProfile:
    """Profile of the rows a model was trained on. window: (rows,) key of the period each row belongs to.

    Raises ContractBroken: a column is missing or of the wrong type. NothingToLearnFrom: there are no rows."""
    if features.height == 0:
        raise NothingToLearnFrom("the reference has 0 rows. Give the rows that the champion was trained on.")
    if len(window) != features.height:
        raise ContractBroken(f"window has {len(window)} keys for {features.height} rows. Give one key per row.")
    keys = window.unique().sort()
    codes = window.replace_strict(keys, pl.Series(range(len(keys)), dtype=pl.Int64)).to_numpy()
    profiles = []
    for feature in inputs:
        if (broken := what_is_wrong(features, feature.name, feature.kind)) is not None:
            raise ContractBroken(f"reference column {feature.name!r} {broken}. Build it with the product's features.")
        profile = _profile_numbers if feature.kind is FeatureKind.NUMERIC else _profile_categories
        profiles.append(profile(feature, features[feature.name], codes, len(keys)))
    return ReferenceProfile(tuple(profiles), features.height, len(keys))


def count_bins(profile: FeatureProfile, column: pl.Series) -> Counts:
    """Rows of `column` in each of the profile's bins, (bins,). Counts of chunks of a window may be added."""
    if profile.kind is FeatureKind.NUMERIC:
        return np.bincount(_bin_numbers(profile, _numbers(column)), minlength=len(profile.counts[0]))
    kept = len(profile.categories)
    bin_of = {name: index for index, name in enumerate(profile.categories)} | dict.fromkeys(profile.rare, kept)
    counted = np.zeros(kept + 3, dtype=np.int64)
    for value, rows in column.cast(pl.String).value_counts().iter_rows():
        counted[kept + 2 if value is None else bin_of.get(value, kept + 1)] += rows
    return counted


def what_is_wrong(table: pl.DataFrame, name: str, kind: FeatureKind) -> str | None:
    """What makes the column unreadable, None when nothing does. A column of nulls only has no type to be wrong."""
    if name not in table.columns:
        return "is missing"
    dtype = table.schema[name]
    is_right = dtype.is_numeric() if kind is FeatureKind.NUMERIC else dtype in (pl.String, pl.Categorical, pl.Enum)
    return None if is_right or dtype == pl.Null else f"changed type: expected {kind}, found {dtype}"


def _numbers(column: pl.Series) -> Array:
    """As floats; null becomes NaN."""
    return column.cast(pl.Float64).to_numpy()


def _bin_numbers(profile: FeatureProfile, values: Array) -> Counts:
    """Bin of every value, (rows,)."""
    below = len(profile.edges) + 1 + len(profile.spikes)
    found = np.searchsorted(np.array(profile.edges), values, side="left")
    for index, spike in enumerate(profile.spikes):
        found[values == spike] = len(profile.edges) + 1 + index
    if profile.minimum is None or profile.maximum is None:
        found[:] = below + 1
    else:
        found[values < profile.minimum] = below
        found[values > profile.maximum] = below + 1
    found[np.isnan(values)] = below + 2
    return found


def _profile_numbers(feature: Feature, column: pl.Series, codes: Counts, windows: int) -> FeatureProfile:
    values = _numbers(column)
    finite = np.isfinite(values)
    unique, repeats = np.unique(values[finite], return_counts=True)
    spikes = unique[repeats >= SPIKE_SHARE * len(values)]
    bare = FeatureProfile(
        feature.name,
        feature.kind,
        feature.role,
        counts=(),
        alone=(),
        edges=_deciles(np.setdiff1d(unique, spikes), repeats[~np.isin(unique, spikes)], len(values)),
        spikes=tuple(spikes.tolist()),
        minimum=float(unique[0]) if len(unique) else None,
        maximum=float(unique[-1]) if len(unique) else None,
    )
    bins = len(bare.edges) + len(spikes) + 4
    counts = np.bincount(codes * bins + _bin_numbers(bare, values), minlength=windows * bins).reshape(windows, bins)
    known, known_codes = values[finite], codes[finite]
    alone = np.stack([_beyond(-known, known_codes, windows), _beyond(known, known_codes, windows)], axis=1)
    return msgspec.structs.replace(bare, counts=_rows(counts), alone=_rows(alone))


def _deciles(values: Array, repeats: Counts, rows: int) -> tuple[float, ...]:
    """Inner edges of intervals with a tenth of the rows each, at values that occur; unique, below the largest value."""
    pieces = round(10 * repeats.sum() / rows)
    if pieces < 2:
        return ()
    cumulative = np.cumsum(repeats)
    at = np.searchsorted(cumulative, cumulative[-1] * np.arange(1, pieces) / pieces)
    return tuple(np.unique(values[at[at < len(values) - 1]]).tolist())


def _beyond(values: Array, codes: Counts, windows: int) -> Counts:
    """Rows of each window above the maximum of all other windows, (windows,)."""
    alone = np.zeros(windows, dtype=np.int64)
    largest = np.full(windows, -np.inf)
    np.maximum.at(largest, codes, values)
    top = int(largest.argmax())
    others = np.delete(largest, top).max(initial=-np.inf)
    if np.isfinite(others):
        alone[top] = int((values[codes == top] > others).sum())
    return alone


def _profile_categories(feature: Feature, column: pl.Series, codes: Counts, windows: int) -> FeatureProfile:
    table = pl.DataFrame({"value": column.cast(pl.String), "window": codes}).group_by("value", "window").len()
    known = table.drop_nulls("value").group_by("value").agg(pl.col("len").sum(), windows=pl.len()).sort("value")
    is_kept = pl.col("len") >= CATEGORY_SHARE * len(column)
    categories, rare = known.filter(is_kept)["value"].to_list(), known.filter(~is_kept)["value"].to_list()
    local = known.filter(pl.col("windows") == 1).select("value").join(table, on="value")
    alone = np.bincount(local["window"].to_numpy(), local["len"].to_numpy(), windows).astype(np.int64)[:, None]
    bin_of = {name: index for index, name in enumerate(categories)} | dict.fromkeys(rare, len(categories))
    counts = np.zeros((windows, len(categories) + 3), dtype=np.int64)
    for value, window, rows in table.iter_rows():
        counts[window, len(categories) + 2 if value is None else bin_of[value]] += rows
    return FeatureProfile(
        feature.name,
        feature.kind,
        feature.role,
        counts=_rows(counts),
        alone=_rows(alone),
        categories=tuple(categories),
        rare=tuple(rare),
    )


def _rows(table: Counts) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in table.tolist())
