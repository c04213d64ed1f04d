"""Values of keys as they became known, and what a row finds of them at its moment.

The general way is `join_point_in_time`; this is the same for rows in memory, without sorting or joining them. Keys are
numbered, time is cut into lines, and of each line of each key it is written down which value was the newest when it began. A
row looks there, and goes on by the few values that became known within its line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import numpy as np
import polars as pl

from mlops_assets.data.grid import MICROSECOND, Lines, Newest, Numbers, microseconds, parts
from mlops_assets.data.keys import KeyColumn, Keys
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, FeatureView

NEVER = np.iinfo(np.int64).min // 2  # µs; half, so that the time since then is a number too
_LONGEST = -NEVER // 2  # µs that a value lives: longer than between any two times, shorter than since never
_LAST = np.iinfo(np.int64).max
# with more of them to go on by, sorting the rows is faster
_MOST_WITHIN_A_LINE = 8


@dataclass(frozen=True)
class KnownValues:
    """Entries, those of one key after those of the other, each key's by their time. One that is never alive begins it."""

    keys: Keys
    clock: pl.DataType
    lines: Lines
    newest: Newest  # by place (keys * lines): the entry that was the newest when the line began
    event: Numbers  # (entries,) µs
    values: pl.DataFrame  # one row per entry
    within_a_line: int = 0  # so many of a key at most become known after a line began
    next_created: Numbers | None = None  # (entries,) µs, when the key's next one becomes known

    @classmethod
    def of(cls, view: FeatureView, known: pl.DataFrame) -> Self | None:
        """None: the keys are neither texts nor whole numbers, the clocks are not alike or have odd times, or too many values
        become known within a line.

        known: what `newest_known` gives."""
        clock = known.schema[CREATED_TIME]
        known = known.drop_nulls([CREATED_TIME, EVENT_TIME, *view.key])
        keys = Keys.of([KeyColumn.of(known[name]) for name in view.key])
        event, learned = microseconds(known[EVENT_TIME]), microseconds(known[CREATED_TIME])
        if keys is None or known.is_empty() or event is None or learned is None or known.schema[EVENT_TIME] != clock:
            return None
        # the entry that begins a key has the values of the first row, which nobody reads
        number = np.append(np.arange(keys.count), keys.numbers(keys.learned))
        row = np.append(np.zeros(keys.count, np.int64), np.arange(len(known)))
        order = np.argsort(number, kind="stable")
        number, row, begins = number[order], row[order], order < keys.count
        created = np.where(begins, NEVER, learned[row])
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
            np.where(begins, NEVER, event[row]),
            known.select(view.names)[row],
            within_a_line,
            np.append(np.where(begins, _LAST, created)[1:], _LAST),
        )

    def at(self, moments: pl.Series, keys: Sequence[KeyColumn | None], time_to_live: timedelta) -> pl.DataFrame | None:
        """The values that each row finds, null where there is none or it is older than it may be.

        None: clocks or keys are of other types than those of the values, or a moment is null or 36,000 years away.

        moments: when each row's event happens. keys: those of the rows."""
        digits, asked = self.keys.digits(keys), microseconds(moments)
        if digits is None or asked is None or moments.dtype != self.clock:
            return None
        found, lifetime = np.empty(len(asked), np.uint32), min(time_to_live // MICROSECOND, _LONGEST)
        for part in parts(asked):
            now = asked[part]
            entry = self.newest.take(self.keys.numbers(digits, part) * self.lines.count + self.lines.of(now))
            if self.next_created is not None:
                for _ in range(self.within_a_line):
                    entry += self.next_created.take(entry) <= now
            found[part] = entry * (now - self.event.take(entry) <= lifetime)
        entries = pl.Series(found)
        is_alive = entries > 0
        return pl.DataFrame(
            [
                column.zip_with(is_alive, pl.Series([None], dtype=column.dtype))
                for column in self.values[entries].rechunk()
            ]
        )
