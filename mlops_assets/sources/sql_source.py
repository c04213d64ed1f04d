"""A source of database tables: Postgres and SQLite through ADBC, others through connectorx."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from mlops_assets.addresses import is_of_postgres, reason, refuse_unclear, shown
from mlops_assets.errors import DeclarationError, SourceError, choices
from mlops_assets.products.source import EPOCH_MILLISECONDS, EPOCH_SECONDS, Column, Kind, Table, tables_by_name
from mlops_assets.sources.typed_rows import typed

DAYS = "%Y-%m-%d"  # besides ISO 8601, the only text format in which a database can select periods

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl

    from mlops_assets.products.periods import Period


@dataclass(frozen=True)
class Sql:
    """queries: for every table its name in the database, or a SELECT in parentheses.

    url_variable: environment variable with the address, such as postgresql://user:password@host/database or
    "host=… dbname=… password=…". It is read together with the rows, because the UI shows a declaration and an address contains
    a password; no error repeats it. url: the address of an SQLite file, which has no password, instead of a variable.
    zone: the time zone of timestamps without an offset. arrives_after: how long after its end a period is complete.
    """

    main: Table
    queries: Mapping[str, str]
    url_variable: str = ""
    side_tables: tuple[Table, ...] = ()
    arrives_after: timedelta = timedelta(0)
    zone: str | None = None
    url: str = ""

    def __post_init__(self) -> None:
        if bool(self.url) == bool(self.url_variable) or (self.url and _driver(self.url) != "sqlite"):
            raise DeclarationError(
                f"the database of {self.main.name} needs one address. Name the environment variable with the address as "
                "url_variable=…, or give url='sqlite://…', an address without a password."
            )
        for table in (self.main, *self.side_tables):
            if table.name not in self.queries:
                raise DeclarationError(f"no query is declared for table {table.name!r}. Add it to `queries`.")
            event = table.column(table.event_timestamp)
            if event.format not in ("", DAYS, EPOCH_SECONDS, EPOCH_MILLISECONDS):
                raise DeclarationError(
                    f"{table.name}: a database cannot select periods by {event.name!r}, a string in the format {event.format!r}. Give "
                    "a SELECT in `queries` that converts it to a timestamp."
                )

    def read(self, table: str, period: Period) -> pl.LazyFrame:
        """The rows, streamed batch by batch when they are collected; only the period's rows leave the database.

        Raises SourceError, here or when they are collected: the database cannot be reached or refuses the query.
        Raises DeclarationError: the address is ambiguous."""
        tables = tables_by_name(self)
        if table not in tables:
            raise SourceError(f"this database has no table {table!r}. {choices(table, tables)}")
        url = self._url()
        query = self._query(tables[table], url, period)
        schema = _sqlite_schema(tables[table]) if _driver(url) == "sqlite" else None
        rows = _through_adbc(url, query, schema) if _driver(url) else _through_connectorx(url, query)
        return typed(tables[table], rows, self.zone)

    def has_arrived(self, period: Period, now: datetime) -> bool:
        return period.end + self.arrives_after <= now

    def _url(self) -> str:
        if self.url:
            return self.url
        url = os.environ.get(self.url_variable)
        if not url:
            raise SourceError(
                f"{self.url_variable} is not set. Set it to the address of the database of {self.main.name}."
            )
        refuse_unclear(url, self.url_variable)
        return url

    def _query(self, table: Table, url: str, period: Period) -> str:
        columns = ", ".join(_quoted(column.delivered_as) for column in table.delivered)
        event = table.column(table.event_timestamp)
        clock = _quoted(event.delivered_as)
        start, end = (self._literal(moment, url, event.format) for moment in (period.start, period.end))
        is_text = _driver(url) == "sqlite" and not event.format
        # SQLite compares strings, and its own functions write a space between day and time
        comparable = f"replace({clock}, ' ', 'T')" if is_text else clock
        return (
            f"SELECT {columns} FROM {self.queries[table.name]} AS source "
            f"WHERE {comparable} >= {start} AND {comparable} < {end} ORDER BY {clock}"
        )

    def _literal(self, moment: datetime, url: str, format: str) -> str:
        if format in (EPOCH_SECONDS, EPOCH_MILLISECONDS):
            return f"{moment.timestamp() * (1 if format == EPOCH_SECONDS else 1_000):.0f}"
        moment = moment.astimezone(ZoneInfo(self.zone)) if self.zone else moment
        if _driver(url) != "sqlite":
            return f"'{(moment.replace(tzinfo=None) if self.zone else moment).isoformat()}'"
        # in SQLite a string without an offset sorts before the same one with an offset, and a day before its times
        return f"'{moment.replace(tzinfo=None).isoformat().removesuffix('T00:00:00')}'"


def read_query(url: str, query: str) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """All rows of a query, from a database with an ADBC driver, and the columns that are not among them: Polars has no type for
    intervals of months.

    Raises SourceError: the database cannot be reached or refuses the query.
    Raises DeclarationError: the address is ambiguous."""
    import pyarrow as pa

    refuse_unclear(url, "the address")
    try:
        with closing(_connect(url)) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(query)
            table = cursor.fetch_arrow_table()
            unread = tuple(field.name for field in table.schema if pa.types.is_interval(field.type))
            return _frame(table.drop_columns(unread)), unread
    except _adbc_errors() as error:
        raise _failed(url, error, 0) from None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _driver(url: str) -> str:
    if is_of_postgres(url):
        return "postgresql"
    return "sqlite" if url.startswith("sqlite://") else ""


def _sqlite_schema(table: Table) -> pl.Schema:
    """The types of a table's values: in SQLite values have types, but columns do not."""
    import polars as pl

    return pl.Schema({column.delivered_as: _sqlite_type(column) for column in table.delivered})


