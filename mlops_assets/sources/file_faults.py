"""Explains in one sentence why a file cannot be read, with the file and the line."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import IO, TYPE_CHECKING, NamedTuple

from mlops_assets.addresses import reason
from mlops_assets.errors import choices
from mlops_assets.products.source import Table
from mlops_assets.sources.files_found import open_bytes
from mlops_assets.sources.typed_rows import unfit

if TYPE_CHECKING:
    import polars as pl

_SHOWN = 3
_LONGEST_SHOWN = 60  # characters of a line
_PART_BYTES = 8_000_000
_LONGEST_LINE = 1_000_000  # bytes
_MOST_COLUMNS = 10_000
_MOST_BROKEN = 1_000  # lines; a file with more of them is broken throughout
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
FORMATS = ("parquet", "csv", "ndjson", "jsonl", "json")
_REMEDIES = {
    **dict.fromkeys(("gz", "zst", "bz2", "xz", "zip"), "Unpack it, or write Parquet, which is compressed by itself."),
    **dict.fromkeys(("tsv", "tab", "txt"), "Name it .csv: its separator may be a tab, a semicolon or a vertical bar."),
    **dict.fromkeys(("xlsx", "xls", "ods"), "Save its sheet as CSV in UTF-8."),
    **dict.fromkeys(("feather", "arrow", "ipc", "avro", "orc"), "Write it as Parquet."),
}
_FIRST_BYTES = {
    b"\x1f\x8b": "a gzip file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"PK\x03\x04": "a zip file or a spreadsheet",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
}


class BrokenRow(NamedTuple):
    """A row of a CSV with a wrong number of fields. line: its number. value: of the requested column, "" where it has none."""

    line: int
    fields: int
    value: str


class BrokenBlock(NamedTuple):
    """Broken rows that follow each other. before: value of the row before them."""

    before: str
    rows: list[BrokenRow]


Concerns = Callable[[Sequence[BrokenBlock]], list[BrokenRow]]


def explain(
    path: str,
    error: BaseException,
    table: Table | None = None,
    rows: pl.LazyFrame | None = None,
    zone: str | None = None,
    separator: str = ",",
    decimal: str = ".",
    where: pl.Expr | None = None,
) -> str:
    """rows: of the file as they are written, to find cells that do not fit. where: the rows that matter."""
    ending = format_of(path)
    if ending == "parquet":
        fault = f"is an incomplete or damaged Parquet file ({reason(error, lines=1)}). Deliver it again"
        return f"{path} {fault}." if table is None else f"{path} {_cells(table, rows, zone, decimal, where) or fault}."
    broken = ""
    if ending != "csv":
        broken = broken_json(path, ending)
    elif table is None:  # else the lines were checked before they were read
        broken = broken_lines(path, separator)
    return (
        broken or f"{path} {_cells(table, rows, zone, decimal, where) or f'cannot be read: {reason(error, lines=1)}'}."
    )


def format_of(path: str) -> str:
    """The ending of a path or glob, which says how the file is read."""
    return path.rpartition(".")[-1].lower()


def unknown_format(path: str) -> str:
    """Why a path or glob cannot be read by its ending, with what to do; "" where the ending is known."""
    ending = format_of(path)
    if ending in FORMATS:
        return ""
    remedy = _REMEDIES.get(ending) or "The ending of the path says which."
    return f"{path} has no known format. {choices(ending, FORMATS)} {remedy}"


def broken_lines(
    path: str,
    separator: str = ",",
    concerns: Concerns | None = None,
    column: str = "",
    declared: Collection[str] = (),
) -> str:
    """Why a CSV cannot be read reliably, "" if it can; Polars would fill missing fields, drop others or rename columns.

    The file is read in parts, so that its size does not matter. concerns: selects the rows with a wrong number of fields that
    matter, by their values of `column`; without it, all of them do. declared: names of columns."""
    try:
        with open_bytes(path) as file:
            mark = separator.encode()
            fields = _header(file, separator, declared).count(mark)
            # without quotes it is enough to count separators, which is a hundred times as fast as reading the fields
            if all(
                b'"' not in part and all(line.count(mark) == fields for line in part.splitlines() if line.strip())
                for part in _whole_lines(file)
            ):
                return ""
        with open_bytes(path) as file:
            lines = (line for part in _whole_lines(file) for line in part.decode().splitlines(True))
            return _wrong_widths(path, lines, separator, concerns, column)
    except _Fault as fault:
        return f"{path} {fault}."


def broken_header(path: str, separator: str = ",", declared: Collection[str] = ()) -> str:
    """Why the header of a CSV cannot be used, "" if it can."""
    try:
        with open_bytes(path, _LONGEST_LINE + 1) as file:
            _header(file, separator, declared)
    except _Fault as fault:
        return f"{path} {fault}."
    return ""


def broken_json(path: str, ending: str) -> str:
    """Why a file cannot be read as JSON, "" if no line is the reason."""
    import msgspec

    try:
        with open_bytes(path) as file:
            is_whole = ending == "json"
            if not is_whole and file.read(1) == b"[":
                return f"{path} is a list. Give it the ending .json, or write one object in each line."
            file.seek(0)
            parts = [file.read()] if is_whole else (line for part in _whole_lines(file) for line in part.splitlines())
            for number, part in enumerate(parts, 1):
                try:
                    if part.strip():
                        msgspec.json.decode(part)
                except UnicodeDecodeError:
                    raise _not_utf8(part, number) from None
                except msgspec.DecodeError as error:
                    if is_whole and _is_json(part.lstrip().partition(b"\n")[0]):
                        return (
                            f"{path} is one object in each line. Give it the ending .ndjson, or write one list of all."
                        )
                    return f"{path} is broken: line {number} is not JSON ({error}). Correct it."
                except RecursionError:
                    return f"{path} is broken: line {number} is nested too deeply to be read. Correct it."
    except _Fault as fault:
        return f"{path} {fault}."
    return ""


def _is_json(line: bytes) -> bool:
    import msgspec

    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


class _Fault(Exception):
    """Its text follows the name of the file in a sentence."""


def _header(file: IO[bytes], separator: str, declared: Collection[str]) -> bytes:
    header = file.readline(_LONGEST_LINE + 1)
    file.seek(0)
    if header.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _Fault("is UTF-16. Write it as UTF-8 (iconv -f utf16 -t utf8)")
    if kind := next((kind for first, kind in _FIRST_BYTES.items() if header.startswith(first)), None):
        raise _Fault(f"is {kind}, which is not text. Write it as CSV, or give it the ending of what it is")
    if b"\r" in header.rstrip(b"\r\n"):
        raise _Fault("ends its lines with a carriage return alone. End them with a line feed (tr '\\r' '\\n')")
    text = header.decode(errors="replace").strip().removeprefix("\ufeff")
    names = (
        next(csv.reader([text], delimiter=separator), [])
        if len(text) < csv.field_size_limit()
        else text.split(separator)
    )
    is_one_column = len(names) == 1 and names[0] not in declared
    if is_one_column and (other := next((mark for mark in SEPARATORS if mark != separator and mark in text), None)):
        raise _Fault(
            f"is separated by {SEPARATORS[other]}, and {SEPARATORS[separator]} are declared. "
            f"Declare it: Files(…, separator={other!r})"
        )
    if twice := sorted({name for name in names if names.count(name) > 1} if len(names) <= _MOST_COLUMNS else ()):
        raise _Fault(f"has two columns of the same name: {', '.join(twice[:_SHOWN])}. Rename or remove one of them")
    if len(names) > _MOST_COLUMNS:
        raise _Fault(f"has more than {_MOST_COLUMNS:,} columns. Deliver those that are declared")
    return header


def _whole_lines(file: IO[bytes]) -> Iterator[bytes]:
    """The content in parts of whole lines. Raises _Fault: a line is too long, or is not text."""
    rest, line = b"", 1
    while True:
        read = file.read(_PART_BYTES)
        part, feed, after = (rest + read).rpartition(b"\n") if read else (rest, b"", b"")
        part += feed
        if len(after) > _LONGEST_LINE or (not feed and len(part) > _LONGEST_LINE):
            number = line + part.count(b"\n")
            raise _Fault(
                f"has more than {_LONGEST_LINE:,} bytes in line {number}: it has no line ends, or is not text. Deliver it again"
            )
        try:
            part.decode()
        except UnicodeDecodeError as error:
            start = part.rfind(b"\n", 0, error.start) + 1
            raise _not_utf8(part[start : error.end], line + part.count(b"\n", 0, error.start)) from None
        if (place := part.find(b"\0")) >= 0:
            number = line + part.count(b"\n", 0, place)
            raise _Fault(f"has a NUL byte in line {number}, as incompletely written files do. Deliver it again")
        if part:
            yield part
        line += part.count(b"\n")
        rest = after
        if not read:
            return


def _not_utf8(text: bytes, line: int) -> _Fault:
    try:
        text.decode()
        byte = text[-1]
    except UnicodeDecodeError as error:
        byte = text[error.start]
    return _Fault(
        f"is not UTF-8: byte {byte:#04x} in line {line}. Write it as UTF-8 (from Latin-1, say: iconv -f latin1 -t utf8)"
    )


def _wrong_widths(path: str, lines: Iterator[str], separator: str, concerns: Concerns | None, column: str) -> str:
    reader = csv.reader(lines, delimiter=separator)
    blocks: list[BrokenBlock] = []
    before, is_after_broken, count = "", False, 0
    try:
        header = next(reader, [])
        width, place = len(header), header.index(column) if column in header else _MOST_COLUMNS
        end = reader.line_num
        for row in reader:
            start, end = end + 1, reader.line_num  # a quote that is not closed takes in the lines after it
            is_broken = bool(row) and len(row) != width
            value = row[place] if place < len(row) else ""
            if is_broken:
                if not is_after_broken:
                    blocks.append(BrokenBlock(before, []))
                blocks[-1].rows.append(BrokenRow(start, len(row), value))
                count += 1
                if any("\n" in field for field in row) or (count > _MOST_BROKEN if concerns else count == _SHOWN):
                    concerns = None  # a quote is not closed, or the whole file is broken, which affects every row
                    break
            is_after_broken, before = is_broken, value
    except csv.Error:
        return (
            f"{path} is broken: line {reader.line_num} has a field of more than {csv.field_size_limit():,} characters: a line end or "
            "a closing quote is missing. Correct it."
        )
    rows = [row for block in blocks for row in block.rows] if concerns is None else concerns(blocks)
    if not rows:
        return ""
    said = ", ".join(f"line {row.line} has {row.fields} fields" for row in rows[:_SHOWN])
    first = separator.join(header)
    if width == 1 or first.startswith("sep="):
        return (
            f"{path} is broken: its first line, {first[:_LONGEST_SHOWN]!r}, is no header, and {said}. Remove what stands before the "
            "header."
        )
    return f"{path} is broken: {said}, the header has {width}. Correct the lines."


def _cells(
    table: Table | None, rows: pl.LazyFrame | None, zone: str | None, decimal: str, where: pl.Expr | None
) -> str:
    import polars as pl

    if table is None or rows is None:
        return ""
    try:
        cells = unfit(table, rows, zone, _SHOWN, where, decimal=decimal)
    except pl.exceptions.PolarsError:
        return ""  # the file cannot be read at all: the original error says why
    return f"does not fit {table.name}: {'; '.join(cells)}" if cells else ""
