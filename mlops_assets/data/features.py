"""The one definition of features, applied: offline to a period, online to a request."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import Any

import narwhals as nw
import polars as pl
import polars.selectors as cs
from narwhals.typing import IntoLazyFrameT

from mlops_assets.data.grid import keep_freed_memory
from mlops_assets.data.keys import KeyColumn
from mlops_assets.data.known_values import KnownValues
from mlops_assets.data.point_in_time import join_point_in_time, newest_known
from mlops_assets.data.trailing_sums import TrailingSums
from mlops_assets.errors import FeatureNotFinite
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, FeatureKind, FeatureView, Lookup
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.request_features import computed, made_of, request_features
from mlops_assets.products.trailing import Trailing

_CATEGORIES = cs.categorical() | cs.enum()  # texts, as keys
_THREADS = 3  # beside those of Polars. Each keeps one core busy, and more of them would wait for each other


def build_features(product: ModelProduct, rows: pl.LazyFrame, tables: Mapping[str, pl.LazyFrame]) -> pl.DataFrame:
    """Entity key, event timestamp and every model input, one row per row of `rows`, in the order of their events. Rows of
    one moment keep their order, or come by their entity key where rows do not come by their event.

    rows: the product's request columns. tables: every source table for the period and its lookback.
    """
    keep_freed_memory()
    with ThreadPoolExecutor(_THREADS) as pool:
        known = _known(product, tables, pool)
        held = _in_order(rows.select(product.request).collect().rechunk(), product.event_timestamp, *product.entity_key)
        built = _with_request_features(product, held)  # a key may be computed of the request
        keys = dict.fromkeys(name for view in product.lookups for name in view.key)
        coded = dict(zip(keys, pool.map(KeyColumn.of, (built[name] for name in keys)), strict=True))
        moments, views = built[product.event_timestamp], {view.name: view for view in product.lookups}
        # in the order in which they become known
        waiting = {name: pool.submit(_found, views[name], moments, coded, known[name]) for name in known}
    looked_up = ((view, waiting[view.name].result()) for view in product.lookups)
    found = [_joined(product, view, built, tables) if values is None else values for view, values in looked_up]
    return model_inputs(product, pl.concat([built, *found], how="horizontal").lazy()).collect()


def _in_order(rows: pl.DataFrame, *by: str) -> pl.DataFrame:
    """Most sources are read in order: then nothing is moved."""
    return rows if rows[by[0]].is_sorted() else rows.sort(*by)


def _with_request_features(product: ModelProduct, rows: pl.DataFrame) -> pl.DataFrame:
    """What is made of the moment alone is made once for all rows that share it: they come in its order."""
    clock, names = product.event_timestamp, computed(product)
    moments = rows[clock].rle().struct.field("value").alias(clock)
    by_row = pl.DataFrame()
    if len(moments) <= len(rows) // 2:  # else looking up what was made takes longer than making it
        made = made_of(product, clock, moments.to_frame().lazy()).collect().rechunk()
        by_row = made[rows[clock].rle_id()] if made.columns else made
    others = [name for name in names if name not in by_row.columns]
    plan = request_features(product, rows.hstack(by_row).lazy(), made=by_row.columns).select(others)
    return rows.with_columns(*(column for column in by_row if column.name in names), *plan.collect().rechunk())


def _known(
    product: ModelProduct, tables: Mapping[str, pl.LazyFrame], pool: Executor
) -> dict[str, Future[KnownValues | None]]:
    """By lookup view what its rows find; None where they have to be joined.

    A task waits only for one that was submitted before it, and that one for none."""
    known: dict[str, Future[KnownValues | None]] = {}
    for views in sorted(_alike(product), key=len, reverse=True):  # what takes longest is first
        if isinstance(views[0].lookup, Trailing):
            sums = pool.submit(_trailing_sums, views, tables)
            for view in sorted(views, key=lambda view: len(view.key), reverse=True):
                known[view.name] = pool.submit(lambda view, sums: sums.result().known(view), view, sums)
        else:
            known[views[0].name] = pool.submit(_known_values, views[0], tables)
    return known


def _alike(product: ModelProduct) -> list[list[FeatureView]]:
    """The lookup views, those together that sum the same: it is read once for all of them."""
    alike: dict[tuple[object, ...], list[FeatureView]] = {}
    for view in product.lookups:
        sums = view.lookup
        summed = (sums.rows, sums.sums, sums.step) if isinstance(sums, Trailing) else (view.name,)
        alike.setdefault(summed, []).append(view)
    return list(alike.values())


def _trailing_sums(views: Sequence[FeatureView], tables: Mapping[str, pl.LazyFrame]) -> TrailingSums:
    lookup, keys = views[0].lookup, tuple(dict.fromkeys(name for view in views for name in view.key))
    assert isinstance(lookup, Trailing)
    lookup = replace(lookup, key=keys)
    return TrailingSums(lookup, _of_tables(lookup.addends, tables).collect())


def _known_values(view: FeatureView, tables: Mapping[str, pl.LazyFrame]) -> KnownValues | None:
    lookup = lookup_table(view, tables)
    return KnownValues.of(view, newest_known(lookup, view).collect())


def _found(
    view: FeatureView, moments: pl.Series, keys: Mapping[str, KeyColumn | None], known: Future[KnownValues | None]
) -> pl.DataFrame | None:
    """The view's values of each row. None: they have to be joined."""
    assert view.time_to_live is not None
    values = known.result()
    return None if values is None else values.at(moments, [keys[name] for name in view.key], view.time_to_live)


