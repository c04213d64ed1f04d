"""The contents of a table in a few numbers: data version, schema, and statistics per column.

The version is a hash of the values, not of the file: equal rows have equal versions, whichever engine, writer or library
release wrote them, and however they were split into batches.
"""

import hashlib
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import polars as pl

if TYPE_CHECKING:
    from hashlib import _Hash

VERSION_DIGITS = 16
_ROWS_PER_BATCH = 250_000


class ColumnStatistics(msgspec.Struct, frozen=True):
    """minimum, maximum: as text, in the column's own notation. mean: only for numbers."""

    name: str
    kind: str
    nulls: int
    minimum: str | None = None
    maximum: str | None = None
    mean: float | None = None


class Contents(msgspec.Struct, frozen=True):
    version: str
    rows: int
    columns: tuple[ColumnStatistics, ...]

    @property
    def schema(self) -> dict[str, str]:
        return {column.name: column.kind for column in self.columns}


def contents_of(rows: pl.DataFrame | pl.LazyFrame) -> Contents:
    """Lazy rows are read once, batch by batch, so that memory use stays constant."""
    batches: Iterable[pl.DataFrame]
    if isinstance(rows, pl.DataFrame):
        schema, batches = rows.schema, (rows,)
    else:
        schema = rows.collect_schema()
        batches = rows.collect_batches(chunk_size=_ROWS_PER_BATCH, maintain_order=True)
    columns = {name: _Column(kind) for name, kind in schema.items()}
    height = 0
    # rows of an empty table may arrive as one empty batch or as none
    for batch in chain([pl.DataFrame(schema=schema)], batches):
        height += batch.height
        for name, column in columns.items():
            column.take(batch[name])
    whole = hashlib.sha256(f"{height} rows".encode())
    for name, column in columns.items():
        whole.update(f"\n{name} {column.kind} {column.values.digest()}".encode())
    statistics = tuple(column.statistics(name) for name, column in columns.items())
    return Contents(whole.hexdigest()[:VERSION_DIGITS], height, statistics)


class _Values:
    """Hash of a series of values. Nulls, lengths and bytes have separate hashes, so the result does not depend on batches."""

    def __init__(self) -> None:
        self._parts: dict[str, _Hash] = {}
        self._fields: dict[str, _Values] = {}

    def take(self, series: pl.Series) -> None:
        self._part("nulls").update(series.is_null().to_numpy().tobytes())
        kind = series.dtype
        if isinstance(kind, pl.Categorical | pl.Enum):
            series, kind = series.cast(pl.String), pl.String()
        if isinstance(kind, pl.String):
            series, kind = series.cast(pl.Binary), pl.Binary()
        if isinstance(kind, pl.Binary):
            filled = series.fill_null(b"")
            self._part("lengths").update(filled.bin.size().to_numpy().tobytes())
            self._part("values").update(b"".join(filled))
        elif isinstance(kind, pl.List):
            lengths = series.list.len().fill_null(0)
            self._part("lengths").update(lengths.to_numpy().tobytes())
            self._field("items").take(series.filter(lengths > 0).explode())
        elif isinstance(kind, pl.Array):
            self.take(series.arr.to_list())
        elif isinstance(kind, pl.Struct):
            for field in kind.fields:
                self._field(field.name).take(series.struct.field(field.name))
        elif not isinstance(kind, pl.Null):
            numbers = series.to_physical()
            filled = numbers.fill_null(False if numbers.dtype == pl.Boolean else 0)
            self._part("values").update(np.ascontiguousarray(filled.to_numpy()).tobytes())

    def digest(self) -> str:
        parts = [f"{name}={part.hexdigest()}" for name, part in sorted(self._parts.items())]
        return " ".join(parts + [f"{name}({field.digest()})" for name, field in sorted(self._fields.items())])

    def _part(self, name: str) -> "_Hash":
        return self._parts.setdefault(name, hashlib.sha256())

    def _field(self, name: str) -> "_Values":
        return self._fields.setdefault(name, _Values())


class _Column:
    def __init__(self, kind: pl.DataType) -> None:
        self.kind = kind
        self.values = _Values()
        self._is_ordered = kind.is_numeric() or kind.is_temporal() or kind in (pl.String, pl.Boolean)
        self._counted = self._nulls = 0
        self._sum = 0.0
        self._ends: list[object] = []

    def take(self, series: pl.Series) -> None:
        self.values.take(series)
        self._nulls += series.null_count()
        self._counted += series.len() - series.null_count()
        if self.kind.is_numeric():
            self._sum += float(series.cast(pl.Float64).sum())
        if self._is_ordered:
            ends = pl.Series([*self._ends, series.min(), series.max()], dtype=self.kind).drop_nulls()
            self._ends = [ends.min(), ends.max()] if ends.len() else []

    def statistics(self, name: str) -> ColumnStatistics:
        least, most = (str(end) for end in self._ends) if self._ends else (None, None)
        mean = self._sum / self._counted if self.kind.is_numeric() and self._counted else None
        return ColumnStatistics(name, str(self.kind), self._nulls, least, most, mean)
