"""The platform's clock: the wall clock, or a replay clock, which stands still until it is set again."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock, Thread
from typing import Protocol

from mlops_assets.errors import StoreError
from mlops_assets.state.objects import Objects

CLOCK = "clock.txt"
LOOK_SECONDS = 0.1


class Clock(Protocol):
    def now(self) -> datetime: ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True)
class ReplayClock:
    """Keeps its time in the state, so that every process of a replay agrees on it."""

    objects: Objects

    def now(self) -> datetime:
        """Raises StoreError: it was never set."""
        content = self.objects.get(CLOCK)
        if content is None:
            raise StoreError(f"the replay clock of {self.objects.url} was never set. Start the replay again.")
        return datetime.fromisoformat(content.decode().strip())

    def set(self, now: datetime) -> None:
        self.objects.put(CLOCK, now.isoformat().encode())

    def end(self) -> None:
        """Return to the wall clock."""
        self.objects.delete(CLOCK)


def clock_of(objects: Objects) -> Clock:
    """The replay clock where it was set, else the wall clock."""
    return ReplayClock(objects) if objects.stamp(CLOCK) else SystemClock()


class WatchedClock:
    """`clock_of`, for callers that read it thousands of times a second: the state is read every `look_seconds`.

    in_background: it is read by a thread, so that no caller waits for a bucket; meanwhile the last value is valid."""

    def __init__(self, objects: Objects, look_seconds: float = LOOK_SECONDS, *, in_background: bool = False) -> None:
        self._objects = objects
        self._look_seconds = look_seconds
        self._in_background = in_background
        self._reading = Lock()
        self._replayed: datetime | None = None
        self._next_read = 0.0
        if in_background:
            self._watched()  # so that the first caller is likely to get a value that was read

    def now(self) -> datetime:
        return self._watched() or SystemClock().now()

    def microseconds(self) -> int:
        """Since 1970."""
        replayed = self._watched()
        if replayed is None:
            return time.time_ns() // 1_000
        from mlops_assets.state.dtypes import microseconds  # imports Polars, which the definitions do without

        return microseconds(replayed)

    def _watched(self) -> datetime | None:
        if time.monotonic() > self._next_read and self._reading.acquire(blocking=False):
            self._next_read = time.monotonic() + self._look_seconds
            if self._in_background:
                Thread(target=self._read, name="clock", daemon=True).start()
            else:
                self._read()
        return self._replayed

    def _read(self) -> None:
        try:
            content = self._objects.get(CLOCK)
            self._replayed = datetime.fromisoformat(content.decode().strip()) if content else None
        except StoreError:
            pass  # while the state cannot be reached, the last value stays in use
        finally:
            self._reading.release()
