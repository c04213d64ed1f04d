"""Label log: outcomes that clients reported to the API, append-only, by the id of the prediction they belong to.

`append` returns once the labels are synced to disk. A later label for the same prediction corrects the earlier one. Arrivals
are numbered by a clock that never goes back: the microseconds since 1970, or one more than the newest number of this machine
where the wall clock shows less. So labels of one machine are in the order of arrival, and those of several machines in the
order of their wall clocks.
"""

import fcntl
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import polars as pl

from mlops_assets.errors import StoreError
from mlops_assets.state.event_log import EventLog, LogHealth
from mlops_assets.state.objects import Objects
from mlops_assets.state.spool import empty_rows

KIND = "labels"
COLUMNS = {
    "prediction_id": "string",
    "label": "string",
    "value": "float",
    "observed_at": "timestamp",
    "received_at": "timestamp",
    "arrival": "integer",
}
ARRIVALS = "arrivals"  # the file with the newest number of a product on this machine


@dataclass(frozen=True, slots=True)
class ReportedLabel:
    """One outcome. label: the class as text ("true" and "false" where classes have no names), None for regression.

    value: the number, None for classes. observed_at: when it was true, according to the client."""

    prediction_id: str
    label: str | None
    value: float | None
    observed_at: datetime | None
    received_at: datetime


class LabelLog:
    """Thread-safe. wall_clock: microseconds since 1970. limits: those of `EventLog`."""

    def __init__(
        self,
        objects: Objects,
        spool: Path,
        *,
        wall_clock: Callable[[], int] = lambda: time.time_ns() // 1_000,
        **limits: Any,
    ) -> None:
        self._log = EventLog(objects, KIND, spool, clock="received_at", by_row=self._numbered, **limits)
        self._spool = spool / KIND
        self._wall_clock = wall_clock

    @property
    def health(self) -> LogHealth:
        return self._log.health

    def start(self) -> None:
        """As `EventLog.start`."""
        self._log.start()

    def close(self) -> None:
        """Seal the labels."""
        self._log.close()

    def append(self, product: str, labels: Sequence[ReportedLabel]) -> None:
        """Write the labels to disk and wait for it. Raises StoreError: none of them was written."""
        if not labels:
            return
        outcome: SimpleQueue[str | None] = SimpleQueue()
        self._log.append(product, COLUMNS, labels, len(labels), outcome.put)
        if (refusal := outcome.get()) is not None:
            raise StoreError(refusal)

    def read(self, product: str, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
        """The last label of each prediction in [start, end), in the order of arrival.

        is_corrected: an earlier label had another value. Raises DataError: a file is damaged. Raises StoreError."""
        frames = self._log.read(product, start, end)
        every = pl.concat([empty_rows(COLUMNS), *frames]).sort("arrival", maintain_order=True)
        reported = pl.struct("label", "value")
        return every.with_columns(is_corrected=reported.n_unique().over("prediction_id") > 1).unique(
            "prediction_id", keep="last", maintain_order=True
        )

    def _numbered(self, product: str, labels: Sequence[ReportedLabel]) -> list[tuple[object, ...]]:
        """Numbers are assigned when rows are written, so the request that is answered first has the lower numbers."""
        first = _take_arrivals(self._spool / product, len(labels), self._wall_clock())
        return [_row(label, arrival) for arrival, label in enumerate(labels, first)]


def _row(label: ReportedLabel, arrival: int) -> tuple[object, ...]:
    """In the order of COLUMNS."""
    return label.prediction_id, label.label, label.value, label.observed_at, label.received_at, arrival


def _take_arrivals(folder: Path, count: int, now: int) -> int:
    """The first of `count` new numbers of this machine, above all earlier ones; they are on disk before they are used.

    now: microseconds since 1970. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / ARRIVALS, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        content = os.pread(handle, 8, 0)
        newest = int.from_bytes(content, "big") if len(content) == 8 else 0
        first = max(newest + 1, now)
        os.pwrite(handle, (first + count - 1).to_bytes(8, "big"), 0)
        os.fsync(handle)
    finally:
        os.close(handle)
    return first
