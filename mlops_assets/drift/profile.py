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
EDGE_ROWS = 200_000  # bin edges come from a sample of at most this many rows, evenly spaced; counts use every row

Array = NDArray[np.float64]
Table = pl.DataFrame | pl.LazyFrame
Windows = Mapping[str, pl.LazyFrame]  # rows by the key of their window
WINDOW = "__window"


class FeatureProfile(msgspec.Struct, frozen=True):
    """Bins of one feature and the reference's rows in each.

    Numeric bins, in this order: intervals `(edge, next edge]`, `spikes`, below `minimum`, above `maximum`, null.
    Categorical bins: `categories`, other (`rare`), unseen, null. counts: (windows, bins). exclusive_counts: rows of one
    window where no other window has any: (windows, 2) below and above all others, or (windows, 1) in its own categories.
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

    Raises ContractBroken if the number of keys differs from the number of rows."""
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
    """Profile every input in two streaming passes: the first places the bins, the second counts the rows in them.

    Raises ContractBroken if a column is missing or has the wrong type, NothingToLearnFrom if there are no rows."""
    tables = list(windows.values())
    rows = sum(int(count.item()) for count in pl.collect_all([table.select(pl.len()) for table in tables]))
    if rows == 0:
        raise NothingToLearnFrom("the reference has 0 rows. Give the rows that the champion was trained on.")
    schema = tables[0].collect_schema()
    for feature in inputs:
        if (fault := column_fault(schema, feature.name, feature.kind)) is not None:
            raise ContractBroken(f"reference column {feature.name!r} {fault}. Build it with the product's features.")
    names = [feature.name for feature in inputs if feature.kind is FeatureKind.NUMERIC]
    texts = [feature.name for feature in inputs if feature.kind is FeatureKind.CATEGORICAL]
    extremes, sample, values = _extremes_and_values(tables, names, texts, every=-(-rows // EDGE_ROWS))
    uncounted = [
        _place_edges(feature, sample[feature.name], extremes)
        if feature.kind is FeatureKind.NUMERIC
        else _choose_categories(feature, values[feature.name], rows)
        for feature in inputs
    ]
    numeric = [profile for profile in uncounted if profile.kind is FeatureKind.NUMERIC]
    counts = dict(zip(names, count_bins_by_window(numeric, tables), strict=True))
    counts |= {
        profile.name: np.stack([categorical_bins(profile, table) for table in values[profile.name]])
        for profile in uncounted
        if profile.kind is FeatureKind.CATEGORICAL
    }
    exclusive = _count_exclusive(tables, names, extremes)
    return tuple(
        msgspec.structs.replace(
            profile,
            counts=_rows(counts[profile.name]),
            exclusive_counts=_rows(exclusive[profile.name]) if profile.name in exclusive else profile.exclusive_counts,
        )
        for profile in uncounted
    )


def _extremes_and_values(
    tables: Sequence[pl.LazyFrame], names: Sequence[str], texts: Sequence[str], *, every: int
) -> tuple[pl.DataFrame, dict[str, pl.Series], dict[str, list[pl.DataFrame]]]:
    """Smallest and largest finite number of each window, a sample of the numbers, and how often each text occurs.

    Reads one window at a time, so that memory holds the buffers of one window only."""
    by_window: list[pl.DataFrame] = []
    values: dict[str, list[pl.DataFrame]] = {name: [] for name in texts}
    for table in tables:
        finite = [pl.when(pl.col(name).is_finite()).then(name) for name in names]
        statistics = [
            *(value.min().alias(f"{name}|min") for name, value in zip(names, finite, strict=True)),
            *(value.max().alias(f"{name}|max") for name, value in zip(names, finite, strict=True)),
            *(pl.col(name).gather_every(every).implode() for name in names),
        ]
        queries = [as_numbers(table, names).select(statistics), *(values_of(table, name) for name in texts)]
        numbers, *counts = pl.collect_all(queries, engine="streaming")
        by_window.append(numbers)
        for name, table_of_values in zip(texts, counts, strict=True):
            values[name].append(table_of_values)
    sample = {name: pl.concat([part[name].item() for part in by_window]) for name in names}
    return pl.concat(by_window).drop(names), sample, values


def column_fault(schema: pl.Schema, name: str, kind: FeatureKind) -> str | None:
    """Why the column cannot be read, or None. A column that holds only nulls may have any type."""
    if name not in schema:
        return "is missing"
    dtype = schema[name]
    has_expected_type = (
        dtype.is_numeric() if kind is FeatureKind.NUMERIC else dtype in (pl.String, pl.Categorical, pl.Enum)
    )
    return None if has_expected_type or dtype == pl.Null else f"changed type: expected {kind}, found {dtype}"


def _place_edges(feature: Feature, sample: pl.Series, extremes: pl.DataFrame) -> FeatureProfile:
    values = sample.drop_nulls().to_numpy()
    unique, repeats = np.unique(values[np.isfinite(values)], return_counts=True)
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
    """Inner edges of intervals that hold a twentieth of the rows each: unique values of the sample, below its largest."""
    pieces = round(PIECES * repeats.sum() / rows)
    if pieces < 2:
        return ()
    cumulative = np.cumsum(repeats)
    at = np.searchsorted(cumulative, cumulative[-1] * np.arange(1, pieces) / pieces)
    return tuple(np.unique(values[at[at < len(values) - 1]]).tolist())


def _count_exclusive(tables: Sequence[pl.LazyFrame], names: Sequence[str], extremes: pl.DataFrame) -> dict[str, Counts]:
    """Per column the rows of each window below and above all other windows, (windows, 2): only one window can have any."""
    comparisons: dict[int, list[pl.Expr]] = {}
    for name in names:
        for side, sign in (("min", -1.0), ("max", 1.0)):
            reach = sign * extremes[f"{name}|{side}"].cast(pl.Float64).fill_null(-sign * np.inf).to_numpy()
            top = int(reach.argmax())
            others = np.delete(reach, top).max(initial=-np.inf)
            if np.isfinite(others):
                value = sign * pl.col(name)
                is_far = (value > float(others)) & value.is_finite()
                comparisons.setdefault(top, []).append(is_far.sum().alias(f"{name}|{side}"))
    exclusive = {name: np.zeros((len(tables), 2), dtype=np.int64) for name in names}
    queries = [as_numbers(tables[top], names).select(expressions) for top, expressions in comparisons.items()]
    for top, counted in zip(comparisons, pl.collect_all(queries, engine="streaming"), strict=True):
        for column, rows in counted.to_dicts()[0].items():
            name, _, side = column.rpartition("|")
            exclusive[name][top, 1 if side == "max" else 0] = rows
    return exclusive


def _choose_categories(feature: Feature, tables: Sequence[pl.DataFrame], rows: int) -> FeatureProfile:
    by_window = pl.concat([table.with_columns(window=pl.lit(place)) for place, table in enumerate(tables)])
    categories = (
        by_window.drop_nulls("value").group_by("value").agg(pl.col("rows").sum(), windows=pl.len()).sort("value")
    )
    is_frequent = pl.col("rows") >= CATEGORY_SHARE * rows
    exclusive = categories.filter(pl.col("windows") == 1).select("value").join(by_window, on="value")
    exclusive_counts = np.zeros((len(tables), 1), dtype=np.int64)
    for window, count in exclusive.select("window", "rows").iter_rows():
        exclusive_counts[window, 0] += count
    return FeatureProfile(
        feature.name,
        feature.kind,
        feature.role,
        counts=(),
        exclusive_counts=_rows(exclusive_counts),
        categories=tuple(categories.filter(is_frequent)["value"].to_list()),
        rare=tuple(categories.filter(~is_frequent)["value"].to_list()),
    )


def _rows(table: Counts) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in table.tolist())
