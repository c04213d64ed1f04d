"""Outages of the online store: readers get an error at once, and only one thread waits for the store."""

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from mlops_assets.errors import StoreError

READ_SECONDS = 1.0  # a read that takes longer counts as an outage, so only the first request waits that long
PAUSE_SECONDS = 0.25  # between two probes of a store that does not answer
Answer = TypeVar("Answer")
_log = logging.getLogger(__name__)


class Breaker:
    """Circuit breaker: the first failed read opens it, and the first successful `probe` closes it.

    probe: a minimal read; raises StoreError while reads fail."""

    def __init__(self, probe: Callable[[], object]) -> None:
        self._probe = probe
        self._failure: str | None = None
        self._lock = threading.Lock()
        self._is_closed = threading.Event()
        self._thread: threading.Thread | None = None

    def call(self, read: Callable[[], Answer]) -> Answer:
        """Raises StoreError: the store does not answer, or did not answer the last probe."""
        if (failure := self._failure) is not None:
            raise StoreError(failure)
        try:
            return read()
        except StoreError as error:
            self._open(str(error))
            raise

    def close(self) -> None:
        self._is_closed.set()
        if (thread := self._thread) is not None:
            thread.join()
        self._is_closed.clear()

    def _open(self, failure: str) -> None:
        with self._lock:
            if self._failure is not None:
                return
            self._failure = failure
            _log.warning("%s It is tried again every %g s.", failure, PAUSE_SECONDS)
            self._thread = threading.Thread(target=self._wait_for_store, name="online-store", daemon=True)
            self._thread.start()

    def _wait_for_store(self) -> None:
        while not self._is_closed.wait(PAUSE_SECONDS):
            try:
                self._probe()
            except StoreError:
                continue
            _log.warning("the online store answers again")
            break
        self._failure = self._thread = None
