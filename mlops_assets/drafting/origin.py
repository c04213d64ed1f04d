"""Reads the table for a draft, with its values as they are stored: files by path, glob or S3 address, Postgres, SQLite."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import polars as pl

from mlops_assets.addresses import is_of_postgres, reason, shown
from mlops_assets.drafting.clock import moments_of
from mlops_assets.drafting.questions import listed
from mlops_assets.errors import SourceError, choices
from mlops_assets.sources.file_faults import (
    SEPARATORS,
    broken_header,
    broken_lines,
    explain,
    format_of,
    unknown_format,
)
from mlops_assets.sources.files_found import find_files, open_bytes, what_is_there, where_it_looked
from mlops_assets.sources.sql_source import read_query

if TYPE_CHECKING:
    import sqlite3

MOST_ROWS = 1_000_000  # of a table with more rows only every second, third, … row is read
NULL_WORDS = ("NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "-", "?")
_YES_AND_NO = ("true", "false", "yes", "no", "y", "n", "t", "f")
_HEAD_BYTES = 100_000
_SQLITE_ENDINGS = (".db", ".sqlite", ".sqlite3")


@dataclass(frozen=True)
class Origin:
    """A table that was read. name: for the declaration. every: one of so many rows was read.

    pattern: path of its files. url, query: of its database; url is "" where it may contain a password.
    unread: columns that are not among the rows: only some files have them, or Polars has no type for them."""

    name: str
    rows: pl.DataFrame
    pattern: str = ""
    separator: str = ","
    query: str = ""
    url: str = ""
    is_postgres: bool = False
    every: int = 1
    null_words: tuple[str, ...] = field(default=())
    unread: tuple[str, ...] = field(default=())

    @property
    def is_text(self) -> bool:
        """Whether every value is a text, so that its kind has to be inferred."""
        return self.pattern.lower().endswith(".csv")


def read_origin(source: str) -> Origin:
    """Raises SourceError: the table does not exist, has no rows or cannot be read; the sentence says what to do."""
    path = urlsplit(source).path.lower()
    if is_of_postgres(source):
        origin = _from_postgres(source)
    elif source.startswith("sqlite://") or path.endswith(_SQLITE_ENDINGS):
        origin = _from_sqlite(source)
    else:
        origin = _from_files(source)
    place = origin.pattern or f"table {origin.query}"
    if not origin.rows.width or not origin.rows.height:
        raise SourceError(f"{place} has no rows. Deliver some: the product is drafted from them.")
    if origin.rows.width == 1:
        raise SourceError(
            f"{place} has one column, {origin.rows.columns[0]!r}. A product needs at least a time column and a label: add the other "
            "one, or name another table."
        )
    return origin


def _from_files(pattern: str) -> Origin:
    ending = format_of(pattern)
    if "://" in pattern and not pattern.startswith("s3://"):
        raise SourceError(
            f"{shown(pattern)} cannot be read. Known: files on disk, s3://bucket/…, postgresql://…?table=… and "
            "sqlite://file.db?table=… Copy the table to one of them."
        )
    if Path(pattern).is_dir():
        folder = pattern.rstrip("/")
        raise SourceError(
            f"{pattern} is a folder. Name its files, as in {folder}/*.parquet, or {folder}/**/*.parquet with those of its folders."
        )
    if unknown := unknown_format(pattern):
        raise SourceError(unknown)
    paths = list(find_files(pattern))
    if not paths:
        there = "" if pattern.startswith("s3://") else what_is_there(pattern)
        fact = f"{pattern} is {there}" if there else f"no file matches {pattern}"
        fact = fact if there or pattern.startswith("s3://") else where_it_looked(pattern)
        raise SourceError(f"{fact}. Correct the path.")
    with open_bytes(paths[0], _HEAD_BYTES) as file:
        head = file.read(_HEAD_BYTES)
    if not head.strip():
        raise SourceError(f"{paths[0]} is empty. Deliver it whole, or name another file.")
    separator = _separator(head.decode(errors="replace")) if ending == "csv" else ","
    if ending == "csv":
        for path in paths:
            if broken := broken_header(path, separator) or broken_lines(path, separator):
                raise SourceError(broken)
    rows, every, partial = _rows_of(pattern, paths, separator)
    if ending == "json" and rows.height == 1 and any(kind.is_nested() for kind in rows.dtypes):
        raise SourceError(
            f"{pattern} is one object, which contains {listed(rows.columns)}. Write a list with one object for each row: "
            '[{"time": …, …}, {"time": …, …}].'
        )
    if ending == "csv" and (broken := _broken_text(paths[0], rows)):
        raise SourceError(broken)
    words = _null_words(rows) if ending == "csv" else ()
    if words:
        rows = rows.with_columns(pl.when(pl.all().is_in(words)).then(None).otherwise(pl.all()).name.keep())
    parts = (Path(pattern).stem, *reversed(Path(pattern).parent.parts))
    name = next((part for part in parts if re.search(r"[A-Za-z]", part) and not has_magic(part)), "")
    return Origin(name, rows, pattern, separator, every=every, null_words=words, unread=partial)


def _rows_of(pattern: str, paths: Sequence[str], separator: str) -> tuple[pl.DataFrame, int, tuple[str, ...]]:
    """The rows of all files, one of how many was read, and the columns that are left out because some files lack them.

    Raises SourceError: a file cannot be read, or the kinds of a column do not go together."""
    scans, columns = [], []
    for path in paths:
        try:
            scans.append(_scan(path, separator))
            columns.append(list(scans[-1].collect_schema()))
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise SourceError(explain(path, error, separator=separator)) from None
    shared = [name for name in columns[0] if all(name in names for names in columns)]
    try:
        rows, every = _thinned(pl.concat([scan.select(shared) for scan in scans], how="vertical_relaxed"))
    except pl.exceptions.SchemaError as error:
        raise SourceError(
            f"the files of {pattern} do not go together: {reason(error, lines=1)}. Deliver all with the same columns."
        ) from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise SourceError(explain(paths[0], error, separator=separator)) from None
    return rows, every, tuple(sorted({name for names in columns for name in names} - set(shared)))


def _scan(path: str, separator: str) -> pl.LazyFrame:
    match format_of(path):
        case "parquet":
            return pl.scan_parquet(path, glob=False)
        case "csv":
            return pl.scan_csv(path, glob=False, separator=separator, infer_schema=False, null_values=[""])
        case "json":
            return pl.read_json(path).lazy()
        case _:
            return pl.scan_ndjson(path, infer_schema_length=None)


def _thinned(rows: pl.LazyFrame) -> tuple[pl.DataFrame, int]:
    count = int(rows.select(pl.len()).collect(engine="streaming").item())
    every = -(-count // MOST_ROWS)
    return (rows.gather_every(every) if every > 1 else rows).collect(engine="streaming"), max(1, every)


def _separator(head: str) -> str:
    """The separator that splits the first lines into the most fields, the same number in each line."""
    lines = [line for line in head.splitlines()[:-1] or head.splitlines() if line.strip()][:20]
    counts = {mark: [line.count(mark) for line in lines] for mark in SEPARATORS}
    even = {mark: number[0] for mark, number in counts.items() if number[0] and len(set(number)) == 1}
    fields = even or {mark: number[0] for mark, number in counts.items()}
    return max(fields, key=lambda mark: fields[mark])


def _broken_text(path: str, rows: pl.DataFrame) -> str:
    """Why the columns of a CSV cannot be drafted, "" if they can: no header, or blanks around the values."""
    for column in rows.head(1_000):
        texts = column.drop_nulls()
        name = pl.Series(column.name, [column.name])
        if column.name[:1].isdigit() and moments_of(name) is not None and moments_of(column) is not None:
            return (
                f"{path} has no header: its first line is {', '.join(rows.columns)}. Write the names of the columns into the first "
                "line."
            )
        if len(texts) and texts.str.contains(r"^\s|\s$").all():
            return (
                f"{path} has blanks around the values of {column.name!r}, such as {texts[0]!r}. Remove them, as in: "
                "sed 's/, */,/g'."
            )
    return ""


def _null_words(rows: pl.DataFrame) -> tuple[str, ...]:
    """Words for null in columns that otherwise contain numbers, or yes and no."""
    found: set[str] = set()
    for column in rows:
        said = column.filter(column.is_in(NULL_WORDS)).unique().to_list()
        if said:
            others = column.filter(~column.is_in(NULL_WORDS)).drop_nulls().str.replace(",", ".", literal=True)
            is_of_numbers = len(others) and others.cast(pl.Float64, strict=False).null_count() == 0
            if is_of_numbers or (len(others) and others.str.to_lowercase().is_in(_YES_AND_NO).all()):
                found |= set(said)
    return tuple(sorted(found))


def _from_postgres(address: str) -> Origin:
    parts = urlsplit(address)
    parameters = dict(parse_qsl(parts.query))
    table = parameters.pop("table", "")
    url = urlunsplit(parts._replace(query=urlencode(parameters)))
    query = table if table.startswith("(") else _postgres_table(url, table)
    rows, unread = read_query(url, f"SELECT * FROM {query} AS source LIMIT {MOST_ROWS}")
    return Origin(_plain(query), rows, query=query, is_postgres=True, unread=unread)


def _postgres_table(url: str, named: str) -> str:
    """The table or view as a query writes it, with quotes where Postgres needs them. named: "" for the only one.

    Raises SourceError: there is no such table, or several where none is named."""
    tables, _ = read_query(
        url,
        """
        SELECT nspname || '.' || relname AS whole, quote_ident(nspname) || '.' || quote_ident(relname) AS quoted,
            CASE WHEN pg_table_is_visible(pg_class.oid) THEN relname END AS short, quote_ident(relname) AS quoted_short
        FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND nspname !~ '^pg_' AND nspname <> 'information_schema'
        ORDER BY 1
        """,
    )
    quoted = dict(zip(tables["whole"], tables["quoted"], strict=True))
    named = named or _only_table(shown(url), list(quoted))
    visible = dict(zip(tables["short"], tables["quoted_short"], strict=True))
    if named not in {*quoted, *quoted.values(), *visible}:
        raise SourceError(f"{shown(url)} has no table {named!r}. {choices(named, quoted)}")
    return quoted.get(named) or visible.get(named) or named


def _from_sqlite(address: str) -> Origin:
    import sqlite3

    place, _, parameters = address.removeprefix("sqlite://").partition("?")
    path, table = unquote(place), dict(parse_qsl(parameters)).get("table", "")
    if not Path(path).is_file():
        raise SourceError(f"{where_it_looked(path)}. Correct the path.")
    try:
        with closing(sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)) as connection:
            names = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name")
            tables = [str(name) for (name,) in names]
            table = table or _only_table(path, tables)
            if table not in tables and not table.startswith("("):
                raise SourceError(f"{path} has no table {table!r}. {choices(table, tables)}")
            query = table if table.startswith("(") or _is_plain(connection, table) else _quoted(table)
            cursor = connection.execute(f"SELECT * FROM {query} AS source LIMIT {MOST_ROWS}")
            columns = [str(item[0]) for item in cursor.description]
            values = cursor.fetchall()
    except sqlite3.Error as error:
        remedy = "Correct the SELECT" if table.startswith("(") else "Deliver it again"
        raise SourceError(f"{path} cannot be read: {reason(error)}. {remedy}, or name another one.") from None
    series = [pl.Series(name, [row[at] for row in values], strict=False) for at, name in enumerate(columns)]
    return Origin(_plain(table), pl.DataFrame(series), query=query, url=f"sqlite://{path}")


def _is_plain(connection: sqlite3.Connection, table: str) -> bool:
    """Whether a query may name the table without quotes: it is one word, and no word of SQL such as order."""
    import sqlite3

    if not table.isidentifier():
        return False
    try:
        connection.execute(f"SELECT 1 FROM {table} LIMIT 0")
    except sqlite3.Error:
        return False
    return True


def _only_table(place: str, known: list[str]) -> str:
    if len(known) == 1:
        return known[0]
    if not known:
        raise SourceError(f"{place} has no tables. Create one, or name another database.")
    raise SourceError(f"{place} has the tables {', '.join(known)}. Name one: …?table={known[0]}")


def _plain(table: str) -> str:
    return "rows" if table.startswith("(") else table.rpartition(".")[2].strip('"')


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
