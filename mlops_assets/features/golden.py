"""Golden rows: inputs of the feature definitions with the resulting values, replayed whenever a bundle is opened.

So every change that alters values (a window, a mapping, a new library release) is detected, and no other. An on-demand view is
replayed on request rows, a batch view on rows of the source's tables, which gives the content of the online store. The rows
are stored as Parquet files in one archive.
"""

import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
import polars as pl
import polars.selectors as cs

from mlops_assets.errors import BundleError, DeclarationError
from mlops_assets.features.edge_rows import as_declared, edge_requests, with_edges
from mlops_assets.features.equality import unequal
from mlops_assets.features.views import lookup_table, request_features
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, FeatureView
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import tables_by_name
from mlops_assets.state.dtypes import input_schema

_FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # the earliest date in a zip file; a fixed date makes equal rows equal bytes
_CLOCKS = (EVENT_TIME, CREATED_TIME)
_NUMBER, _RECORDED, _NOW = "|number", "|recorded", "|now"


class Difference(msgspec.Struct, frozen=True):
    """A value that differs from the one that was recorded."""

    feature: str
    row: str
    recorded: object
    now: object

    def __str__(self) -> str:
        return f"{self.feature} was {self.recorded!r} and is {self.now!r} now ({self.row})"


class Lookup(msgspec.Struct, frozen=True):
    """The part of a batch view's declaration that its values do not show."""

    key: tuple[str, ...]
    time_to_live: timedelta | None
    lookback: timedelta


@dataclass(frozen=True)
class Golden:
    """rows: request columns, (n, ...). features: every model input of these rows, (n, inputs). tables: rows of the source, by
    table. values: the result of each batch view on these tables, by view. lookups: the declarations of these views."""

    rows: pl.DataFrame
    features: pl.DataFrame
    tables: dict[str, pl.DataFrame]
    values: dict[str, pl.DataFrame]
    lookups: dict[str, Lookup]

    @classmethod
    def record(
        cls,
        product: ModelProduct,
        rows: pl.DataFrame | None = None,
        features: pl.DataFrame | None = None,
        tables: Mapping[str, pl.DataFrame] | None = None,
    ) -> "Golden":
        """Records real rows with their stored features, and edge rows that are generated from the schema.

        rows: request columns, (n, ...); features: their model inputs; tables: rows of the source's tables. None: edge rows only.
        Raises DeclarationError: a definition fails on rows that the schema permits."""
        requests = edge_requests(product)
        source_rows = {
            name: with_edges(table, (tables or {}).get(name), product.period.start)
            for name, table in tables_by_name(product.source).items()
        }
        try:
            computed = _features(product, requests)
            values = {view.name: _values(product, view, source_rows) for view in product.lookups}
        except Exception as error:  # the definitions are the user's own
            raise DeclarationError(
                f"{product.name}: the features cannot be computed from rows that the source's declaration permits: {error}. Give "
                "them a value or null there, or declare the columns more narrowly (nullable, minimum, maximum, choices)."
            ) from error
        if rows is not None and features is not None:
            requests = pl.concat([as_declared(rows, product.request_columns()), requests])
            stored = features.select(pl.col(name).cast(kind) for name, kind in computed.schema.items())
            computed = pl.concat([stored, computed])
        return cls(requests, computed, source_rows, values, {view.name: _declared(view) for view in product.lookups})

    def first_difference(self, product: ModelProduct) -> Difference | None:
        """The first value that the definitions of `product` compute differently; None where all are equal."""
        try:
            return next(self._differences(product), None)
        except Exception as error:  # noqa: BLE001 (the definitions are the user's own)
            return Difference(
                "computing the features", "the golden rows", "possible", f"{type(error).__name__}: {error}"
            )

    def pack(self) -> bytes:
        """The archive; equal rows give equal bytes."""
        frames = {"rows": self.rows, "features": self.features}
        frames |= {f"tables/{name}": frame for name, frame in self.tables.items()}
        frames |= {f"values/{name}": frame for name, frame in self.values.items()}
        files = {"lookups.json": msgspec.json.encode(self.lookups, order="deterministic")}
        for name, frame in frames.items():
            content = io.BytesIO()
            frame.write_parquet(content, compression="zstd")
            files[f"{name}.parquet"] = content.getvalue()
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name in sorted(files):
                archive.writestr(zipfile.ZipInfo(name, _FIRST_DAY), files[name])
        return packed.getvalue()

    @classmethod
    def unpack(cls, content: bytes, title: str) -> "Golden":
        """title: the bundle's name in errors. Raises BundleError: the rows cannot be read."""
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                files = {name: archive.read(name) for name in archive.namelist()}
            lookups = msgspec.json.decode(files.pop("lookups.json"), type=dict[str, Lookup])
            frames = {name.removesuffix(".parquet"): pl.read_parquet(io.BytesIO(file)) for name, file in files.items()}
            tables, values = (
                {name.removeprefix(folder): frame for name, frame in frames.items() if name.startswith(folder)}
                for folder in ("tables/", "values/")
            )
            return cls(frames["rows"], frames["features"], tables, values, lookups)
        except (KeyError, zipfile.BadZipFile, msgspec.MsgspecError, pl.exceptions.PolarsError) as error:
            raise BundleError(
                f"{title}: its golden rows cannot be read: {error}. Materialise the model again."
            ) from error

    def _differences(self, product: ModelProduct) -> Iterator[Difference]:
        yield from _of_declarations(self.lookups, {view.name: _declared(view) for view in product.lookups})
        rows = as_declared(self.rows, product.request_columns())
        identity = rows.select(*dict.fromkeys((*product.entity_key, product.event_timestamp)))
        yield from _of_columns(self.features, _features(product, rows), identity)
        declared = tables_by_name(product.source)
        tables = {
            name: as_declared(frame, declared[name].columns) for name, frame in self.tables.items() if name in declared
        }
        for view in product.lookups:
            yield from _of_values(view, self.values[view.name], _values(product, view, tables))


