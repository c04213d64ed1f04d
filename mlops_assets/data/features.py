"""The one definition of features, applied: offline to a period, online to a request."""

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import cache
from typing import Any

import narwhals as nw
import polars as pl
from narwhals.typing import IntoLazyFrameT

from mlops_assets.data.point_in_time import join_point_in_time, newest_known
from mlops_assets.data.trailing_sums import trailing_features
from mlops_assets.errors import FeatureNotFinite
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, FeatureKind, FeatureView, Lookup
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.request_features import request_features
from mlops_assets.products.trailing import Trailing


def build_features(product: ModelProduct, rows: pl.LazyFrame, tables: Mapping[str, pl.LazyFrame]) -> pl.DataFrame:
    """Entity key, event timestamp and every model input, one row per row of `rows`, in the order of their events.

    rows: the product's request columns. tables: every source table for the period and its lookback.
    """
    keys = {name for view in product.lookups for name in view.key}
    coded = {name: _with_codes(table, keys) for name, table in tables.items()}
    schemas = tuple((name, tuple(table.collect_schema().items())) for name, table in coded.items())
    read = {view.name: coded if _takes_codes(view.lookup, schemas) else tables for view in product.lookups}
    trailing = [view for view in product.lookups if isinstance(view.lookup, Trailing)]
    # Polars reads and computes in threads of its own, beside what NumPy does in this one
    with ThreadPoolExecutor() as pool:
        addends = pool.submit(pl.collect_all, [_addends(view, read[view.name]) for view in trailing])
        held = _in_order(rows.collect(), product.event_timestamp, *product.entity_key)
        asked = request_features(product, held.lazy())  # a key may be computed of the request
        texts = _coded(asked, keys)
        sought = {name: pl.col(name) for view in trailing for name in view.key} | texts
        key = asked.select(**sought).collect()
        # beside the texts, which are model inputs too: to make them of codes again takes longer than to carry both
        joined = asked.with_columns(key[name].alias(_code_of(name)) for name in texts)
        for view in product.lookups:
            if not isinstance(view.lookup, Trailing):
                joined = _joined(product, joined, view, read[view.name], texts)
        built = pool.submit(joined.collect)
        summed = {}
        for view, learned in zip(trailing, addends.result(), strict=True):
            summed[view.name] = trailing_features(view, held[product.event_timestamp], key.select(view.key), learned)
    found = [column for features in summed.values() if features is not None for column in features]
    featured = built.result().hstack(found).lazy()
    for view in trailing:
        if summed[view.name] is None:
            featured = _joined(product, featured, view, read[view.name], texts)
    # values of a view can be made of another one's key
    return model_inputs(product, featured.with_columns(pl.col(pl.Categorical).cast(pl.String))).collect()


def _in_order(rows: pl.DataFrame, *by: str) -> pl.DataFrame:
    """Most sources are read in order: then nothing is moved."""
    order = rows.select(pl.arg_sort_by(*by)).to_series()
    return rows if order.is_sorted() else rows[order]


def _joined(
    product: ModelProduct,
    rows: pl.LazyFrame,
    view: FeatureView,
    tables: Mapping[str, pl.LazyFrame],
    texts: Collection[str],
) -> pl.LazyFrame:
    """texts: what the rows have codes of."""
    known = _with_codes(lookup_table(view, tables), view.key)
    by = [_code_of(name) if name in texts else name for name in view.key]
    return join_point_in_time(rows, known, view, product.event_timestamp, in_order=True, by=by)


def _addends(view: FeatureView, tables: Mapping[str, pl.LazyFrame]) -> pl.LazyFrame:
    assert isinstance(view.lookup, Trailing)
    return _with_codes(_of_tables(view.lookup.addends, tables), view.key)


def _code_of(name: str) -> str:
    return f"_code_of_{name}"


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


def _with_codes(frame: pl.LazyFrame, names: Collection[str]) -> pl.LazyFrame:
    return frame.with_columns(**_coded(frame, names))


def _coded(frame: pl.LazyFrame, names: Collection[str]) -> dict[str, pl.Expr]:
    """Texts among these columns as codes: grouping, sorting within and joining by them takes half the time."""
    texts = (name for name, dtype in frame.collect_schema().items() if name in names and dtype == pl.String)
    return {name: pl.col(name).cast(pl.Categorical) for name in texts}


@cache
def _takes_codes(lookup: Lookup | None, schemas: tuple[tuple[str, tuple[tuple[str, pl.DataType], ...]], ...]) -> bool:
    """Not where it reads into the text. Polars compares, orders and joins codes as it does texts, and refuses what needs
    the text itself: tried on one row."""
    try:
        _of_tables(lookup, {name: _one_row(schema) for name, schema in schemas}).collect()
    except (pl.exceptions.PolarsError, nw.exceptions.NarwhalsError):
        return False
    return True


def _one_row(schema: Iterable[tuple[str, pl.DataType]]) -> pl.LazyFrame:
    ones = [pl.lit("1" if dtype == pl.Categorical else 1).cast(dtype).alias(name) for name, dtype in schema]
    return pl.select(ones).lazy()


def _typed(name: str, kind: FeatureKind) -> nw.Expr:
    return nw.col(name).cast(nw.String if kind is FeatureKind.CATEGORICAL else nw.Float64)
