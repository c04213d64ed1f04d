"""Spool: the newest events of a process in a file on this machine, until they are sealed as objects.

    <host>-<pid>-<token>.jsonl    JSON lines: the first names the columns and their kinds, then an object per row

One process writes a file and locks it while it is alive; any process may read it at any time. A line is complete once it ends
with a newline: a partial line of a killed writer was never acknowledged.
"""

import fcntl
import os
import re
import secrets
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import msgspec
import polars as pl

from mlops_assets.addresses import reason
from mlops_assets.errors import DataError

SUFFIX = ".jsonl"
# kinds of columns: those of source tables, and two more: times as whole microseconds since 1970, and lists of probabilities
MICROSECONDS, FLOATS = "microseconds", "floats"
Columns = Mapping[str, str]  # name to kind
_MOMENT = pl.Datetime("us", "UTC")
_AS_READ: dict[str, pl.DataType] = {
    "string": pl.String(),
    "integer": pl.Int64(),
    "float": pl.Float64(),
    "boolean": pl.Boolean(),
    "timestamp": pl.String(),  # parsing one known format is faster than detecting it per value
    MICROSECONDS: pl.Int64(),
    FLOATS: pl.List(pl.Float64()),
}
_DAMAGE = (ValueError, KeyError, AttributeError, msgspec.MsgspecError, pl.exceptions.PolarsError)
_encode_lines = msgspec.json.Encoder().encode_lines


def empty_rows(columns: Columns) -> pl.DataFrame:
    return pl.DataFrame(schema={name: _dtype(kind) for name, kind in columns.items()})


def as_lines(columns: Columns, rows: Iterable[Iterable[object]]) -> bytes:
    """A line per row, whose values are in the order of the columns. Raises TypeError or ValueError: JSON cannot represent them."""
    row_type = _row_type(tuple(columns))
    return _encode_lines([row_type(*values) for values in rows])


class Segment:
    """A new file in `folder`. Raises OSError: it cannot be created."""

    def __init__(self, folder: Path, columns: Columns) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.columns = columns
        self.rows = 0
        self.size = 0
        self._opened = time.monotonic()
        while True:
            self.path = folder / f"{_host()}-{os.getpid()}-{secrets.token_hex(8)}{SUFFIX}"
            self._handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX)
                _sync(folder)
            except OSError:
                self.remove()
                raise
            if self.is_in_place:
                break
            self.release()  # before it was locked, another process took it for the file of a dead writer

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self._opened

    @property
    def is_in_place(self) -> bool:
        """False once the file or its folder was removed: further lines would be lost with it."""
        return _is_same_file(self.path, self._handle)

    def append(self, lines: bytes, rows: int) -> None:
        """Append the lines and sync them to disk. Raises OSError: none of them was written, so they may be appended again."""
        content = lines if self.size else msgspec.json.encode(self.columns) + b"\n" + lines
        try:
            written = 0
            with memoryview(content) as view:
                while written < len(content):
                    written += os.write(self._handle, view[written:])
            os.fsync(self._handle)
        except OSError:
            os.ftruncate(self._handle, self.size)
            raise
        self.size += len(content)
        self.rows += rows

    def read(self) -> pl.DataFrame | None:
        return read_segment(self.path, self.size)

    def remove(self) -> None:
        """Remove the segment, whose rows have been sealed."""
        self.path.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Unlock the file, so that another process may seal it."""
        os.close(self._handle)


def read_segment(path: Path, size: int | None = None) -> pl.DataFrame | None:
    """The rows of the complete lines in the first `size` bytes; None when there are none, or the file was sealed.

    Raises DataError: it is damaged. Raises OSError: it cannot be read."""
    try:
        content = path.read_bytes()[:size]
    except FileNotFoundError:
        return None
    start, end = content.find(b"\n") + 1, content.rfind(b"\n") + 1
    if start == end:
        return None
    try:
        columns = msgspec.json.decode(content[:start], type=dict[str, str])
        schema = {name: _AS_READ[kind] for name, kind in columns.items()}
        rows = pl.read_ndjson(content[start:end], schema=schema)
        return rows.with_columns(_typed(name, kind) for name, kind in columns.items() if _AS_READ[kind] != _dtype(kind))
    except _DAMAGE as error:
        raise DataError(f"{path} is damaged: {reason(error, lines=1)}. Move it away to read the others.") from error


def segments_in(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


def left_behind(folder: Path) -> Iterator[Path]:
    """Segments of the folder whose writers have ended, each locked for the caller."""
    for path in segments_in(folder):
        try:
            handle = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield path
        except BlockingIOError:
            continue
        finally:
            os.close(handle)


def _dtype(kind: str) -> pl.DataType:
    return _MOMENT if kind in ("timestamp", MICROSECONDS) else _AS_READ[kind]


def _typed(name: str, kind: str) -> pl.Expr:
    if kind == MICROSECONDS:
        return pl.from_epoch(name, time_unit="us").dt.replace_time_zone("UTC")
    return pl.col(name).str.to_datetime("%+", time_unit="us", time_zone="UTC")


@cache
def _row_type(names: tuple[str, ...]) -> type[msgspec.Struct]:
    """Fields are numbered, because a column may have a name that is not a valid attribute name."""
    fields = [f"column_{number}" for number in range(len(names))]
    return msgspec.defstruct("Row", fields, rename=dict(zip(fields, names, strict=True)), gc=False)


@cache
def _host() -> str:
    """The name of this machine, for file names."""
    return re.sub(r"[^A-Za-z0-9_]", "_", socket.gethostname())[:100]


def _is_same_file(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _sync(folder: Path) -> None:
    """Let the names in the folder survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
