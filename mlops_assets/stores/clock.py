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
        self._replay: ReplayClock | None = None
        self._look_again = 0.0

    def now(self) -> datetime:
        replay = self._watched()
        return SystemClock().now() if replay is None else replay.now()

    def microseconds(self) -> int:
        """Since 1970."""
        replay = self._watched()
        if replay is None:
            return time.time_ns() // 1_000
        from mlops_assets.stores.dtypes import microseconds  # with Polars, which definitions load without

        return microseconds(replay.now())

    def _watched(self) -> ReplayClock | None:
        if time.monotonic() > self._look_again:
            clock = clock_of(self._path)
            self._replay = clock if isinstance(clock, ReplayClock) else None
            self._look_again = time.monotonic() + LOOK_SECONDS
        return self._replay
