"""Sealer: converts segments to Parquet objects in its own thread, including those that killed processes left.

A segment is sealed under its own name and removed afterwards. A process that is killed in between leaves both. Readers on
this machine then use the segment, and sealing it again writes the same objects, so no row is lost or duplicated.
"""

import logging
import threading
from collections import deque
from pathlib import Path

import polars as pl

from mlops_assets.errors import DataError
from mlops_assets.state.objects import Objects
from mlops_assets.state.sealed import seal
from mlops_assets.state.spool import Segment, left_behind, read_segment

LOOK_SECONDS = 60.0  # between two searches for segments of killed processes
RETRY_SECONDS = 1.0
_log = logging.getLogger(__name__)


class Sealer:
    """spool: the folder with one folder of segments for each product."""

    def __init__(self, objects: Objects, kind: str, spool: Path, clock: str) -> None:
        self._objects, self._kind, self._spool, self._clock = objects, kind, spool, clock
        self._segments: deque[Segment] = deque()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._keep_sealing, name=f"{kind}-sealer", daemon=True)
        self._is_closed = False
        self.sealed_rows = 0
        self.error: str | None = None  # why the last attempt to seal a segment failed

    def start(self) -> None:
        self._thread.start()

    def add(self, segment: Segment) -> None:
        """Hand over a segment that nobody writes to any more."""
        self._segments.append(segment)
        self._wake.set()

    def close(self) -> None:
        """Seal the added segments. The next process of this machine seals those that cannot be sealed now."""
        self._is_closed = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._report(self._seal_added())
        while self._segments:
            self._segments.popleft().release()

    def _keep_sealing(self) -> None:
        while not self._is_closed:
            self._report(self._seal_added() or self._seal_left_behind())
            self._wake.wait(LOOK_SECONDS if self.error is None else RETRY_SECONDS)
            self._wake.clear()

    def _seal_added(self) -> str | None:
        """The reason why a segment could not be sealed, or None."""
        while self._segments:
            segment = self._segments[0]
            try:
                self._seal(segment.path, segment.read())
                segment.remove()
            except Exception as failure:  # noqa: BLE001 (nothing is lost, and no error may end the thread)
                return f"{segment.path} could not be sealed: {failure}"
            self._segments.popleft()
            self.sealed_rows += segment.rows
        return None

    def _seal_left_behind(self) -> str | None:
        error = None
        for folder in sorted(self._spool.glob("*")):
            try:
                for path in left_behind(folder):
                    try:
                        self._seal(path, read_segment(path))
                        path.unlink(missing_ok=True)
                    except DataError as failure:  # the other segments can still be sealed
                        error = f"{path} could not be sealed: {failure}"
            except Exception as failure:  # noqa: BLE001 (nothing is lost, and no error may end the thread)
                return f"segments that killed processes left in {folder} could not be sealed: {failure}"
        return error

    def _seal(self, path: Path, rows: pl.DataFrame | None) -> None:
        if rows is not None:
            seal(self._objects, f"{self._kind}/{path.parent.name}", path.stem, rows, self._clock)

    def _report(self, error: str | None) -> None:
        before, self.error = self.error, error
        if error is not None and error != before:
            _log.error("%s: %s. It stays on this machine, where it can be read, and is tried again.", self._kind, error)
        if error is None and before is not None:
            _log.warning("%s: segments are sealed again", self._kind)
