"""What is wrong with a file, in one sentence that names the file and the line."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from mlops_assets.products.files_found import read_bytes
from mlops_assets.products.source import Table
from mlops_assets.products.typed_rows import unfit

if TYPE_CHECKING:
    import polars as pl

_SHOWN = 3


def explain(
    path: str, error: Exception, table: Table | None = None, rows: pl.LazyFrame | None = None, zone: str | None = None
) -> str:
    """rows: of the file as it was written, to find the cells that do not fit."""
    ending = path.rpartition(".")[-1].lower()
    if ending == "parquet":
        fault = f"is no whole Parquet file, or a damaged one ({_first_line(error)}). Deliver it again"
        return f"{path} {fault}." if table is None else f"{path} {_cells(table, rows, zone) or fault}."
    content = read_bytes(path)
    if wrong := _wrong_encoding(content):
        return f"{path} {wrong}."
    if ending == "csv" and (broken := broken_lines(path, content)):
        return broken
    if ending in ("ndjson", "jsonl", "json") and (broken := _broken_json(content, ending)):
        return f"{path} {broken}."
    return f"{path} {_cells(table, rows, zone) or f'cannot be read: {_first_line(error)}'}."


def broken_lines(path: str, content: bytes | None = None) -> str:
    """Lines of a CSV with more or fewer fields than its header, "" if there are none. Polars fills short ones up."""
    content = read_bytes(path) if content is None else content
    if wrong := _wrong_encoding(content):
        return f"{path} {wrong}."
    header, _, _ = content.partition(b"\n")
    fields = header.count(b",")
    # without a quote, fields are counted by their commas: a hundred times as fast as reading them
    if b'"' not in content and all(line.count(b",") == fields for line in content.splitlines() if line.strip()):
        return ""
    reader = csv.reader(io.StringIO(content.decode(), newline=""))
    width = len(next(reader, []))
    broken = []
    for row in reader:
        if row and len(row) != width:
            broken.append(f"line {reader.line_num} has {len(row)} fields")
            if len(broken) == _SHOWN:
                break
    return f"{path} is broken: {', '.join(broken)}, the header has {width}. Correct the lines." if broken else ""


def _wrong_encoding(content: bytes) -> str:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return (
            f"is not UTF-8: byte {content[error.start]:#04x} in line {line}. Write it as UTF-8 (from Latin-1, say: "
            "iconv -f latin1 -t utf8)"
        )
    return ""


def _broken_json(content: bytes, ending: str) -> str:
    import msgspec

    lines = [content] if ending == "json" else content.splitlines()
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            return f"is broken: line {number} is no JSON ({error}). Correct it"
    return ""


def _cells(table: Table | None, rows: pl.LazyFrame | None, zone: str | None) -> str:
    import polars as pl

    if table is None or rows is None:
        return ""
    try:
        found = unfit(table, rows, zone, _SHOWN)
    except pl.exceptions.PolarsError:
        return ""  # the file cannot be read at all: its first error says why
    return f"does not fit {table.name}: {'; '.join(found)}" if found else ""


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]
