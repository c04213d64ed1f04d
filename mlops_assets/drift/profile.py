"""Profile of a training window: the rows in each bin, window by window. Drift is measured against it."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.drift.binning import Counts, as_numbers, categorical_bins, count_bins_by_window, values_of
from mlops_assets.errors import ContractBroken, NothingToLearnFrom
from mlops_assets.products.feature_view import Feature, FeatureKind, Role

PIECES = 20  # intervals of a feature without spikes; a shift within one interval is not detected
SPIKE_SHARE = 0.10  # a value with this share of the rows has a bin of its own
CATEGORY_SHARE = 0.005  # a category with this share of the rows has a bin of its own
EDGE_ROWS = 200_000  # bin edges are placed by at most so many rows, evenly spaced; rows are always counted all

Array = NDArray[np.float64]
Table = pl.DataFrame | pl.LazyFrame
Windows = Mapping[str, pl.LazyFrame]  # rows by the key of their window
WINDOW = "__window"


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
    exclusive_counts: tuple[tuple[int, ...], ...] = msgspec.field(name="alone")  # the name in bundles of every release
    edges: tuple[float, ...] = ()
    spikes: tuple[float, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()


def windows_of(rows: Table, window: pl.Series | str) -> Windows:
    """The rows by window, in the order of the keys. window: (rows,) the key of each row, or the column that holds it.

    Raises ContractBroken: there are more or fewer keys than rows."""
    if isinstance(window, pl.Series):
        table = rows.lazy().collect()
        if len(window) != table.height:
            raise ContractBroken(f"window has {len(window)} keys for {table.height} rows. Give one key per row.")
        rows, window = table.with_columns(window.cast(pl.String).alias(WINDOW)), WINDOW
    if isinstance(rows, pl.DataFrame):
        parts = rows.partition_by(window, as_dict=True)
        return {str(key): parts[key,].lazy() for (key,) in sorted(parts)}
    keys = rows.select(pl.col(window).unique().sort()).collect(engine="streaming").to_series()
    return {str(key): rows.filter(pl.col(window) == key) for key in keys}


def build_profiles(windows: Windows, inputs: Sequence[Feature]) -> tuple[FeatureProfile, ...]:
    """Profile of every input, in two streaming passes: where the bins lie, and the rows in them.

    Raises ContractBroken: a column is missing or of the wrong type. NothingToLearnFrom: there are no rows."""
    tables = list(windows.values())
    rows = [int(found.item()) for found in pl.collect_all([table.select(pl.len()) for table in tables])]
    if sum(rows) == 0:
        raise NothingToLearnFrom("the reference has 0 rows. Give the rows that the champion was trained on.")
    schema = tables[0].collect_schema()
    for feature in inputs:
        if (broken := what_is_wrong(schema, feature.name, feature.kind)) is not None:
            raise ContractBroken(f"reference column {feature.name!r} {broken}. Build it with the product's features.")
    names = [feature.name for feature in inputs if feature.kind is FeatureKind.NUMERIC]
    texts = [feature.name for feature in inputs if feature.kind is FeatureKind.CATEGORICAL]
    extremes, sample, values = _look_at(tables, names, texts, every=-(-sum(rows) // EDGE_ROWS))
    bare = [
        _place_edges(feature, sample[feature.name], extremes)
        if feature.kind is FeatureKind.NUMERIC
        else _keep_categories(feature, values[feature.name], sum(rows))
        for feature in inputs
    ]
    numeric = [profile for profile in bare if profile.kind is FeatureKind.NUMERIC]
    counts = dict(zip(names, count_bins_by_window(numeric, tables), strict=True))
    counts |= {
        profile.name: np.stack([categorical_bins(profile, table) for table in values[profile.name]])
        for profile in bare
        if profile.kind is FeatureKind.CATEGORICAL
    }
    beyond = _count_beyond(tables, names, extremes)
    return tuple(
        msgspec.structs.replace(
            profile,
            counts=_rows(counts[profile.name]),
            exclusive_counts=_rows(beyond[profile.name]) if profile.name in beyond else profile.exclusive_counts,
        )
        for profile in bare
    )


def _look_at(
    tables: Sequence[pl.LazyFrame], names: Sequence[str], texts: Sequence[str], *, every: int
) -> tuple[pl.DataFrame, dict[str, pl.Series], dict[str, list[pl.DataFrame]]]:
    """Smallest and largest finite number of each window, a sample of the numbers, and how often each text occurs.

    Window by window: read all at once, their buffers would be held together."""
    seen: list[pl.DataFrame] = []
    values: dict[str, list[pl.DataFrame]] = {name: [] for name in texts}
    for table in tables:
        finite = [pl.when(pl.col(name).is_finite()).then(name) for name in names]
        asked = [
            *(value.min().alias(f"{name}|min") for name, value in zip(names, finite, strict=True)),
            *(value.max().alias(f"{name}|max") for name, value in zip(names, finite, strict=True)),
            *(pl.col(name).gather_every(every).implode() for name in names),
        ]
        queries = [as_numbers(table, names).select(asked), *(values_of(table, name) for name in texts)]
        numbers, *by_value = pl.collect_all(queries, engine="streaming")
        seen.append(numbers)
        for name, found in zip(texts, by_value, strict=True):
            values[name].append(found)
    sample = {name: pl.concat([part[name].item() for part in seen]) for name in names}
    return pl.concat(seen).drop(names), sample, values


def what_is_wrong(schema: pl.Schema, name: str, kind: FeatureKind) -> str | None:
    """What makes the column unreadable, None when nothing does. A column of nulls only has no type to be wrong."""
    if name not in schema:
        return "is missing"
    dtype = schema[name]
    is_right = dtype.is_numeric() if kind is FeatureKind.NUMERIC else dtype in (pl.String, pl.Categorical, pl.Enum)
    return None if is_right or dtype == pl.Null else f"changed type: expected {kind}, found {dtype}"


def _place_edges(feature: Feature, sample: pl.Series, extremes: pl.DataFrame) -> FeatureProfile:
    known = sample.drop_nulls().to_numpy()
    unique, repeats = np.unique(known[np.isfinite(known)], return_counts=True)
    is_spike = repeats >= SPIKE_SHARE * len(sample)
    lowest, highest = extremes[f"{feature.name}|min"].min(), extremes[f"{feature.name}|max"].max()
    return FeatureProfile(
        feature.name,
        feature.kind,
        feature.role,
        counts=(),
        exclusive_counts=(),
        edges=_quantiles(unique[~is_spike], repeats[~is_spike], len(sample)),
        spikes=tuple(unique[is_spike].tolist()),
        minimum=float(lowest) if isinstance(lowest, int | float) else None,
        maximum=float(highest) if isinstance(highest, int | float) else None,
    )


def _quantiles(values: Array, repeats: Counts, rows: int) -> tuple[float, ...]:
    """Inner edges of intervals with a twentieth of the rows each, at values that occur; unique, below the largest value."""
    pieces = round(PIECES * repeats.sum() / rows)
    if pieces < 2:
        return ()
    cumulative = np.cumsum(repeats)
    at = np.searchsorted(cumulative, cumulative[-1] * np.arange(1, pieces) / pieces)
    return tuple(np.unique(values[at[at < len(values) - 1]]).tolist())


def _count_beyond(tables: Sequence[pl.LazyFrame], names: Sequence[str], extremes: pl.DataFrame) -> dict[str, Counts]:
    """Per column the rows of each window below and above all other windows, (windows, 2): only one window can have any."""
    asked: dict[int, list[pl.Expr]] = {}
    for name in names:
        for side, sign in (("min", -1.0), ("max", 1.0)):
            reach = sign * extremes[f"{name}|{side}"].cast(pl.Float64).fill_null(-sign * np.inf).to_numpy()
            top = int(reach.argmax())
            others = np.delete(reach, top).max(initial=-np.inf)
            if np.isfinite(others):
                value = sign * pl.col(name)
                is_far = (value > float(others)) & value.is_finite()
                asked.setdefault(top, []).append(is_far.sum().alias(f"{name}|{side}"))
    beyond = {name: np.zeros((len(tables), 2), dtype=np.int64) for name in names}
    queries = [as_numbers(tables[top], names).select(expressions) for top, expressions in asked.items()]
    for top, counted in zip(asked, pl.collect_all(queries, engine="streaming"), strict=True):
        for found, rows in counted.to_dicts()[0].items():
            name, _, side = found.rpartition("|")
            beyond[name][top, 1 if side == "max" else 0] = rows
    return beyond


def _keep_categories(feature: Feature, tables: Sequence[pl.DataFrame], rows: int) -> FeatureProfile:
    by_window = pl.concat([table.with_columns(window=pl.lit(place)) for place, table in enumerate(tables)])
    known = by_window.drop_nulls("value").group_by("value").agg(pl.col("rows").sum(), windows=pl.len()).sort("value")
    is_kept = pl.col("rows") >= CATEGORY_SHARE * rows
    local = known.filter(pl.col("windows") == 1).select("value").join(by_window, on="value")
    exclusive_counts = np.zeros((len(tables), 1), dtype=np.int64)
    for window, count in local.select("window", "rows").iter_rows():
        exclusive_counts[window, 0] += count
    return FeatureProfile(
        feature.name,
        feature.kind,
        feature.role,
        counts=(),
        exclusive_counts=_rows(exclusive_counts),
        categories=tuple(known.filter(is_kept)["value"].to_list()),
        rare=tuple(known.filter(~is_kept)["value"].to_list()),
    )


def _rows(table: Counts) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in table.tolist())
