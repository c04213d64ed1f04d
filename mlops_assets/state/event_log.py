"""Event log: rows that arrive one after the other, on the disk of this machine first, then sealed among the objects.

`append` only takes rows into memory. A thread makes lines of them and has those on disk within `flush_seconds`, or at once
where somebody waits for it (`on_disk`): whatever comes while one write is being synced goes with the next (group commit).
What cannot be written and nobody waits for stays in memory up to `MAX_BUFFERED_BYTES`, is tried again, and shows in
`health`; beyond that it is dropped and counted. Segments that are full or old are sealed. While the objects cannot be
reached, they wait on the disk of this machine, and `health` says so.
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
# on this machine segments are read beside objects; machines that share a bucket see its objects only
SECONDS_IN_A_FOLDER, SECONDS_IN_A_BUCKET = 600.0, 60.0
CHUNK_ROWS = 128  # are made into lines at once: whoever answers waits so long for the interpreter
YIELD_SECONDS = 0.000_1  # a shorter sleep has the interpreter back before anybody else wakes up
FIRST_ROW_BYTES = 1_000  # what a row takes as a line, until one was written

OnDisk = Callable[[str | None], None]  # given why not, or None
Appended = TypeVar("Appended")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LogHealth:
    """is_writing turns false with the first failed write and true with the next one that succeeds.

    unsealed_rows: of this process, on this machine only. seal_error: why they could not be sealed the last time."""

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
    """Encoded lines of one product that wait to be written. on_disk: the callbacks of those who wait, whose lines are dropped
    after a failure."""

    product: str
    columns: Columns
    lines: bytes = b""
    rows: int = 0
    on_disk: list[OnDisk] = field(default_factory=list)


class EventLog(Generic[Appended]):
    """Thread-safe. Every process writes files and objects of its own names, so any number share a spool and the objects.

    kind: the folder of the objects. clock: the column by whose day (UTC) rows are sealed and read. by_row: the rows of what
    was appended for a product, each in the order of the columns; called by the writing thread."""

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
        of_place = SECONDS_IN_A_FOLDER if isinstance(objects, Folder) else SECONDS_IN_A_BUCKET
        self._segment_seconds = of_place if segment_seconds is None else segment_seconds
        self._flush_seconds = flush_seconds
        self._memory = threading.Lock()  # guards what waits and the counters; never held while writing
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
        """Done by the first append, too. Before that it seals what killed processes of this machine left behind."""
        with self._memory:
            if self._is_started or self._is_closed:
                return
            self._is_started = True
            self._writer.start()
            self._sealer.start()

    def append(self, product: str, columns: Columns, rows: Appended, count: int, on_disk: OnDisk | None = None) -> None:
        """Buffer `count` rows in memory; never waits for the disk.

        on_disk: called once, by the writing thread, as soon as they are there, or with the reason why they are not and
        never will be."""
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
        """Write all buffered rows to disk now; `health` says why where that fails."""
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
                except Exception as failure:  # noqa: BLE001 (whatever it is, who waits for the disk has to hear of it)
                    refusal = error = f"{self._spool / write.product}: {failure}"
                    # who waited is refused, and the rows must not turn up later as if they had been answered. The write is
                    # kept without them: while all are refused, nothing else would find that writes succeed again
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
        """Flush and seal. What cannot be sealed now is sealed by the next process of this machine."""
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
        """Rows of [start, end) by segment: sealed ones, and what running or killed processes of this machine have written.

        Raises DataError: a file or an object is damaged. Raises StoreError: they cannot be read."""
        self.flush()
        # segments first: one that is sealed before it can be read is found below, as an object
        try:
            read = ((path.stem, read_segment(path)) for path in segments_in(self._spool / product))
            segments = {name: rows for name, rows in read if rows is not None}
        except OSError as error:
            raise StoreError(
                f"{self._spool / product} cannot be read: {error}. Grant access to it, or move it away."
            ) from error
        frames = read_sealed(self._objects, f"{self._kind}/{product}", start, end, but=segments)
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
        """For each product one write with the rows that somebody waits for, and one with the others."""
        groups: dict[tuple[str, int, bool], list[_Batch]] = {}
        for batch in batches:
            groups.setdefault((batch.product, id(batch.columns), batch.on_disk is None), []).append(batch)
        for group in groups.values():
            yield from self._as_write(group, answers)

    def _as_write(self, group: list[_Batch], answers: list[tuple[OnDisk, str | None]]) -> Iterator[_Write]:
        """One write of several batches. A batch that cannot be JSON is refused alone."""
        try:
            lines = self._lines(group)
        except Exception as failure:  # noqa: BLE001 (whatever it is, the thread must live)
            if len(group) > 1:
                for batch in group:
                    yield from self._as_write([batch], answers)
                return
            (batch,) = group
            refusal = f"rows of {batch.product} cannot be written down: {failure}"
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
            # go on in a new file: what this one ends with is not known
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
