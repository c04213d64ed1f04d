"""Grids of keys and lines of time: arrays in which rows look up what was the newest at their moment."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

Numbers = npt.NDArray[np.int64]
MICROSECOND = timedelta(microseconds=1)
# a larger grid is mostly empty
_PLACES_PER_ROW = 16
_MOST_PLACES = 2**25
_PART = 2**15  # rows at a time, so that what is made of them on the way stays in the cache


@dataclass(frozen=True)
class Lines:
    """Time, cut into parts of one length."""

    first: int  # µs
    length: int  # µs
    count: int

    def of(self, clock: Numbers) -> Numbers:
        """The line of each time, or the first or the last one where it is before or after them all."""
        lines: Numbers = np.clip((clock - self.first) // self.length, 0, self.count - 1)
        return lines


def most_places(rows: int) -> int:
    """Of a grid that is worth its size for so many rows."""
    return min(_PLACES_PER_ROW * rows + 2**16, _MOST_PLACES)


def parts(rows: npt.NDArray[Any]) -> Iterator[slice]:
    return (slice(start, min(start + _PART, len(rows))) for start in range(0, len(rows), _PART))


def microseconds(clock: pl.Series) -> Numbers:
    return clock.dt.timestamp("us").to_numpy()
