"""One segment of an append-only table: writes one after the other while it is open, Parquet once it is closed.

    <start>-<pid>-<token>.wal       the first line names the columns and their kinds, then one line or frame per write. A
                                    line is JSON: a list of rows, each a list of values in the order of the columns. A
                                    frame is its length in four bytes, of which the first bit is set, and MessagePack: a
                                    list of what all rows share, a list of columns, and two lists of rows, side by side
    <start>-<pid>-<token>.parquet   the same rows after `seal`

One process writes a file, any process reads it at any time.
"""

import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import polars as pl
import polars.selectors as cs

from mlops_assets.errors import DataError
from mlops_assets.stores import dtypes
from mlops_assets.stores.dtypes import microseconds
from mlops_assets.stores.files import replace_atomically

SUFFIX = ".wal"
FRAME_ROWS = 1_000  # as Python values at once: they take ten times what they take in a frame
# kinds of a log's columns; "floats" are the probabilities of a multiclass answer
DTYPES: dict[str, pl.DataType] = {kind.value: held for kind, held in dtypes.DTYPES.items()}
DTYPES["floats"] = pl.List(pl.Float64)
_COLUMNS: dict[str, Any] = {
    "string": list[str | None],
    "integer": list[int | None],
    "float": list[float | None],
    "boolean": list[bool | None],
    "timestamp": list[int | datetime | None],
    "floats": list[list[float] | None],
}
GiveWay = Callable[[], object]
_FRAME = 0x8000_0000
_Rows = list[list[Any]]
# what reading bytes that are none of ours raises
_DAMAGE = (KeyError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError, pl.exceptions.PolarsError)
_pack_into = msgspec.msgpack.Encoder().encode_into


def add_frame(rows: Sequence[object], frames: bytearray) -> None:
    """One more at their end; after an error they are as they were. Timestamps: microseconds since 1970, or moments."""
    start = len(frames)
    try:
        _pack_into(rows, frames, start + 4)
        frames[start : start + 4] = (len(frames) - start - 4 | _FRAME).to_bytes(4, "big")
    except BaseException:
        del frames[start:]
        raise


