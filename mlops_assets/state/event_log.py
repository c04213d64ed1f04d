"""Event log: appended rows are written to the disk of this machine first, and then sealed as objects.

`append` only buffers rows in memory. A thread encodes them and writes them to disk within `flush_seconds`, or at once where a
caller waits for it (`on_disk`): rows that arrive while one write is synced go into the next (group commit). Rows that cannot
be written, and for which no caller waits, stay in memory up to `MAX_BUFFERED_BYTES` and are tried again; `health` shows them.
Above that limit rows are dropped and counted. Full or old segments are sealed. While the objects cannot be reached, segments
stay on the disk of this machine, and `health` says so.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import polars as pl

from mlops_assets.errors import StoreError
from mlops_assets.state.objects import Folder, Objects
from mlops_assets.state.sealed import read_sealed
from mlops_assets.state.sealer import Sealer
from mlops_assets.state.spool import Columns, Segment, as_lines, read_segment, segments_in

FLUSH_SECONDS = 0.1
RETRY_SECONDS = 1.0
MAX_BUFFERED_BYTES = 64 * 2**20
SEGMENT_ROWS, SEGMENT_BYTES = 50_000, 64 * 2**20  # whichever is reached first
# this machine also reads segments that are not sealed; other machines of a shared bucket see only its objects
SECONDS_IN_A_FOLDER, SECONDS_IN_A_BUCKET = 600.0, 60.0
CHUNK_ROWS = 128  # encoded at once; meanwhile no other thread can run
YIELD_SECONDS = 0.000_1  # with a shorter sleep this thread takes the GIL again before another one wakes up
FIRST_ROW_BYTES = 1_000  # the assumed size of an encoded row until one was written

OnDisk = Callable[[str | None], None]  # called with None, or with the reason why the rows are not on disk
Appended = TypeVar("Appended")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LogHealth:
    """is_writing: false from the first failed write to the next successful one.

    unsealed_rows: rows of this process that are only on this machine. seal_error: why the last attempt to seal failed."""

    is_writing: bool
    written_rows: int
    waiting_rows: int
    dropped_rows: int
    last_error: str | None
    unsealed_rows: int
    seal_error: str | None


class _Batch(NamedTuple):
    """Rows as they were appended. size: the approximate size of their lines in bytes."""

    product: str
    columns: Columns
    rows: Any
    row_count: int
    size: int
    on_disk: OnDisk | None


@dataclass
class _Write:
    """Encoded lines of one product that wait to be written. on_disk: the callbacks of waiting callers; with them, the lines are
    dropped after a failure."""

    product: str
    columns: Columns
    lines: bytes = b""
    rows: int = 0
    on_disk: list[OnDisk] = field(default_factory=list)


class EventLog(Generic[Appended]):
    """Thread-safe. The names of files and objects contain the process, so any number of processes may share them.

    kind: the folder of the objects. clock: the column by whose day (UTC) rows are sealed and read. by_row: converts what was
    appended for a product to rows in the order of the columns; called by the writing thread."""

    def __init__(
        self,
        objects: Objects,
        kind: str,
        spool: Path,
        clock: str,
        by_row: Callable[[str, Appended], Iterable[Sequence[object]]],
        *,
        max_buffered_bytes: int = MAX_BUFFERED_BYTES,
        segment_rows: int = SEGMENT_ROWS,
        segment_seconds: float | None = None,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._objects, self._kind, self._spool, self._clock = objects, kind, spool / kind, clock
        self._by_row = by_row
        self._max_buffered_bytes = max_buffered_bytes
        self._segment_rows = segment_rows
        default_seconds = SECONDS_IN_A_FOLDER if isinstance(objects, Folder) else SECONDS_IN_A_BUCKET
        self._segment_seconds = default_seconds if segment_seconds is None else segment_seconds
        self._flush_seconds = flush_seconds
        self._memory = threading.Lock()  # guards the buffers and the counters; never held while writing
        self._disk = threading.Lock()  # guards the segments; held while writing
        self._waiting: list[_Batch] = []
        self._failed: list[_Write] = []
        self._waiting_rows = self._buffered_bytes = 0
        self._row_bytes: dict[str, int] = {}
        self._segments: dict[str, Segment] = {}
        self._sealer = Sealer(objects, kind, self._spool, clock)
        self._writer = threading.Thread(target=self._keep_flushing, name=f"{kind}-writer", daemon=True)
        self._is_started = self._is_closed = False
        self._wake = threading.Event()
        self._written = self._dropped = 0
        self.last_error: str | None = None  # why the last write failed; an attribute, as every request may read it

    @property
    def health(self) -> LogHealth:
        with self._memory:
            has_died = self._is_started and not self._is_closed and not self._writer.is_alive()
            error = self.last_error or ("the writing thread has ended" if has_died else None)
            return LogHealth(
                is_writing=error is None,
                written_rows=self._written,
                waiting_rows=self._waiting_rows,
                dropped_rows=self._dropped,
                last_error=error,
                unsealed_rows=self._written - self._sealer.sealed_rows,
                seal_error=self._sealer.error,
            )

    def start(self) -> None:
        """Start the threads, which also seal segments that killed processes of this machine left; `append` starts them too."""
        with self._memory:
            if self._is_started or self._is_closed:
                return
            self._is_started = True
            self._writer.start()
            self._sealer.start()

    def append(self, product: str, columns: Columns, rows: Appended, count: int, on_disk: OnDisk | None = None) -> None:
        """Buffer `count` rows in memory; never waits for the disk.

        on_disk: called once, by the writing thread: with None as soon as they are on disk, or with the reason why they never
        will be."""
        with self._memory:
            size = count * self._row_bytes.get(product, FIRST_ROW_BYTES)
            refusal = None
            if self._is_closed or self._buffered_bytes + size > self._max_buffered_bytes:
                refusal = self.last_error or "closed, or the disk is slow"
                self._drop(count, refusal)
            else:
                self._waiting.append(_Batch(product, columns, rows, count, size, on_disk))
                self._waiting_rows += count
                self._buffered_bytes += size
        if not self._is_started:
            self.start()
        if on_disk is not None:
            if refusal is None:
                self._wake.set()
            else:
                on_disk(refusal)

    def flush(self) -> None:
        """Write all buffered rows to disk now; `health` shows a failure."""
        answers: list[tuple[OnDisk, str | None]] = []
        with self._disk:
            with self._memory:
                batches, self._waiting = self._waiting, []
                before, self._failed = self._failed, []
            rows = sum(batch.row_count for batch in batches) + sum(write.rows for write in before)
            size = sum(batch.size for batch in batches) + sum(len(write.lines) for write in before)
            writes = [*before, *self._as_writes(batches, answers)]
            failed, error = [], None
            for write in writes:
                refusal = None
                try:
                    self._write(write)
                except Exception as failure:  # noqa: BLE001 (any error has to reach the callers that wait)
                    refusal = error = f"{self._spool / write.product}: {failure}"
                    # callers that wait are refused, so their rows must not be written later. The write stays without rows:
                    # while every request is refused, only this write shows when writes succeed again
                    failed.append(_Write(write.product, write.columns) if write.on_disk else write)
                answers += [(on_disk, refusal) for on_disk in write.on_disk]
            with self._memory:
                self._failed = failed
                self._waiting_rows += sum(write.rows for write in failed) - rows
                self._buffered_bytes += sum(len(write.lines) for write in failed) - size
            if writes:
                self._report(error)
        for on_disk, refusal in answers:
            on_disk(refusal)

    def close(self) -> None:
        """Flush and seal. The next process of this machine seals what could not be sealed now."""
        with self._memory:
            self._is_closed = True
        self._wake.set()
        if self._writer.is_alive():
            self._writer.join()
        self.flush()
        with self._disk:
            for product in list(self._segments):
                self._sealer.add(self._segments.pop(product))
            self._sealer.close()

    def read(self, product: str, start: datetime | None, end: datetime | None) -> list[pl.DataFrame]:
        """Rows of [start, end) by segment: sealed ones, and those that running or killed processes of this machine have written.

        Raises DataError: a file or an object is damaged. Raises StoreError: they cannot be read."""
        self.flush()
        # segments first: a segment that is sealed in the meantime is read below, as an object
        try:
            unsealed = ((path.stem, read_segment(path)) for path in segments_in(self._spool / product))
            segments = {name: rows for name, rows in unsealed if rows is not None}
        except OSError as error:
            raise StoreError(
                f"{self._spool / product} cannot be read: {error}. Grant access to it, or move it away."
            ) from error
        frames = read_sealed(self._objects, f"{self._kind}/{product}", start, end, excluded=segments)
        frames += segments.values()
        moment = pl.col(self._clock)
        limits = [*([moment >= start] if start else []), *([moment < end] if end else [])]
        return [frame.filter(*limits) for frame in frames] if limits else frames

    def _keep_flushing(self) -> None:
        while not self._is_closed:
            self._wake.wait(self._flush_seconds if self.last_error is None else RETRY_SECONDS)
            self._wake.clear()
            self.flush()
            with self._disk:
                for product, segment in list(self._segments.items()):
                    is_full = segment.rows >= self._segment_rows or segment.size >= SEGMENT_BYTES
                    if is_full or segment.age_seconds > self._segment_seconds:
                        self._sealer.add(self._segments.pop(product))

    def _as_writes(self, batches: list[_Batch], answers: list[tuple[OnDisk, str | None]]) -> Iterator[_Write]:
        """For each product one write with the rows for which callers wait, and one with the others."""
        groups: dict[tuple[str, int, bool], list[_Batch]] = {}
        for batch in batches:
            groups.setdefault((batch.product, id(batch.columns), batch.on_disk is None), []).append(batch)
        for group in groups.values():
            yield from self._as_write(group, answers)

    def _as_write(self, group: list[_Batch], answers: list[tuple[OnDisk, str | None]]) -> Iterator[_Write]:
        """One write of several batches, without a batch that cannot be encoded as JSON, which is refused."""
        try:
            lines = self._lines(group)
        except Exception as failure:  # noqa: BLE001 (no error may end the thread)
            if len(group) > 1:
                for batch in group:
                    yield from self._as_write([batch], answers)
                return
            (batch,) = group
            refusal = f"rows of {batch.product} cannot be encoded: {failure}"
            if batch.on_disk is None:
                with self._memory:
                    self._drop(batch.row_count, refusal)
            else:
                answers.append((batch.on_disk, refusal))
            return
        waiting = [batch.on_disk for batch in group if batch.on_disk is not None]
        yield _Write(group[0].product, group[0].columns, lines, sum(batch.row_count for batch in group), waiting)

    def _lines(self, group: list[_Batch]) -> bytes:
        rows = [row for batch in group for row in self._by_row(batch.product, batch.rows)]
        chunks = []
        for start in range(0, len(rows), CHUNK_ROWS):
            if start:
                time.sleep(YIELD_SECONDS)
            chunks.append(as_lines(group[0].columns, rows[start : start + CHUNK_ROWS]))
        return b"".join(chunks)

    def _write(self, write: _Write) -> None:
        segment = self._segments.get(write.product)
        if segment is not None and (segment.columns != write.columns or not segment.is_in_place):
            self._sealer.add(self._segments.pop(write.product))
            segment = None
        if segment is None:
            segment = self._segments[write.product] = Segment(self._spool / write.product, write.columns)
        try:
            segment.append(write.lines, write.rows)
        except Exception:
            # continue in a new file, because the end of this one is unknown
            self._sealer.add(self._segments.pop(write.product))
            raise
        with self._memory:
            self._written += write.rows
            if write.rows:
                self._row_bytes[write.product] = len(write.lines) // write.rows

    def _drop(self, count: int, reason: str) -> None:
        if not self._dropped:
            _log.error("%s: rows are dropped: %s", self._kind, reason)
        self._dropped += count

    def _report(self, error: str | None) -> None:
        with self._memory:
            before, self.last_error = self.last_error, error
        if error is not None and error != before:
            _log.error("%s: %s. Rows wait in memory and are tried again.", self._kind, error)
        if error is None and before is not None:
            _log.warning("%s: writes succeed again; %d rows were dropped so far", self._kind, self._dropped)
