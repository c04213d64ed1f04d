"""What time it is for the platform: the wall clock, or a replay clock, which stands still until it is set again."""

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
            raise StoreError(f"the replay clock of {self.objects.url} was never set. Begin the replay anew.")
        return datetime.fromisoformat(content.decode().strip())

    def set(self, now: datetime) -> None:
        self.objects.put(CLOCK, now.isoformat().encode())

    def end(self) -> None:
        """The wall clock holds again."""
        self.objects.delete(CLOCK)


def clock_of(objects: Objects) -> Clock:
    """The replay clock where it was set, else the wall clock."""
    return ReplayClock(objects) if objects.stamp(CLOCK) else SystemClock()


class WatchedClock:
    """`clock_of`, for a caller that asks thousands of times a second: the state is looked at every `look_seconds`.

    in_background: by a thread, so that nobody waits for a bucket; meanwhile what was seen last holds."""

    def __init__(self, objects: Objects, look_seconds: float = LOOK_SECONDS, *, in_background: bool = False) -> None:
        self._objects = objects
        self._look_seconds = look_seconds
        self._in_background = in_background
        self._looking = Lock()
        self._replayed: datetime | None = None
        self._look_again = 0.0
        if in_background:
            self._watched()  # what it sees is known before the first caller asks

    def now(self) -> datetime:
        return self._watched() or SystemClock().now()

    def microseconds(self) -> int:
        """Since 1970."""
        replayed = self._watched()
        if replayed is None:
            return time.time_ns() // 1_000
        from mlops_assets.state.dtypes import microseconds  # with Polars, which definitions load without

        return microseconds(replayed)

    def _watched(self) -> datetime | None:
        if time.monotonic() > self._look_again and self._looking.acquire(blocking=False):
            self._look_again = time.monotonic() + self._look_seconds
            if self._in_background:
                Thread(target=self._look, name="clock", daemon=True).start()
            else:
                self._look()
        return self._replayed

    def _look(self) -> None:
        try:
            content = self._objects.get(CLOCK)
            self._replayed = datetime.fromisoformat(content.decode().strip()) if content else None
        except StoreError:
            pass  # while the state cannot be reached, the last known clock stays in use
        finally:
            self._looking.release()
