"""Texts to declared kinds: what a CSV, a JSON file or a database without types says, as the table declares it.

A timestamp is a moment: it carries its offset from UTC, or the source declares the zone of its wall clock. A wall clock
that shows a time twice or skips it (daylight saving) is not guessed at: those rows are an error that names them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_assets.products.source import Column, Kind, Table

if TYPE_CHECKING:
    import polars as pl

_WITH_OFFSET = "%Y-%m-%dT%H:%M:%S%.f%#z"
_WALL_CLOCK = "%Y-%m-%dT%H:%M:%S%.f"


def typed(table: Table, rows: pl.LazyFrame, zone: str | None, *, strict: bool = True) -> pl.LazyFrame:
    """The declared columns that are there. strict: a text that does not fit is an error, else null."""
    schema = rows.collect_schema()
    held = [column for column in table.columns if column.name in schema]
    return rows.select(_parsed(column, schema[column.name], zone, strict) for column in held)


def unfit(table: Table, rows: pl.LazyFrame, zone: str | None, limit: int = 3) -> list[str]:
    """Which cells do not fit, as "row 7: distance is 'abc', not integer"; rows are counted from 1."""
    import polars as pl

    before, found = rows.collect(), []
    after = typed(table, rows, zone, strict=False).collect()
    for name in after.columns:
        lost = before[name].is_not_null() & after[name].is_null()
        for number in lost.arg_true().head(limit):
            found.append((number + 1, f"row {number + 1}: {name} is {before[name][number]!r}{_why(table, name, zone)}"))
    assert isinstance(before, pl.DataFrame)
    return [text for _, text in sorted(found)[:limit]]


def _why(table: Table, name: str, zone: str | None) -> str:
    kind = table.column(name).kind
    if kind is not Kind.TIMESTAMP:
        return f", not {kind}"
    if zone is None:
        return ", no timestamp with an offset such as 2013-07-04T11:15:00Z; declare `zone` if it is a wall clock"
    return f", which the clocks of {zone} show never or twice; give an offset from UTC"


def _parsed(column: Column, kind: pl.DataType, zone: str | None, strict: bool) -> pl.Expr:
    import polars as pl

    value = pl.col(column.name)
    if column.kind is Kind.TIMESTAMP:
        if isinstance(kind, pl.String):
            iso = value.str.replace(" ", "T", literal=True)
            if zone is None:
                return iso.str.to_datetime(_WITH_OFFSET, time_unit="us", strict=strict).dt.convert_time_zone("UTC")
            return _moment(iso.str.to_datetime(_WALL_CLOCK, time_unit="us", strict=strict), zone, strict)
        if isinstance(kind, pl.Datetime):
            if kind.time_zone is not None:
                return value.dt.convert_time_zone("UTC")
            if zone is not None:
                return _moment(value, zone, strict)
        return value
    if not isinstance(kind, pl.String):
        return value
    match column.kind:
        case Kind.INTEGER:
            return value.cast(pl.Int64, strict=strict)
        case Kind.FLOAT:
            return value.cast(pl.Float64, strict=strict)
        case Kind.BOOLEAN:
            texts = {"true": True, "false": False, "True": True, "False": False, "1": True, "0": False}
            if strict:
                return value.replace_strict(texts, return_dtype=pl.Boolean)
            return value.replace_strict(texts, default=None, return_dtype=pl.Boolean)
        case _:
            return value


def _moment(wall_clock: pl.Expr, zone: str, strict: bool) -> pl.Expr:
    moment = wall_clock.dt.replace_time_zone(
        zone, ambiguous="raise" if strict else "null", non_existent="raise" if strict else "null"
    )
    return moment.dt.convert_time_zone("UTC")
