"""Label log: outcomes that clients told the API, append-only, by the id of the prediction they belong to.

A label that was taken is on disk: `append` returns after the sync. Several processes may share a root. A label that is
told again for the same prediction corrects the one before.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import polars as pl

from mlops_assets.errors import DataError
from mlops_assets.stores.dtypes import microseconds
from mlops_assets.stores.write_ahead_file import DTYPES, WriteAheadFile, read_segments

COLUMNS = {
    "prediction_id": "string",
    "label": "string",
    "value": "float",
    "observed_at": "timestamp",
    "received_at": "timestamp",
}
SEGMENT_ROWS = 50_000
_log = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class ToldLabel:
    """One outcome. label: the class as text ("true" and "false" where classes have no names), None for regression.

    value: the number, None for classes. observed_at: when it was true, by the client's word."""

    prediction_id: str
    label: str | None
    value: float | None
    observed_at: datetime | None
    received_at: datetime


class LabelLog:
    """Thread-safe."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._segments: dict[str, WriteAheadFile] = {}

    def append(self, product: str, labels: Sequence[ToldLabel]) -> None:
        """On disk when this returns. Raises OSError: none of them was kept."""
        line = _encoder.encode([_row(label) for label in labels]) + b"\n"
        with self._lock:
            segment = self._segments.get(product)
            if segment is not None and segment.rows >= SEGMENT_ROWS:
                self._seal(product)
                segment = None
            if segment is None:
                segment = self._segments[product] = WriteAheadFile(self._root / product, COLUMNS)
            segment.append(line, len(labels))

    def close(self) -> None:
        """Turn this process's files into Parquet."""
        with self._lock:
            for product in list(self._segments):
                self._seal(product)

    def read(self, product: str) -> pl.DataFrame:
        """One row per prediction, as it was told last, in the order in which they came. Raises DataError."""
        frames = read_segments(self._root / product)
        if not frames:
            return pl.DataFrame(schema={name: DTYPES[kind] for name, kind in COLUMNS.items()})
        every = pl.concat(frames, how="diagonal_relaxed").sort("received_at", maintain_order=True)
        return every.unique("prediction_id", keep="last", maintain_order=True)

    def _seal(self, product: str) -> None:
        segment = self._segments.pop(product)
        try:
            segment.seal()
        except (OSError, pl.exceptions.PolarsError, DataError) as failure:
            _log.warning("label log: %s stays as it is, and readable: %s", segment.path, failure)


def _row(label: ToldLabel) -> tuple[str | float | None, ...]:
    """In the order of COLUMNS."""
    observed = None if label.observed_at is None else microseconds(label.observed_at)
    return label.prediction_id, label.label, label.value, observed, microseconds(label.received_at)
