"""What time it is for the platform: the wall clock, or a replayed one that stands where it was last set."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from mlops_assets.stores.files import write_bytes


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
    return ReplayClock(path) if os.path.exists(path) else SystemClock()  # noqa: PTH110 (asked for every answer)
