"""Prediction log: every answer of the API, append-only, one folder of segments per product.

`append` only encodes into memory; a background thread has the lines on disk within `flush_seconds`, or at once where
somebody waits for it (`on_disk`): whatever comes while one write is being synced goes with the next (group commit).
What cannot be written and nobody waits for stays in memory up to `MAX_BUFFERED_BYTES`, is tried again, and shows in
`health`; beyond that it is dropped and counted. A killed process leaves its write-ahead file, which `read` takes up.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from mlops_assets.errors import DeclarationError
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Kind
from mlops_assets.stores.write_ahead_file import DTYPES, WriteAheadFile, add_frame, read_segments

FLUSH_SECONDS = 0.1
RETRY_SECONDS = 1.0
MAX_BUFFERED_BYTES = 64 * 2**20
SEGMENT_ROWS = 50_000
SEGMENT_SECONDS = 600.0
QUIET_SECONDS = 0.5
GIVE_WAY_SECONDS = 0.000_1  # between pieces of a segment that becomes Parquet: whoever answers needs the interpreter

# in the order in which `serving.answers` puts them together. prediction: probability of class 1, predicted value, or
# probability of the most likely class. label: the predicted class, null for regression. received_at, served_at: when the
# request was read, and when its answer was made
_CORE = {
    "version": "integer",
    "served_at": "timestamp",
    "received_at": "timestamp",
    "request_id": "string",
    "trace_id": "string",
    "prediction_id": "string",
    "prediction": "float",
    "label": "string",
    "probabilities": "floats",
    "event_time": "timestamp",
}
Row = Sequence[object]
# what all rows share, columns, and the rest of each row in two parts: values of `log_columns` in that order, as they are at
# hand where rows are answered. Timestamps are microseconds since 1970, or moments
LoggedRows = tuple[Row, Sequence[Sequence[object]], Sequence[Row], Sequence[Row]]
OnDisk = Callable[[str | None], None]  # told why not, or None
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LogHealth:
    """`is_writing` turns false with the first failed write and true with the next one that succeeds."""

    is_writing: bool
    written_rows: int
    waiting_rows: int
    dropped_rows: int
    last_error: str | None


@dataclass
class _Frames:
    """Of one product, not on disk yet, as they will be there.

    told: who waits for them; those are never kept after a failure."""

    columns: dict[str, str]
    content: bytearray = field(default_factory=bytearray)
    rows: int = 0
    told: list[OnDisk] = field(default_factory=list)


class PredictionLog:
    """Thread-safe; every process writes files of its own name, so any number of them share a root."""

    def __init__(
        self,
        root: Path,
        *,
        max_buffered_bytes: int = MAX_BUFFERED_BYTES,
        segment_rows: int = SEGMENT_ROWS,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._root = root
        self._max_buffered_bytes = max_buffered_bytes
        self._segment_rows = segment_rows
        self._flush_seconds = flush_seconds
        self._memory = (
            threading.Lock()
        )  # guards what waits and the counters; held while rows are packed, never while writing
        self._disk = threading.Lock()  # guards the segments; held while writing
        self._waiting: dict[tuple[str, bool], _Frames] = {}  # of a product, whether somebody waits for them
        self._buffered_bytes = 0
        self._segments: dict[str, WriteAheadFile] = {}
        self._full: deque[WriteAheadFile] = deque()
        self._last_write = 0.0
        self._thread: threading.Thread | None = None
        self._sealer: threading.Thread | None = None
        self._is_closed = False
        self._wake = threading.Event()
        self._written = self._dropped = 0
        self.last_error: str | None = None  # why the last write failed; to be read, as is done with every request

    @property
    def health(self) -> LogHealth:
        with self._memory:
            has_died = self._thread is not None and not self._thread.is_alive() and not self._is_closed
            error = self.last_error or ("the writing thread has ended" if has_died else None)
            waiting = sum(item.rows for item in self._waiting.values())
            return LogHealth(error is None, self._written, waiting, self._dropped, error)

    def append(self, product: ModelProduct, rows: LoggedRows, on_disk: OnDisk | None = None) -> None:
        """Take rows into memory; never waits for the disk.

        on_disk: called once, by the writing thread, as soon as they are there, or with the reason why they are not and
        never will be."""
        count, key = len(rows[-1]), (product.name, on_disk is not None)
        with self._memory:
            waiting = self._waiting.get(key) or _Frames(log_columns(product))
            before = len(waiting.content)
            add_frame(rows, waiting.content)
            buffered = self._buffered_bytes + len(waiting.content) - before
            if self._is_closed or buffered > self._max_buffered_bytes:
                del waiting.content[before:]
                reason = self.last_error or "closed, or the disk is slow"
                if not self._dropped:
                    _log.error("prediction log: rows are dropped: %s", reason)
                self._dropped += count
            else:
                reason = None
                self._waiting[key] = waiting
                self._buffered_bytes = buffered
                waiting.rows += count
                if on_disk is not None:
                    waiting.told.append(on_disk)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._keep_flushing, name="prediction-log", daemon=True)
                    self._thread.start()
        if on_disk is not None:
            if reason is None:
                self._wake.set()
            else:
                on_disk(reason)

    def flush(self) -> None:
        """Have everything that waits on disk now, or see in `health` why not."""
        told: list[tuple[OnDisk, str | None]] = []
        with self._disk:
            with self._memory:
                pending, self._waiting = self._waiting, {}
            error = None
            for (product, _), waiting in pending.items():
                failed = None
                try:
                    self._write(product, waiting)
                except Exception as failure:  # noqa: BLE001 (whatever it is, who waits for the disk has to hear of it)
                    failed = error = f"{self._root / product}: {failure}"
                    self._put_back(product, waiting)
                told += [(on_disk, failed) for on_disk in waiting.told]
            if pending:
                self._report(error)
        for on_disk, failed in told:
            on_disk(failed)

    def close(self) -> None:
        """Flush and turn this process's write-ahead files into Parquet."""
        self._is_closed = True
        self._wake.set()
        for thread in (self._thread, self._sealer):
            if thread is not None:
                thread.join()
        self.flush()
        with self._disk:
            for segment in (*self._full, *self._segments.values()):
                self._seal(segment)
            self._full.clear()
            self._segments.clear()

    def read(self, product: str) -> pl.DataFrame:
        """Every logged row, oldest first: sealed segments and what running or killed processes have written.

        Raises DataError: a file is damaged."""
        self.flush()
        frames = read_segments(self._root / product)
        if not frames:
            return pl.DataFrame(schema={name: DTYPES[kind] for name, kind in _CORE.items()})
        return pl.concat(frames, how="diagonal_relaxed").sort("served_at", maintain_order=True)

    def _keep_flushing(self) -> None:
        while not self._is_closed:
            self._wake.wait(self._flush_seconds if self.last_error is None else RETRY_SECONDS)
            self._wake.clear()
            self.flush()
            with self._disk:
                for product, segment in list(self._segments.items()):
                    if segment.rows >= self._segment_rows or segment.age_seconds > SEGMENT_SECONDS:
                        self._full.append(self._segments.pop(product))
            if self._full and self._sealer is None:
                self._sealer = threading.Thread(target=self._keep_sealing, name="prediction-log-sealer", daemon=True)
                self._sealer.start()

    def _keep_sealing(self) -> None:
        """To read a segment and write Parquet costs more than all else here: that has time until it is quiet."""
        while not self._is_closed:
            if self._full:
                self._give_way(self._full[0])
                segment = self._full.popleft()
                self._seal(segment, lambda: self._give_way(segment))  # noqa: B023 (called before the next one)
            else:
                time.sleep(FLUSH_SECONDS)

    def _write(self, product: str, waiting: _Frames) -> None:
        segment = self._segments.get(product)
        if segment is None:
            segment = self._segments[product] = WriteAheadFile(self._root / product, waiting.columns)
        try:
            segment.append(waiting.content, waiting.rows)
        except Exception:
            # go on in a new file: a torn last line of this one would spoil the next
            self._seal(self._segments.pop(product))
            raise
        self._last_write = time.monotonic()
        with self._memory:
            self._written += waiting.rows
            self._buffered_bytes -= len(waiting.content)

    def _put_back(self, product: str, waiting: _Frames) -> None:
        with self._memory:
            if waiting.told:
                # they are refused, and must not turn up later as if they had been answered
                self._buffered_bytes -= len(waiting.content)
                waiting = _Frames(waiting.columns)
            later = self._waiting.get((product, False))
            if later is not None:
                waiting.content = waiting.content + later.content  # the failed write may still hold on to the old one
                waiting.rows += later.rows
            # without a row, too: where all are refused while writes fail, nothing else would find that they succeed again
            self._waiting[product, False] = waiting

    def _is_quiet(self) -> bool:
        """Nothing was written for a while, and nothing waits for that."""
        return not self._waiting and time.monotonic() - self._last_write > QUIET_SECONDS

    def _give_way(self, segment: WriteAheadFile) -> None:
        """Let others have the interpreter: for a moment, and for as long as somebody is answered and it can wait."""
        if not self._is_closed:  # then nobody is answered any more
            time.sleep(GIVE_WAY_SECONDS)
        while not (self._is_closed or self._is_quiet() or segment.age_seconds > SEGMENT_SECONDS):
            time.sleep(FLUSH_SECONDS)

    def _seal(self, segment: WriteAheadFile, give_way: Callable[[], object] = lambda: None) -> None:
        try:
            segment.seal(give_way)
        except Exception as failure:  # noqa: BLE001 (nothing is lost, and the thread must live: others wait for it)
            self._report(f"{segment.path} could not become Parquet: {failure}", "The file stays and is read as it is")
            with self._memory:
                # the next write says that all is well, and there may be no other
                self._waiting.setdefault((segment.path.parent.name, False), _Frames(segment.columns))

    def _report(self, error: str | None, then: str = "Rows wait in memory and are tried again") -> None:
        with self._memory:
            before, self.last_error = self.last_error, error
        if error is not None and error != before:
            _log.error("prediction log: %s. %s.", error, then)
        if error is None and before is not None:
            _log.warning("prediction log: writes succeed again; %d rows were dropped so far", self._dropped)


def log_columns(product: ModelProduct) -> dict[str, str]:
    """Columns of the product's log and their kinds: its own, request columns (the event timestamp, other timestamps, the
    rest), features. Where a request column and a feature have one name, the feature.

    Raises DeclarationError: the product has a column that the log needs for itself."""
    requested = [column for column in product.request_columns() if column.name not in product.feature_names]
    requested.sort(key=lambda column: (column.name != product.event_timestamp, column.kind is not Kind.TIMESTAMP))
    kinds = {column.name: str(column.kind) for column in requested}
    for feature in product.inputs:
        kinds[feature.name] = str(Kind.STRING if feature.kind is FeatureKind.CATEGORICAL else Kind.FLOAT)
    taken = sorted(set(kinds) & set(_CORE))
    if taken:
        raise DeclarationError(
            f"{product.name}: the prediction log itself has a column {', '.join(taken)}. Rename yours."
        )
    return {**_CORE, **kinds}
