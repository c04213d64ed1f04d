"""What time it is for the platform: the wall clock, or a replayed one that stands where it was last set."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from mlops_assets.stores.files import write_bytes

LOOK_SECONDS = 0.1


class Clock(Protocol):
    def now(self) -> datetime: ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True)
class ReplayClock:
    """Reads its time from a file, so that every process of a replay agrees on it."""

    path: Path

    def now(self) -> datetime:
        return datetime.fromisoformat(self.path.read_text().strip())

    def set(self, now: datetime) -> None:
        write_bytes(self.path, now.isoformat().encode())


def clock_of(path: Path) -> Clock:
    """The replay clock where its file exists, else the wall clock."""
    return ReplayClock(path) if path.exists() else SystemClock()


class WatchedClock:
    """`clock_of`, for who asks it thousands of times a second: whether the file exists is looked up ten times a second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._look()

    def now(self) -> datetime:
        if time.monotonic() > self._look_again:
            self._look()
        return self._clock.now()

    def microseconds(self) -> int:
        """Since 1970."""
        if time.monotonic() > self._look_again:
            self._look()
        if self._is_wall_clock:
            return time.time_ns() // 1_000
        from mlops_assets.stores.dtypes import microseconds  # with Polars, which definitions load without

        return microseconds(self._clock.now())

    def _look(self) -> None:
        self._clock, self._look_again = clock_of(self._path), time.monotonic() + LOOK_SECONDS
        self._is_wall_clock = isinstance(self._clock, SystemClock)
