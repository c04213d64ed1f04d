"""Edge rows of requests and of the source's tables: the ends of every column's range, zero, null, and turns of the calendar."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import polars as pl

from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Column, Kind, Table
from mlops_assets.state.dtypes import DTYPES, column_schema

MAX_CATEGORIES = 20
UNKNOWN_CATEGORY = "never seen in training"


def edge_rows(product: ModelProduct, at_least: int = 0) -> list[dict[str, Any]]:
    """One row for each edge value of each request column, with random edge values in the others; the event timestamp is never
    null."""
    draw = Random(0)
    values = {column.name: edge_values(column) for column in product.request_columns()}
    if None in values[product.event_timestamp]:
        values[product.event_timestamp].remove(None)
    rows: list[dict[str, Any]] = []
    for name, edges in values.items():
        rows += [{**{other: draw.choice(its) for other, its in values.items()}, name: value} for value in edges]
    while len(rows) < at_least:
        rows.append({name: draw.choice(edges) for name, edges in values.items()})
    return rows


def edge_requests(product: ModelProduct) -> pl.DataFrame:
    return pl.DataFrame(edge_rows(product), schema=column_schema(product.request_columns()), orient="row")


def edge_values(column: Column) -> list[Any]:
    match column.kind:
        case Kind.INTEGER | Kind.FLOAT:
            low = -(10**9) if column.minimum is None else column.minimum
            high = 10**9 if column.maximum is None else column.maximum
            numbers = {low, high, (low + high) / 2, *(value for value in (0, 1, -1) if low <= value <= high)}
            values: list[Any] = [int(v) if column.kind is Kind.INTEGER else float(v) for v in sorted(numbers)]
        case Kind.BOOLEAN:
            values = [True, False]
        case Kind.STRING:
            values = list(column.choices) or ["", "a", "ÅÄÖ"]
        case Kind.TIMESTAMP:
            values = [
                datetime(year, month, day, hour, minute, tzinfo=UTC)
                for year in (2, 1969, 2013, 2024, 9_998)
                for month, day in ((1, 1), (2, 28), (3, 10), (7, 4), (11, 3), (12, 31))
                for hour, minute in ((0, 0), (5, 59), (6, 0), (7, 0), (23, 59))
            ]
    return [*values, None] if column.nullable else values


def with_edges(table: Table, rows: pl.DataFrame | None, start: datetime) -> pl.DataFrame:
    """Rows of a source's table and copies of them with the edge values that the contract permits; copies have the clocks of real
    rows. start: the clocks of the first row, where there are no real rows."""
    schema = column_schema(table.columns)
    clocks = (table.event_timestamp, table.created_timestamp)
    default: dict[str, Any] = {column.name: next(iter(_permitted(column)), start) for column in table.columns}
    bases = pl.DataFrame([default], schema=schema) if rows is None or rows.is_empty() else rows
    bases = as_declared(bases, table.columns).sort(*clocks, *schema)
    changes = [
        (column.name, value) for column in table.columns if column.name not in clocks for value in _permitted(column)
    ]
    edges = [
        {**bases.row(number % bases.height, named=True), name: value} for number, (name, value) in enumerate(changes)
    ]
    if rows is None:  # one an hour, so that sums over time have several rows
        edges = [
            {**edge, **{clock: start + timedelta(hours=number) for clock in clocks}}
            for number, edge in enumerate(edges)
        ]
    return pl.concat([bases, pl.DataFrame(edges, schema=schema, orient="row")])


def _permitted(column: Column) -> list[Any]:
    """Edge values that a column's contract permits."""
    match column.kind:
        case Kind.STRING:
            values: list[Any] = list(column.choices[:MAX_CATEGORIES]) or [UNKNOWN_CATEGORY]
        case Kind.BOOLEAN:
            values = [True, False]
        case Kind.TIMESTAMP:
            values = []
        case Kind.INTEGER | Kind.FLOAT:
            ends = [end for end in (column.minimum, column.maximum) if end is not None]
            values = [int(end) if column.kind is Kind.INTEGER else float(end) for end in ends or [0]]
    return [*values, None] if column.nullable else values


def as_declared(rows: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
    """These columns with their declared types; a missing one is null."""
    return rows.select(
        pl.col(column.name).cast(DTYPES[column.kind], strict=False)
        if column.name in rows.columns
        else pl.lit(None, DTYPES[column.kind]).alias(column.name)
        for column in columns
    )