class WriteAheadFile:
    """A new file in `folder`. Raises OSError: it cannot be made."""

    def __init__(self, folder: Path, columns: dict[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        self.path = folder / name
        self.columns = columns
        self.rows = 0
        self._handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        self._opened = time.monotonic()
        self._size = 0

    @property
    def age_seconds(self) -> float:
        return time.monotonic() - self._opened

    def append(self, lines: bytes | bytearray, rows: int) -> None:
        """On disk when this returns. Raises OSError: nothing of it was kept, the same lines may be tried again."""
        content = lines if self._size else msgspec.json.encode(self.columns) + b"\n" + lines
        try:
            written = 0
            with memoryview(content) as left:
                while written < len(content):
                    written += os.write(self._handle, left[written:])
            os.fsync(self._handle)
        except OSError:
            os.ftruncate(self._handle, self._size)
            raise
        self._size += len(content)
        self.rows += rows

    def seal(self, give_way: GiveWay = lambda: None) -> None:
        """Become Parquet. Raises OSError, PolarsError or DataError: it stays as it is, and readable.

        give_way: called after every fraction of a millisecond of work in Python."""
        os.close(self._handle)
        rows = read_write_ahead(self.path, give_way)
        if rows is not None:
            replace_atomically(self.path.with_suffix(".parquet"), rows.write_parquet)
        self.path.unlink()


def read_segments(folder: Path) -> list[pl.DataFrame]:
    """Every segment of the folder, sealed or not, oldest first. Raises DataError: one is damaged."""
    # unsealed ones first: one that is sealed meanwhile is found again below, as Parquet
    unsealed = {path.stem: read_write_ahead(path) for path in folder.glob(f"*{SUFFIX}")}
    frames = {path.stem: pl.read_parquet(path) for path in folder.glob("*.parquet") if not path.name.startswith(".")}
    for stem, rows in unsealed.items():
        if rows is not None:
            frames.setdefault(stem, rows)
    return [frames[stem] for stem in sorted(frames)]


def read_write_ahead(path: Path, give_way: GiveWay = lambda: None) -> pl.DataFrame | None:
    """Its whole writes (a torn last one never ended); None when it has none or is sealed already."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    try:
        with file:
            header = file.readline()
            if not header.endswith(b"\n"):
                return None
            kinds = msgspec.json.decode(header, type=dict[str, str])
            frames = list(_frames(file, kinds, give_way))
        if not frames:
            return None
        rows = pl.concat(frames)
    except _DAMAGE as error:
        raise DataError(f"{path} is damaged: {error}. Move it away to read the others.") from error
    # microseconds since 1970 rather than text: no format to guess
    instants = [name for name, kind in kinds.items() if kind == "timestamp"]
    return rows.with_columns(
        *(pl.from_epoch(name, time_unit="us").dt.replace_time_zone("UTC") for name in instants),
        cs.float().fill_nan(None),
    )


def _frames(file: BinaryIO, kinds: dict[str, str], give_way: GiveWay) -> Iterator[pl.DataFrame]:
    of_line = msgspec.json.Decoder(list[list[Any]]).decode
    of_frame = msgspec.msgpack.Decoder(tuple[list[Any], list[list[Any]], _Rows, _Rows]).decode
    found = _Found()
    for content, is_frame in _writes(file):
        shared, columns, *parts = of_frame(content) if is_frame else ([], [], of_line(content))
        if found.count and (found.count >= FRAME_ROWS or not found.is_like(shared, columns, parts)):
            yield found.frame(kinds, give_way)
            found = _Found()
        found.add(shared, columns, parts)
        give_way()
    if found.count:
        yield found.frame(kinds, give_way)


def _writes(file: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Each whole line or frame, and whether it is a frame."""
    while first := file.read(1):
        if first[0] < 0x80:
            line = first + file.readline()
            if not line.endswith(b"\n"):
                return
            yield line, False
        else:
            length = first + file.read(3)
            if len(length) < 4:
                return
            size = int.from_bytes(length, "big") ^ _FRAME
            content = file.read(size)
            if len(content) < size:
                return
            yield content, True


class _Found:
    """Rows of several writes of one form, column by column as far as they came so."""

    def __init__(self) -> None:
        self.count = 0
        self._columns: list[list[Any]] = []
        self._parts: list[_Rows] = []

    def is_like(self, shared: list[Any], columns: list[list[Any]], parts: list[_Rows]) -> bool:
        return (len(self._columns), len(self._parts)) == (len(shared) + len(columns), len(parts))

    def add(self, shared: list[Any], columns: list[list[Any]], parts: list[_Rows]) -> None:
        """One that is like those before it. Raises ValueError: its parts are not of the same rows."""
        count = len(parts[0])
        if any(len(each) != count for each in (*columns, *parts)):
            raise ValueError("a write whose parts are not of the same rows")
        if not self.count:
            self._columns, self._parts = [[] for _ in (*shared, *columns)], [[] for _ in parts]
        for column, values in zip(self._columns, (*([value] * count for value in shared), *columns), strict=True):
            column += values
        for part, rows in zip(self._parts, parts, strict=True):
            part += rows
        self.count += count

    def frame(self, kinds: dict[str, str], give_way: GiveWay) -> pl.DataFrame:
        """Raises ValueError or ValidationError: a row has too few or too many values, or one is of another kind."""
        columns = [*self._columns, *(column for part in self._parts for column in zip(*part, strict=True))]
        series = []
        for (name, kind), values in zip(kinds.items(), columns, strict=True):
            typed = msgspec.convert(values, _COLUMNS[kind])
            series.append(_timestamps(name, typed) if kind == "timestamp" else pl.Series(name, typed, DTYPES[kind]))
            give_way()
        return pl.DataFrame(series)


def _timestamps(name: str, values: Sequence[Any]) -> pl.Series:
    held = [microseconds(value) if type(value) is datetime else value for value in values]
    return pl.Series(name, held, pl.Int64())
