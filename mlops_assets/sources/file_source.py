"""A source of files: Parquet, CSV or JSON, by path or glob, on disk or on S3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from mlops_assets.errors import DeclarationError, SourceError, choices
from mlops_assets.products.source import Table, tables_by_name
from mlops_assets.sources.file_faults import (
    SEPARATORS,
    BrokenBlock,
    BrokenRow,
    broken_header,
    broken_lines,
    explain,
)
from mlops_assets.sources.files_found import find_files, what_is_there, where_it_looked
from mlops_assets.sources.typed_rows import are_of_period, rows_of_period, typed

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl

    from mlops_assets.products.periods import Period

FORMATS = ("parquet", "csv", "ndjson", "jsonl", "json")


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
            known = ", ".join(map(repr, SEPARATORS))
            raise DeclarationError(f"separator {self.separator!r} is not supported. Give one of {known}.")
        if self.decimal not in (".", ",") or self.decimal == self.separator:
            raise DeclarationError(
                f"decimal {self.decimal!r} and separator {self.separator!r} do not go together. Give '.' or ',', and another separator."
            )
        for path in self.paths.values():
            if _format(path) not in FORMATS:
                raise DeclarationError(
                    f"{path} has no known format. {choices(_format(path), FORMATS)} The ending of the path says which."
                )

    def read(self, table: str, period: Period) -> pl.LazyFrame:
        """Only schemas are read before the frame is collected, and then file by file.

        Raises SourceError, here or when it is collected: no file is there, or one is damaged; it names file and line."""
        import polars as pl

        declared = self._table(table)
        found = find_files(self.paths[table].format(period=period.key))
        if not found:
            raise SourceError(self._nothing(table, self.paths[table].format(period=period.key)))
        is_of_many = "{period}" not in self.paths[table]
        frames = {path: self._guarded(declared, path, period if is_of_many else None) for path in found}
        _refuse_other_schemas(frames)
        rows = pl.concat(frames.values(), how="vertical")
        if not is_of_many or declared.event_timestamp not in rows.collect_schema():
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
            find_files(path.format(period=period.key)) for path in self.paths.values()
        )

    def _table(self, name: str) -> Table:
        known = tables_by_name(self)
        if name not in known:
            raise SourceError(f"these files have no table {name!r}. {choices(name, known)}")
        return known[name]

    def _guarded(self, table: Table, path: str, period: Period | None) -> pl.LazyFrame:
        """The rows of one file; errors in it, now or when it is collected, name the file.

        period: the only one that is read of a file of many, in which a row that cannot be read concerns its own period alone."""
        import polars as pl
        from polars.io.plugins import register_io_source

        if _format(path) == "csv" and (broken := broken_header(path, self.separator, _names(table))):
            raise SourceError(broken)
        try:
            written = self._scan(path)
            kind = written.collect_schema().get(table.column(table.event_timestamp).delivered_as)
            where = None
            if period is not None and isinstance(kind, pl.String):
                where = rows_of_period(table, kind, self.zone, period)
            rows_of_it = written if where is None else written.filter(where)
            lazy = typed(table, rows_of_it, self.zone, decimal=self.decimal)
            schema = lazy.collect_schema()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, RecursionError) as error:
            raise SourceError(explain(path, error, separator=self.separator)) from None

        def batches(
            columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, size: int | None
        ) -> Iterator[pl.DataFrame]:
            if _format(path) == "csv" and (broken := self._broken_lines(table, path, period)):
                raise SourceError(broken)
            wanted = lazy if predicate is None else lazy.filter(predicate)
            wanted = wanted if columns is None else wanted.select(columns)
            wanted = wanted if rows is None else wanted.head(rows)
            try:
                yield from wanted.collect_batches(chunk_size=size, maintain_order=True)
            except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, RecursionError) as error:
                raise SourceError(
                    explain(path, error, table, self._scan(path), self.zone, self.separator, self.decimal, where)
                ) from None

        return register_io_source(batches, schema=schema)

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

        match _format(path):
            case "parquet":
                return pl.scan_parquet(path)
            case "csv":
                return pl.scan_csv(
                    path,
                    separator=self.separator,
                    infer_schema=False,
                    null_values=list(self.null_values),
                    truncate_ragged_lines=True,  # ragged lines among the rows that matter were refused before
                )
            case "json":
                return pl.read_json(path).lazy()
            case _:
                return pl.scan_ndjson(path, infer_schema_length=None)


def _refuse_other_schemas(frames: Mapping[str, pl.LazyFrame]) -> None:
    """Raises SourceError: files of one table differ in their columns, so that one of them is wrong."""
    (first, *others) = frames
    expected = frames[first].collect_schema()
    for path in others:
        schema = frames[path].collect_schema()
        differing = [
            f"{name} is {schema.get(name, 'missing')}, {expected.get(name, 'missing')} there"
            for name in dict.fromkeys((*expected, *schema))
            if schema.get(name) != expected.get(name)
        ]
        if differing:
            raise SourceError(
                f"{path} has other columns than {first}: {'; '.join(differing)}. Deliver both with the same columns."
            )


def _names(table: Table) -> list[str]:
    return [column.delivered_as for column in table.delivered]


def _format(path: str) -> str:
    return path.rpartition(".")[-1].lower()