def _sqlite_type(column: Column) -> pl.DataType:
    import polars as pl

    if column.kind is Kind.INTEGER or column.format in (EPOCH_SECONDS, EPOCH_MILLISECONDS):
        return pl.Int64()
    return pl.Float64() if column.kind is Kind.FLOAT else pl.String()


def _through_adbc(url: str, query: str, schema: pl.Schema | None = None) -> pl.LazyFrame:
    from polars.io.plugins import register_io_source

    def batches(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, size: int | None
    ) -> Iterator[pl.DataFrame]:
        read = 0
        try:
            with closing(_connect(url)) as connection, closing(connection.cursor()) as cursor:
                cursor.execute(query)
                for batch in cursor.fetch_record_batch():
                    frame = _frame(batch)
                    read += frame.height
                    frame = frame if schema is None else frame.cast(schema)
                    frame = frame if predicate is None else frame.filter(predicate)
                    frame = frame if columns is None else frame.select(columns)
                    yield frame if rows is None else frame.head(rows)
        except _adbc_errors() as error:
            raise _failed(url, error, read) from None

    if schema is not None:
        return register_io_source(batches, schema=schema)
    try:
        with closing(_connect(url)) as connection, closing(connection.cursor()) as cursor:
            cursor.execute(f"SELECT * FROM ({query}) AS source LIMIT 0")
            described_schema = _frame(cursor.fetch_arrow_table()).schema
    except _adbc_errors() as error:
        raise _failed(url, error, 0) from None
    return register_io_source(batches, schema=described_schema)


def _frame(rows: Any) -> pl.DataFrame:
    """Arrow rows; values of a type that Arrow lacks, such as numeric and jsonb of Postgres, as the texts that they come as."""
    import polars as pl

    frame = pl.DataFrame(rows)
    extended = [name for name, kind in frame.schema.items() if isinstance(kind, pl.BaseExtension)]
    return frame.with_columns(pl.col(name).ext.storage() for name in extended)


def _connect(url: str) -> Any:
    if _driver(url) == "sqlite":
        from adbc_driver_sqlite import dbapi as sqlite

        return sqlite.connect(url.removeprefix("sqlite://"))
    from adbc_driver_postgresql import dbapi as postgresql

    return postgresql.connect(url)


def _through_connectorx(url: str, query: str) -> pl.LazyFrame:
    import polars as pl

    try:
        return pl.read_database_uri(query, url, engine="connectorx").lazy()
    except RuntimeError as error:  # connectorx raises it for every fault
        raise _failed(url, error, 0) from None


def _adbc_errors() -> tuple[type[Exception], ...]:
    import pyarrow as pa
    from adbc_driver_manager import Error

    return (Error, OSError, pa.ArrowException)


def _failed(url: str, error: Exception, read: int) -> SourceError:
    after = f" after {read:,} rows" if read else ""
    return SourceError(
        f"the database {shown(url)} stopped{after}: {reason(error, url)}. Nothing was stored. Check that it is up and that "
        "the query is right, then run it again."
    )
