"""Grids of keys and lines of time: arrays in which rows look up what was the newest at their moment."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

Numbers = npt.NDArray[np.int64]
MICROSECOND = timedelta(microseconds=1)
# a larger grid is mostly empty
_PLACES_PER_ROW = 16
_MOST_PLACES = 2**25
_MOST_COUNTED = 2**18  # places for which a count each stays in the cache
_PART = 2**16  # rows at a time, so that what is made of them on the way stays there too
_FURTHEST = 2**60  # µs from 1970, which is 36,000 years: further on, what is added to it may be no number
_LARGEST_KEPT = 2**25 - 2**16  # bytes; glibc takes no notice of more than 32 MB


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


class Newest(Protocol):
    """By place: the entry that is the newest there. An array, or something smaller that stands for it."""

    def take(self, places: Numbers) -> npt.NDArray[np.int32]: ...


class Marks:
    """The newest of entries that are one at each marked place, which the first one is.

    A bit for each place and a count for each 64 (rank of a bit vector: Jacobson, 1989)."""

    def __init__(self, is_marked: npt.NDArray[np.bool]) -> None:
        whole = np.append(is_marked, np.zeros(-len(is_marked) % 64, bool))
        self._bits = np.packbits(whole, bitorder="little").view("<u8")
        counts = np.bitwise_count(self._bits)
        self._before = np.cumsum(counts, dtype=np.int32) - counts - 1

    def take(self, places: Numbers) -> npt.NDArray[np.int32]:
        word = places >> 6
        up_to = self._bits.take(word) << (~places & 63).view(np.uint64)
        entries: npt.NDArray[np.int32] = self._before.take(word) + np.bitwise_count(up_to)
        return entries


def newest_mark(is_marked: npt.NDArray[np.bool]) -> Newest:
    """Of entries that are one at each marked place, which the first one is."""
    return Marks(is_marked) if len(is_marked) > _MOST_COUNTED else np.cumsum(is_marked, dtype=np.int32) - 1


def most_places(rows: int) -> int:
    """Of a grid that is worth its size for so many rows."""
    return min(_PLACES_PER_ROW * rows + 2**16, _MOST_PLACES)


def parts(rows: npt.NDArray[Any]) -> Iterator[slice]:
    return (slice(start, min(start + _PART, len(rows))) for start in range(0, len(rows), _PART))


def microseconds(clock: pl.Series) -> Numbers | None:
    """None: it is no clock of microseconds or less often, a time is null, or one is 36,000 years away."""
    if not isinstance(clock.dtype, pl.Datetime) or clock.dtype.time_unit == "ns" or clock.has_nulls():
        return None
    times: Numbers = clock.cast(pl.Datetime("us")).cast(pl.Int64).to_numpy()
    is_near = not len(times) or (times.min() > -_FURTHEST and times.max() < _FURTHEST)
    return times if is_near else None


def keep_freed_memory() -> None:
    """Let glibc hold on to what NumPy frees, up to 64 MB a thread: a page that has to come again costs 3 µs.

    It gives memory back above twice the largest block that it ever got from the system and saw freed (mallopt(3),
    M_MMAP_THRESHOLD). Nothing is written to this one, so it takes no memory; other allocators take no notice."""
    np.empty(_LARGEST_KEPT, np.uint8)
