"""Converts the texts of a CSV, a JSON file or an untyped database to the declared kinds.

A timestamp carries its offset from UTC, or the source declares the zone of its wall clock. A time that occurs twice or never
in that zone (daylight saving) is not guessed: such rows are an error that names them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlops_assets.products.source import EPOCH_MILLISECONDS, EPOCH_SECONDS, Column, Kind, Table

if TYPE_CHECKING:
    import polars as pl

    from mlops_assets.products.periods import Period

BOOLEANS = {"true": True, "false": False, "True": True, "False": False, "TRUE": True, "FALSE": False}
_WITH_OFFSET = "%Y-%m-%dT%H:%M:%S%.f%#z"
_WALL_CLOCK = "%Y-%m-%dT%H:%M:%S%.f"


def typed(
    table: Table, rows: pl.LazyFrame, zone: str | None, *, strict: bool = True, decimal: str = "."
) -> pl.LazyFrame:
    """The declared columns, by their declared names and of the declared kinds; where one is missing the undeclared columns, too,
    so that an error can name them. strict: a text that does not fit is an error, else null.

    decimal: the mark before the fraction of a number that is stored as text."""
    schema = rows.collect_schema()
    present = [column for column in table.columns if column.delivered_as in schema]
    is_whole = all(column.delivered_as in schema for column in table.delivered)
    declared = {name for column in table.columns for name in (column.name, column.delivered_as)}
    others = [] if is_whole else [name for name in schema if name not in declared]
    return rows.select(
        *(_parsed(column, schema[column.delivered_as], zone, strict, decimal).alias(column.name) for column in present),
        *others,
    )


def rows_of_period(table: Table, kind: pl.DataType, zone: str | None, period: Period) -> pl.Expr:
    """Which rows of a text file belong to the period. A row whose time cannot be read belongs to the period of the row before it,
    so that only that period cannot be stored. kind: of the column of the event timestamp."""
    moment = _parsed(table.column(table.event_timestamp), kind, zone, strict=False, decimal=".")
    placed = moment.forward_fill().backward_fill().fill_null(period.start)
    return (placed >= period.start) & (placed < period.end)


def are_of_period(
    table: Table, zone: str | None, period: Period, texts: Sequence[str], blocks: Sequence[int]
) -> list[bool]:
    """As `rows_of_period`, for rows in separate blocks; a block in which no time can be read may belong to any period."""
    import polars as pl

    name = table.column(table.event_timestamp).delivered_as
    rows = pl.DataFrame({name: texts, "block of rows": blocks}, schema={name: pl.String, "block of rows": pl.Int64})
    moment = _parsed(table.column(table.event_timestamp), pl.String(), zone, strict=False, decimal=".")
    placed = moment.forward_fill().over("block of rows").fill_null(period.start)
    return rows.select((placed >= period.start) & (placed < period.end)).to_series().to_list()


def unfit(
    table: Table,
    rows: pl.LazyFrame,
    zone: str | None,
    limit: int = 3,
    where: pl.Expr | None = None,
    *,
    decimal: str = ".",
) -> list[str]:
    """Which cells do not fit, as "row 7: distance is 'abc', not integer"; rows are counted from 1. where: those that matter."""
    import polars as pl

    texts, cells = rows.collect(), []
    assert isinstance(texts, pl.DataFrame)
    matters = texts.select(pl.lit(True) if where is None else where).to_series()
    after = typed(table, rows, zone, strict=False, decimal=decimal).collect()
    for name in after.columns:
        written = texts[table.column(name).delivered_as]
        lost = written.is_not_null() & after[name].is_null() & matters
        for number in lost.arg_true().head(limit):
            cells.append(
                (
                    number + 1,
                    f"row {number + 1}: {name} is {written[number]!r}{_why(table, name, zone, str(written[number]))}",
                )
            )
    return [text for _, text in sorted(cells)[:limit]]


def _why(table: Table, name: str, zone: str | None, written: str) -> str:
    kind, format = table.column(name).kind, table.column(name).format
    if kind is not Kind.TIMESTAMP:
        is_decimal_comma = kind is Kind.FLOAT and re.fullmatch(r"[+-]?\d+,\d+", written.strip())
        return f", not {kind}" + ("; declare decimal=',' if that is its decimal mark" if is_decimal_comma else "")
    if format:
        return f", not of the format {format!r}" + (f", or a time that occurs never or twice in {zone}" if zone else "")
    if zone is None:
        return ", no timestamp with an offset such as 2013-07-04T11:15:00Z; declare `zone` if it is a wall clock"
    return f", which occurs never or twice in {zone}; give an offset from UTC"


def _parsed(column: Column, kind: pl.DataType, zone: str | None, strict: bool, decimal: str) -> pl.Expr:
    import polars as pl

    value = pl.col(column.delivered_as)
    if isinstance(kind, pl.Null):
        value, kind = value.cast(pl.String), pl.String()  # a column without values, as pandas writes it
    if column.kind is Kind.TIMESTAMP:
        if column.format in (EPOCH_SECONDS, EPOCH_MILLISECONDS):
            unit = 1_000_000 if column.format == EPOCH_SECONDS else 1_000
            return (value.cast(pl.Float64, strict=strict) * unit).round().cast(pl.Int64).cast(pl.Datetime("us", "UTC"))
        if isinstance(kind, pl.String) or (column.format and kind.is_integer()):
            return _read_moment(value.cast(pl.String), column.format, zone, strict)
        if isinstance(kind, pl.Date):
            return _moment(value.cast(pl.Datetime("us")), zone or "UTC", strict)
        if isinstance(kind, pl.Datetime):
            if kind.time_zone is not None:
                return value.dt.convert_time_zone("UTC")
            if zone is not None:
                return _moment(value, zone, strict)
        return value
    if column.kind is Kind.STRING and isinstance(kind, pl.Categorical | pl.Enum):
        return value.cast(pl.String)
    if column.kind is Kind.FLOAT and kind.is_numeric():
        number = value.cast(pl.Float64)  # one file may hold whole numbers, and the next one others
        return number.fill_nan(None) if column.nullable else number  # pandas writes null as NaN
    if column.kind is Kind.INTEGER and is_whole(kind):
        return value.cast(pl.Int64, strict=strict)
    if not isinstance(kind, pl.String):
        return value
    match column.kind:
        case Kind.INTEGER:
            return value.cast(pl.Int64, strict=strict)
        case Kind.FLOAT:
            number = value if decimal == "." else value.str.replace(decimal, ".", literal=True)
            return number.cast(pl.Float64, strict=strict)
        case Kind.BOOLEAN:
            numbered = {**BOOLEANS, "1": True, "0": False}
            if strict:
                return value.replace_strict(numbered, return_dtype=pl.Boolean)
            return value.replace_strict(numbered, default=None, return_dtype=pl.Boolean)
        case _:
            return value


def is_whole(kind: pl.DataType) -> bool:
    """Whether its values are whole numbers; databases export them as decimals without digits after the point."""
    import polars as pl

    return kind.is_integer() or (isinstance(kind, pl.Decimal) and not kind.scale)


def with_day(text: pl.Expr, format: str) -> tuple[pl.Expr, str]:
    """Text and format with the first day of the month or year added, where the source writes only a month or a year."""
    import polars as pl

    if "%y" not in format.lower() or any(f"%{part}" in format for part in "dejUWVD"):
        return text, format
    missing = "-%d" if any(part in format for part in ("%m", "%b", "%B")) else "-%m-%d"
    return pl.concat_str(text, pl.lit("-01" * missing.count("%"))), format + missing


def _read_moment(text: pl.Expr, format: str, zone: str | None, strict: bool) -> pl.Expr:
    """A text of the declared format, or ISO 8601: with its offset, or the wall clock of `zone`."""
    text, format = with_day(text, format)
    iso = text if format else text.str.replace(" ", "T", literal=True)
    if (zone is None and not format) or "%z" in format or "%#z" in format:
        with_offset = iso.str.to_datetime(format or _WITH_OFFSET, time_unit="us", strict=strict)
        return with_offset.dt.convert_time_zone("UTC")
    wall_clock = iso.str.to_datetime(format or _WALL_CLOCK, time_unit="us", strict=strict)
    return _moment(wall_clock, zone or "UTC", strict)


def _moment(wall_clock: pl.Expr, zone: str, strict: bool) -> pl.Expr:
    moment = wall_clock.dt.replace_time_zone(
        zone, ambiguous="raise" if strict else "null", non_existent="raise" if strict else "null"
    )
    return moment.dt.convert_time_zone("UTC")
