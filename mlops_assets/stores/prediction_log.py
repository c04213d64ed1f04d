"""Prediction log: every answer of the API, append-only, one folder of segments per product.

`append` only encodes into memory; a background thread has the lines on disk within `FLUSH_SECONDS`. What cannot be
written stays in memory up to `MAX_BUFFERED_BYTES`, is tried again, and shows in `health`; beyond that it is dropped and
counted. A killed process leaves its write-ahead file, which `read` takes up.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec
import polars as pl

from mlops_assets.errors import DataError, DeclarationError
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Kind
from mlops_assets.stores.dtypes import microseconds
from mlops_assets.stores.write_ahead_file import DTYPES, WriteAheadFile, read_segments

FLUSH_SECONDS = 0.1
RETRY_SECONDS = 1.0
MAX_BUFFERED_BYTES = 64 * 2**20
SEGMENT_ROWS = 50_000
SEGMENT_SECONDS = 600.0

Value = str | float | bool | datetime | None

_CORE = {
    "prediction_id": "string",
    "request_id": "string",
    "version": "integer",
    "event_time": "timestamp",
    "served_at": "timestamp",
    "prediction": "float",
    "label": "string",
    "probabilities": "floats",
}
_encoder = msgspec.json.Encoder()
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoggedPrediction:
    """One answered row.

    prediction: probability of class 1, predicted value, or probability of the most likely class. label: the predicted
    class, None for regression. values: request columns and features as served; where both have one name, the feature.
    """

    prediction_id: str
    request_id: str
    version: int
    event_time: datetime
    served_at: datetime
    prediction: float
    label: str | None
    values: Mapping[str, Value]
    probabilities: Sequence[float] | None = None


@dataclass(frozen=True)
class LogHealth:
    """`is_writing` turns false with the first failed write and true with the next one that succeeds."""

    is_writing: bool
    written_rows: int
    waiting_rows: int
    dropped_rows: int
    last_error: str | None


@dataclass
class _Waiting:
    """Lines of one product that are not on disk yet."""

    columns: dict[str, str]
    chunks: list[bytes] = field(default_factory=list)
    rows: int = 0

    def add(self, chunks: list[bytes], rows: int) -> None:
        self.chunks += chunks
        self.rows += rows


class PredictionLog:
    """Thread-safe; every process writes files of its own name, so any number of them share a root."""

    def __init__(
        self, root: Path, *, max_buffered_bytes: int = MAX_BUFFERED_BYTES, segment_rows: int = SEGMENT_ROWS
    ) -> None:
        self._root = root
        self._max_buffered_bytes = max_buffered_bytes
        self._segment_rows = segment_rows
        self._memory = threading.Lock()  # guards what waits and the counters; held for microseconds
        self._disk = threading.Lock()  # guards the segments; held while writing
        self._waiting: dict[str, _Waiting] = {}
        self._buffered_bytes = 0
        self._segments: dict[str, WriteAheadFile] = {}
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._written = self._dropped = 0
        self._last_error: str | None = None

    @property
    def health(self) -> LogHealth:
        with self._memory:
            has_died = self._thread is not None and not self._thread.is_alive() and not self._stop.is_set()
            error = self._last_error or ("the writing thread has ended" if has_died else None)
            waiting = sum(item.rows for item in self._waiting.values())
            return LogHealth(error is None, self._written, waiting, self._dropped, error)

    def append(self, product: ModelProduct, rows: Sequence[LoggedPrediction]) -> None:
        """Take the rows into memory; never waits for the disk."""
        lines = _encoder.encode_lines([_flat(row) for row in rows])
        with self._memory:
            if self._stop.is_set() or self._buffered_bytes + len(lines) > self._max_buffered_bytes:
                if not self._dropped:
                    _log.error(
                        "prediction log: rows are dropped: %s", self._last_error or "closed, or the disk is slow"
                    )
                self._dropped += len(rows)
                return
            waiting = self._waiting.get(product.name)
            if waiting is None:
                waiting = self._waiting[product.name] = _Waiting(log_columns(product))
            waiting.add([lines], len(rows))
            self._buffered_bytes += len(lines)
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep_flushing, name="prediction-log", daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Have everything that waits on disk now, or see in `health` why not."""
        with self._disk:
            with self._memory:
                pending, self._waiting = self._waiting, {}
            error = None
            for product, waiting in pending.items():
                try:
                    self._write(product, waiting)
                except OSError as failure:
                    error = f"{self._root / product}: {failure}"
                    self._put_back(product, waiting)
            if pending:
                self._report(error)

    def close(self) -> None:
        """Flush and turn this process's write-ahead files into Parquet."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()
        with self._disk:
            for product in list(self._segments):
                self._seal(product)

    def read(self, product: str) -> pl.DataFrame:
        """Every logged row, oldest first: sealed segments and what running or killed processes have written.

        Raises DataError: a file is damaged."""
        self.flush()
        frames = read_segments(self._root / product)
        if not frames:
            return pl.DataFrame(schema={name: DTYPES[kind] for name, kind in _CORE.items()})
        return pl.concat(frames, how="diagonal_relaxed").sort("served_at", maintain_order=True)

    def _keep_flushing(self) -> None:
        while not self._stop.wait(FLUSH_SECONDS if self._last_error is None else RETRY_SECONDS):
            self.flush()
            with self._disk:
                for product, segment in list(self._segments.items()):
                    if segment.rows >= self._segment_rows or segment.age_seconds > SEGMENT_SECONDS:
                        self._seal(product)

    def _write(self, product: str, waiting: _Waiting) -> None:
        segment = self._segments.get(product)
        if segment is None:
            segment = self._segments[product] = WriteAheadFile(self._root / product, waiting.columns)
        try:
            segment.append(b"".join(waiting.chunks), waiting.rows)
        except OSError:
            # go on in a new file: a torn last line of this one would spoil the next
            self._seal(product)
            raise
        with self._memory:
            self._written += waiting.rows
            self._buffered_bytes -= sum(map(len, waiting.chunks))

    def _put_back(self, product: str, waiting: _Waiting) -> None:
        with self._memory:
            later = self._waiting.get(product)
            if later is not None:
                waiting.add(later.chunks, later.rows)
            self._waiting[product] = waiting

    def _seal(self, product: str) -> None:
        segment = self._segments.pop(product)
        try:
            segment.seal()
        except (OSError, pl.exceptions.PolarsError, DataError) as failure:
            # nothing is lost: the write-ahead file stays and is read as it is
            self._report(f"{segment.path} could not become Parquet: {failure}")

    def _report(self, error: str | None) -> None:
        with self._memory:
            before, self._last_error = self._last_error, error
        if error is not None and error != before:
            _log.error("prediction log: %s. Rows wait in memory and are tried again.", error)
        if error is None and before is not None:
            _log.warning("prediction log: writes succeed again; %d rows were dropped so far", self._dropped)


def log_columns(product: ModelProduct) -> dict[str, str]:
    """Columns of the product's log and their kinds.

    Raises DeclarationError: the product has a column that the log needs for itself."""
    kinds = {column.name: str(column.kind) for column in product.request_columns()}
    for feature in product.inputs:
        kinds[feature.name] = str(Kind.STRING if feature.kind is FeatureKind.CATEGORICAL else Kind.FLOAT)
    taken = sorted(set(kinds) & set(_CORE))
    if taken:
        raise DeclarationError(
            f"{product.name}: the prediction log itself has a column {', '.join(taken)}. Rename yours."
        )
    return {**_CORE, **kinds}


def _flat(row: LoggedPrediction) -> dict[str, object]:
    flat: dict[str, object] = {
        name: microseconds(value) if isinstance(value, datetime) else value for name, value in row.values.items()
    }
    flat |= {
        "prediction_id": row.prediction_id,
        "request_id": row.request_id,
        "version": row.version,
        "event_time": microseconds(row.event_time),
        "served_at": microseconds(row.served_at),
        "prediction": row.prediction,
        "label": row.label,
        "probabilities": row.probabilities,
    }
    return flat
