"""A source of files: Parquet, CSV or JSON, by path or glob, on disk or on S3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from mlops_assets.errors import DeclarationError, SourceError, choices
from mlops_assets.products.source import Table, tables_by_name
from mlops_assets.sources.file_faults import (
    SEPARATORS,
    BrokenBlock,
    BrokenRow,
    broken_header,
    broken_lines,
    explain,
    format_of,
    unknown_format,
)
from mlops_assets.sources.files_found import find_files, what_is_there, where_it_looked
from mlops_assets.sources.typed_rows import are_of_period, rows_of_period, typed

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl

    from mlops_assets.products.periods import Period


class _Facts(NamedTuple):
    """Facts about a file. span: its first and last event timestamp; None: it may hold rows of any period."""

    schema: pl.Schema
    span: tuple[datetime, datetime] | None

    def may_hold(self, period: Period) -> bool:
        return self.span is None or (self.span[0] < period.end and period.start <= self.span[1])


class _Opened(NamedTuple):
    """A file that is read when its rows are collected. where: those of the period, in a text file of many periods."""

    table: Table
    path: str
    rows: pl.LazyFrame
    schema: pl.Schema
    period: Period | None
    where: pl.Expr | None


@dataclass(frozen=True)
class Files:
    """paths: of every table a path or glob, local or s3://bucket/…; `{period}` stands for the key of the period. Without
    it, rows are taken by their event timestamp. S3 is reached through the AWS_ variables.

    zone: of timestamps that carry no offset, such as "America/New_York". null_values: texts that mean null.
    separator: of the fields of a CSV. decimal: the mark before the fraction of its numbers, "." or ",".
    arrives_after: how long after the end of a period its files are complete.
    """

    main: Table
    paths: Mapping[str, str]
    side_tables: tuple[Table, ...] = ()
    arrives_after: timedelta = timedelta(0)
    zone: str | None = None
    null_values: tuple[str, ...] = ("",)
    separator: str = ","
    decimal: str = "."

    def __post_init__(self) -> None:
        for table in (self.main, *self.side_tables):
            if table.name not in self.paths:
                raise DeclarationError(f"no path is declared for table {table.name!r}. Add it to `paths`.")
        if self.separator not in SEPARATORS:
            separators = ", ".join(map(repr, SEPARATORS))
            raise DeclarationError(f"separator {self.separator!r} is not supported. Give one of {separators}.")
        if self.decimal not in (".", ",") or self.decimal == self.separator:
            raise DeclarationError(
                f"decimal {self.decimal!r} and separator {self.separator!r} do not go together. Give '.' or ',', and another separator."
            )
        for path in self.paths.values():
            if unknown := unknown_format(path):
                raise DeclarationError(unknown)

    def read(self, table: str, period: Period) -> pl.LazyFrame:
        """Before the frame is collected only schemas are read and, once for each of several files, its first and last time.

        Raises SourceError, here or when it is collected: no file is there, or one is damaged; it names file and line."""
        import polars as pl

        declared = self._table(table)
        versions = find_files(_of_period(self.paths[table], period))
        if not versions:
            raise SourceError(self._nothing(table, _of_period(self.paths[table], period)))
        if "{period}" in self.paths[table]:
            return self._rows_of([self._opened(declared, path) for path in versions])
        relevant = list(versions)
        if len(versions) > 1:
            facts = {path: self._facts_of(declared, path, version) for path, version in versions.items()}
            _refuse_other_schemas({path: each.schema for path, each in facts.items()})
            relevant = [path for path, each in facts.items() if each.may_hold(period)]
            if not relevant:
                return pl.LazyFrame(schema=next(iter(facts.values())).schema)
        rows = self._rows_of([self._opened(declared, path, period) for path in relevant])
        if declared.event_timestamp not in rows.collect_schema():
            return rows  # a table without its time column breaks the contract
        clock = pl.col(declared.event_timestamp)
        return rows.filter(clock >= period.start, clock < period.end)

    def _nothing(self, table: str, pattern: str) -> str:
        if not pattern.startswith("s3://") and (there := what_is_there(pattern)):
            return f"{table}: {pattern} is {there}. Deliver a file there, or correct `paths`."
        return f"{table}: {where_it_looked(pattern)}. Deliver it, or correct `paths`."

    def has_arrived(self, period: Period, now: datetime) -> bool:
        """Whether the period is over and every table has files."""
        return period.end + self.arrives_after <= now and all(
            find_files(_of_period(path, period)) for path in self.paths.values()
        )

    def _table(self, name: str) -> Table:
        tables = tables_by_name(self)
        if name not in tables:
            raise SourceError(f"these files have no table {name!r}. {choices(name, tables)}")
        return tables[name]

    @cached_property
    def _facts(self) -> dict[tuple[str, str, str], _Facts]:
        """By table, path and version: a period of many files opens only those that may hold rows of it."""
        return {}

    def _facts_of(self, table: Table, path: str, version: str) -> _Facts:
        key = (table.name, path, version)
        if key not in self._facts:
            opened = self._opened(table, path)
            self._facts[key] = _Facts(opened.schema, self._span(table, opened))
        return self._facts[key]

    def _span(self, table: Table, opened: _Opened) -> tuple[datetime, datetime] | None:
        """The first and the last event timestamp of a file; None where a row might lie elsewhere, because it cannot be read."""
        import polars as pl

        kind = opened.schema.get(table.event_timestamp)
        if not isinstance(kind, pl.Datetime) or kind.time_zone is None:
            return None
        if format_of(opened.path) == "csv" and broken_lines(opened.path, self.separator, declared=_names(table)):
            return None
        clock = pl.col(table.event_timestamp)
        try:
            span = opened.rows.select(
                clock.min().alias("first"), clock.max().alias("last"), clock.null_count().alias("nulls")
            ).collect()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, RecursionError):
            return None  # who reads the file hears what is wrong with it
        first, last, nulls = span.row(0)
        return None if nulls or first is None else (first, last)

    def _opened(self, table: Table, path: str, period: Period | None = None) -> _Opened:
        """A file of which only the schema was read. Raises SourceError: it is damaged.

        period: the only one that is read of a file of many, in which a row that cannot be read concerns its own period alone."""
        import polars as pl

        if format_of(path) == "csv" and (broken := broken_header(path, self.separator, _names(table))):
            raise SourceError(broken)
        try:
            written = self._scan(path)
            kind = written.collect_schema().get(table.column(table.event_timestamp).delivered_as)
            where = None
            if period is not None and isinstance(kind, pl.String):
                where = rows_of_period(table, kind, self.zone, period)
            rows_of_it = written if where is None else written.filter(where)
            rows = typed(table, rows_of_it, self.zone, decimal=self.decimal)
            return _Opened(table, path, rows, rows.collect_schema(), period, where)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, RecursionError) as error:
            raise SourceError(explain(path, error, separator=self.separator)) from None

    def _rows_of(self, files: Sequence[_Opened]) -> pl.LazyFrame:
        """The rows of the files, one file after the other; an error in one, when the frame is collected, names it."""
        import polars as pl
        from polars.io.plugins import register_io_source

        _refuse_other_schemas({file.path: file.schema for file in files})

        def batches(
            columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, size: int | None
        ) -> Iterator[pl.DataFrame]:
            left = rows
            for file in files:
                if format_of(file.path) == "csv" and (broken := self._broken_lines(file.table, file.path, file.period)):
                    raise SourceError(broken)
                selected = file.rows if predicate is None else file.rows.filter(predicate)
                selected = selected if columns is None else selected.select(columns)
                selected = selected if left is None else selected.head(left)
                try:
                    for batch in selected.collect_batches(chunk_size=size, maintain_order=True):
                        left = None if left is None else left - batch.height
                        yield batch
                except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, RecursionError) as error:
                    written = self._scan(file.path)
                    raise SourceError(
                        explain(
                            file.path, error, file.table, written, self.zone, self.separator, self.decimal, file.where
                        )
                    ) from None
                if left == 0:
                    return

        return register_io_source(batches, schema=files[0].schema)

    def _broken_lines(self, table: Table, path: str, period: Period | None) -> str:
        """period: whose broken lines matter; None: those of every period."""
        if period is None:
            return broken_lines(path, self.separator, declared=_names(table))

        def of_period(blocks: Sequence[BrokenBlock]) -> list[BrokenRow]:
            # the row before each block is needed, too: a row without a time belongs to the period of the row before it
            rows = [row for block in blocks for row in (BrokenRow(0, 0, block.before), *block.rows)]
            numbers = [number for number, block in enumerate(blocks) for _ in range(len(block.rows) + 1)]
            matters = are_of_period(table, self.zone, period, [row.value for row in rows], numbers)
            return [row for row, is_meant in zip(rows, matters, strict=True) if is_meant and row.line]

        clock = table.column(table.event_timestamp).delivered_as
        return broken_lines(path, self.separator, of_period, clock, _names(table))

    def _scan(self, path: str) -> pl.LazyFrame:
        import polars as pl

        match format_of(path):
            case "parquet":
                return pl.scan_parquet(path, glob=False)
            case "csv":
                return pl.scan_csv(
                    path,
                    glob=False,
                    separator=self.separator,
                    infer_schema=False,
                    null_values=list(self.null_values),
                    truncate_ragged_lines=True,  # ragged lines among the rows that matter were refused before
                )
            case "json":
                return pl.read_json(path).lazy()
            case _:
                return pl.scan_ndjson(path, infer_schema_length=None)


def _refuse_other_schemas(schemas: Mapping[str, pl.Schema]) -> None:
    """Raises SourceError: files of one table differ in their columns, so that one of them is wrong."""
    (first, *others) = schemas
    expected = schemas[first]
    for path in others:
        schema = schemas[path]
        if schema == expected:
            continue
        differing = [
            f"{name} is {schema.get(name, 'missing')}, {expected.get(name, 'missing')} there"
            for name in dict.fromkeys((*expected, *schema))
            if schema.get(name) != expected.get(name)
        ]
        if differing:
            raise SourceError(
                f"{path} has other columns than {first}: {'; '.join(differing)}. Deliver both with the same columns."
            )


def _of_period(path: str, period: Period) -> str:
    return path.replace("{period}", period.key)  # other braces belong to the name


def _names(table: Table) -> list[str]:
    return [column.delivered_as for column in table.delivered]