def _features(product: ModelProduct, rows: pl.DataFrame) -> pl.DataFrame:
    """The features of the on-demand views on these rows, with the types of the model."""
    kinds = input_schema(product)
    names = [name for view in product.features if not view.is_batch for name in view.names]
    return request_features(product, rows.lazy()).select(pl.col(name).cast(kinds[name]) for name in names).collect()


def _values(product: ModelProduct, view: FeatureView, tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The result of a batch view on these tables, ordered by its key and clocks, with the types of the model."""
    table = lookup_table(view, {name: table.lazy() for name, table in tables.items()})
    kinds = input_schema(product)
    rows = table.select(*view.key, *_CLOCKS, *(pl.col(name).cast(kinds[name]) for name in view.names))
    texts = (cs.categorical() | cs.enum()).cast(pl.String)
    return rows.with_columns(texts).sort(*view.key, *_CLOCKS, *view.names).collect()


def _declared(view: FeatureView) -> Lookup:
    return Lookup(view.key, view.time_to_live, view.lookback)


def _of_declarations(recorded: Mapping[str, Lookup], now: Mapping[str, Lookup]) -> Iterator[Difference]:
    for name in sorted({*recorded, *now}):
        if name not in recorded or name not in now:
            yield Difference(f"view {name!r}", "its declaration", name in recorded, name in now)
            continue
        for field in Lookup.__struct_fields__:
            was, is_now = getattr(recorded[name], field), getattr(now[name], field)
            if was != is_now:
                yield Difference(f"{field} of view {name!r}", "its declaration", was, is_now)


def _of_columns(recorded: pl.DataFrame, now: pl.DataFrame, identity: pl.DataFrame) -> Iterator[Difference]:
    for name in dict.fromkeys([*recorded.columns, *now.columns]):
        was, is_now = str(recorded.schema.get(name, "absent")), str(now.schema.get(name, "absent"))
        if was != is_now:
            yield Difference(f"feature {name!r}", "its declaration", was, is_now)
            continue
        for number in unequal(recorded[name], now[name]).arg_true().head(1):
            row = _in_words(identity.row(number, named=True))
            yield Difference(f"feature {name!r}", row, recorded[name][number], now[name][number])


def _of_values(view: FeatureView, recorded: pl.DataFrame, now: pl.DataFrame) -> Iterator[Difference]:
    """Rows are compared by key and clocks, and by their order where these are equal."""
    identity = [*view.key, *_CLOCKS]
    names = [*identity, _NUMBER]
    before, after = (
        frame.with_columns(pl.int_range(pl.len()).over(identity).alias(_NUMBER), pl.lit(True).alias(side))
        for frame, side in ((recorded, _RECORDED), (now.cast({name: recorded.schema[name] for name in identity}), _NOW))
    )
    both = before.join(after, on=names, how="full", nulls_equal=True, coalesce=True, suffix=_NOW).sort(names)
    for name in view.names:
        was, is_now = both[name], both[f"{name}{_NOW}"].alias(name)
        differ = unequal(was, is_now) | both[_RECORDED].is_null() | both[_NOW].is_null()
        for number in differ.arg_true().head(1):
            row = both.row(number, named=True)
            sides = [value[number] if row[side] else "absent" for value, side in ((was, _RECORDED), (is_now, _NOW))]
            where = _in_words({key: row[key] for key in identity})
            yield Difference(f"feature {name!r} of view {view.name!r}", where, *sides)


def _in_words(values: Mapping[str, object]) -> str:
    return ", ".join(
        f"{name}={value.isoformat() if isinstance(value, datetime) else value}" for name, value in values.items()
    )
