"""Values of keys as they became known, and what a row finds of them at its moment.

The general way is `join_point_in_time`; this is the same for rows in memory, without sorting or hashing them. Keys are
numbered, time is cut into lines, and of each line of each key it is written down which value was the newest when it began. A
row looks there, and goes on by the few values that became known within its line.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, FeatureView

Numbers = npt.NDArray[np.int64]
NEVER = np.iinfo(np.int64).min // 2  # µs; half, so that the time since then is a number too
_LAST = np.iinfo(np.int64).max
# with more of them to go on by, sorting the rows is faster
_MOST_WITHIN_A_LINE = 8
# a larger grid is mostly empty
_PLACES_PER_ROW = 16
_MOST_PLACES = 2**25
_PART = 2**15  # rows at a time, so that what is made of them on the way stays in the cache
_WHOLE = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32)
MICROSECOND = timedelta(microseconds=1)


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


@dataclass(frozen=True)
class KnownValues:
    """Entries, those of one key after those of the other, each key's by their time. One that is never alive begins it."""

    keys: "Keys"
    clock: pl.DataType
    lines: Lines
    newest: npt.NDArray[np.int32]  # (keys * lines,) the entry that was the newest when the line began
    event: Numbers  # (entries,) µs
    values: pl.DataFrame  # one row per entry
    within_a_line: int = 0  # so many of a key at most become known after a line began
    next_created: Numbers | None = None  # (entries,) µs, when the key's next one becomes known

    @classmethod
    def of(cls, view: FeatureView, known: pl.DataFrame) -> Self | None:
        """None: no whole numbers stand for the keys, or too many values become known within a line.

        known: what `newest_known` gives, texts of the key as categories."""
        clock = known.schema[CREATED_TIME]
        known = known.drop_nulls([CREATED_TIME, EVENT_TIME, *view.key])
        keys = Keys.of([KeyColumn.of(known[name]) for name in view.key])
        if keys is None or known.is_empty() or not isinstance(clock, pl.Datetime):
            return None
        # the entry that begins a key has the values of the first row, which nobody reads
        number = np.append(np.arange(keys.count), keys.learned())
        row = np.append(np.zeros(keys.count, np.int64), np.arange(len(known)))
        order = np.argsort(number, kind="stable")
        number, row, begins = number[order], row[order], order < keys.count
        created = np.where(begins, NEVER, microseconds(known[CREATED_TIME])[row])
        is_last = np.append((number[1:] != number[:-1]) | (created[1:] != created[:-1]), True)  # of that time
        number, row, begins, created = (column[is_last] for column in (number, row, begins, created))

        earliest, latest = int(created[~begins].min()), int(created.max())
        length = (latest - earliest) // (1 + 2 * len(known) // keys.count) + 1
        lines = Lines(earliest - length, length, 2 - (earliest - latest) // length)
        # what becomes known within a line is there when the next one begins
        line = np.where(begins, 0, -((lines.first - created) // length))
        place = number * lines.count + line
        within = np.bincount(place[~begins & ((created - lines.first) % length != 0)])
        if (within_a_line := int(within.max(initial=0))) > _MOST_WITHIN_A_LINE:
            return None
        return cls(
            keys,
            clock,
            lines,
            (np.cumsum(np.bincount(place, minlength=keys.count * lines.count)) - 1).astype(np.int32),
            np.where(begins, NEVER, microseconds(known[EVENT_TIME])[row]),
            known.select(view.names)[row],
            within_a_line,
            np.append(np.where(begins, _LAST, created)[1:], _LAST),
        )

    def at(self, moments: pl.Series, keys: pl.DataFrame, time_to_live: timedelta) -> pl.DataFrame | None:
        """The values that each row finds, null where there is none or it is older than it may be.

        None: a moment is null, or clocks or keys are of other types than those of the values.

        moments: when each row's event happens. keys: the rows' keys, texts as categories."""
        codes = self.keys.codes(keys)
        if codes is None or moments.dtype != self.clock or moments.null_count():
            return None
        asked, found = microseconds(moments), np.empty(len(moments), np.uint32)
        for part in parts(asked):
            now = asked[part]
            entry = self.newest.take(self.keys.numbers(codes, part) * self.lines.count + self.lines.of(now))
            if self.next_created is not None:
                for _ in range(self.within_a_line):
                    entry += self.next_created.take(entry) <= now
            found[part] = entry * (now - self.event.take(entry) <= time_to_live // MICROSECOND)
        entries = pl.Series(found)
        is_alive, none = entries > 0, self.values.clear(1)
        return pl.DataFrame([column.zip_with(is_alive, none[column.name]) for column in self.values[entries].rechunk()])


def most_places(rows: int) -> int:
    """Of a grid that is worth its size for so many rows."""
    return min(_PLACES_PER_ROW * rows + 2**16, _MOST_PLACES)


def parts(rows: npt.NDArray[Any]) -> Iterator[slice]:
    return (slice(start, min(start + _PART, len(rows))) for start in range(0, len(rows), _PART))


def microseconds(clock: pl.Series) -> Numbers:
    return clock.dt.timestamp("us").to_numpy()


class Keys:
    """The keys of which something is learned as numbers from 1; 0 is any other one, and one with a null."""

    def __init__(self) -> None:
        self.count = 1
        self._columns: list[KeyColumn] = []
        self._joints: list[Numbers] = []  # of the columns but the first: the number of what they are together

    @classmethod
    def of(cls, columns: Sequence["KeyColumn | None"]) -> Self | None:
        """None: the columns have far more combinations than there are rows, or no whole numbers stand for one."""
        keys = cls()
        for column in columns:
            if column is None or keys.count * column.count > most_places(len(column.learned)):
                return None
            keys._add(column)
        return keys

    def learned(self, part: slice = slice(None)) -> Numbers:
        return self.numbers([column.learned for column in self._columns], part)

    def codes(self, keys: pl.DataFrame) -> list[npt.NDArray[Any]] | None:
        """For `numbers`. None: the keys are of other types than those of which something is learned."""
        if any(keys.schema[column.name] != column.dtype for column in self._columns):
            return None
        return [column.codes(keys[column.name]) for column in self._columns]

    def numbers(self, codes: Sequence[npt.NDArray[Any]], part: slice = slice(None)) -> Numbers:
        digits = [
            column.digits.take(code[part], mode="clip") for column, code in zip(self._columns, codes, strict=True)
        ]
        number = digits[0]
        for column, joint, digit in zip(self._columns[1:], self._joints, digits[1:], strict=True):
            number = joint.take(number * column.count + digit)
        return number

    def _add(self, column: "KeyColumn") -> None:
        if self._columns:
            is_learned = np.zeros(self.count * column.count, bool)
            for part in parts(column.learned):
                is_learned[self.learned(part) * column.count + column.digits.take(column.learned[part])] = True
            is_learned[: column.count] = is_learned[:: column.count] = False
            self._joints.append(_numbered(is_learned))
        self._columns.append(column)
        self.count = int(self._joints[-1].max()) + 1 if self._joints else column.count


@dataclass(frozen=True)
class KeyColumn:
    """One column of keys: a code from 0 for each value, and the last one for all of which nothing is learned."""

    name: str
    dtype: pl.DataType
    low: int  # value of code 0
    learned: npt.NDArray[Any]  # codes
    digits: Numbers  # by code: from 1 for what is learned, else 0
    # Polars numbers categories anew when nobody holds a column of them any more: then the codes would mean others
    held: pl.Series

    @classmethod
    def of(cls, learned: pl.Series) -> Self | None:
        """learned: texts as categories. None: no whole numbers stand for the values."""
        is_category = learned.dtype == pl.Categorical
        if not is_category and learned.dtype not in _WHOLE:
            return None
        known = (learned.to_physical() if is_category else learned).drop_nulls().cast(pl.Int64).to_numpy()
        low, high = (0 if is_category else int(known.min()), int(known.max())) if len(known) else (0, -1)
        if high - low >= most_places(len(learned)):
            return None
        is_learned = np.zeros(high - low + 2, bool)
        for part in parts(known):
            is_learned[known[part] - low] = True
        codes = _codes(learned, low, high)
        return cls(learned.name, learned.dtype, low, codes, _numbered(is_learned), learned.clear())

    @property
    def count(self) -> int:
        return int(self.digits.max()) + 1

    def codes(self, values: pl.Series) -> npt.NDArray[Any]:
        return _codes(values, self.low, self.low + len(self.digits) - 2)


def _codes(values: pl.Series, low: int, high: int) -> npt.NDArray[Any]:
    if values.dtype == pl.Categorical:
        return values.to_physical().fill_null(high + 1).to_numpy()
    whole = values.cast(pl.Int64)
    is_in_range = whole.is_between(low, high).fill_null(False)
    return (whole.set(~is_in_range, high + 1) - low).to_numpy()


def _numbered(is_learned: npt.NDArray[np.bool]) -> Numbers:
    numbers: Numbers = np.where(is_learned, np.cumsum(is_learned), 0)
    return numbers