def _joined(
    product: ModelProduct, view: FeatureView, rows: pl.DataFrame, tables: Mapping[str, pl.LazyFrame]
) -> pl.DataFrame:
    clock = product.event_timestamp
    asked = rows.lazy().select(list(dict.fromkeys((clock, *view.key)))).with_columns(_CATEGORIES.cast(pl.String))
    lookup = lookup_table(view, tables).with_columns(_CATEGORIES.cast(pl.String))
    return join_point_in_time(asked, lookup, view, clock, in_order=True).select(view.names).collect()


def lookup_table(view: FeatureView, tables: Mapping[str, IntoLazyFrameT]) -> IntoLazyFrameT:
    """The view's values with both clocks, from the source's tables (on Polars or on Spark)."""
    return _of_tables(view.lookup, tables)


def _of_tables(read: Lookup | None, tables: Mapping[str, IntoLazyFrameT]) -> IntoLazyFrameT:
    assert read is not None
    wrapped: dict[str, nw.LazyFrame[Any]] = {name: nw.from_native(table) for name, table in tables.items()}
    found: IntoLazyFrameT = nw.to_native(read(wrapped))
    return found


def model_inputs(product: ModelProduct, featured: IntoLazyFrameT) -> IntoLazyFrameT:
    """Entity key, event timestamp and every model input as the model takes it, in the order of the model's columns."""
    identity = dict.fromkeys((*product.entity_key, product.event_timestamp))
    inputs = (_typed(item.name, item.kind) for item in product.inputs if item.name not in identity)
    return nw.to_native(nw.from_native(featured).select(*identity, *inputs))


def require_finite(product: ModelProduct, built: pl.DataFrame) -> pl.DataFrame:
    """The features as they are. Raises FeatureNotFinite: an infinite one, or NaN, would be learned from."""
    for item in product.inputs:
        if built[item.name].dtype.is_float() and not built[item.name].is_finite().all():  # nulls aside
            broken = built.filter(~pl.col(item.name).is_finite())
            row = broken.select(*product.entity_key, item.name).row(0, named=True)
            example = ", ".join(f"{name} {value}" for name, value in row.items())
            raise FeatureNotFinite(f"{product.name}.{item.name}", broken.height, example)
    return built


def newest_per_key(view: FeatureView, tables: Mapping[str, pl.LazyFrame], now: datetime) -> pl.DataFrame:
    """What the online store holds at `now`: of every key the newest row that was known by then."""
    return newest_by(view, lookup_table(view, tables), now)


def newest_by(view: FeatureView, lookup: pl.LazyFrame, now: datetime) -> pl.DataFrame:
    """Of every key in the view's values the newest that was known at `now`."""
    known = newest_known(lookup.filter(pl.col(CREATED_TIME) <= now), view)
    return (
        known.group_by(list(view.key))
        .agg(pl.all().sort_by(CREATED_TIME, EVENT_TIME).last())
        .sort(list(view.key))
        .collect()
    )


def _typed(name: str, kind: FeatureKind) -> nw.Expr:
    return nw.col(name).cast(nw.String if kind is FeatureKind.CATEGORICAL else nw.Float64)
