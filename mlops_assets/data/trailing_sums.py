"""Trailing views of rows in memory: the table that `Trailing` makes, made by counting instead of grouping and sorting.

Steps and keys are numbered, a grid marks each step of each key in which something was learned, and the number of marks up
to a place is the line of the table that is the newest there.
"""

from itertools import pairwise

import narwhals as nw
import numpy as np
import polars as pl

from mlops_assets.data.grid import MICROSECOND, Lines, microseconds, most_places, newest_mark, parts
from mlops_assets.data.keys import KeyColumn, Keys
from mlops_assets.data.known_values import NEVER, KnownValues
from mlops_assets.products.feature_view import CREATED_TIME, FeatureView
from mlops_assets.products.trailing import COUNT, STEPS, Trailing

_MOST_KEYS = 2**13  # each is summed up by itself
# those whose hours and days are of UTC
_CLOCKS = [pl.Datetime(unit, zone) for unit in ("us", "ms") for zone in (None, "UTC")]


class TrailingSums:
    """What was learned, for trailing views that differ in key, window, time to live and features alone."""

    def __init__(self, lookup: Trailing, addends: pl.DataFrame) -> None:
        """lookup: of one of them, with the keys of all. addends: what it gives."""
        self._columns = {name: KeyColumn.of(addends[name]) for name in lookup.key}
        self._clock, self._lines = addends.schema[CREATED_TIME], None
        learned = microseconds(addends[CREATED_TIME])
        if learned is None or self._clock not in _CLOCKS:
            return
        length = STEPS[lookup.step] // MICROSECOND
        first, last = (int(learned.min()) // length, int(learned.max()) // length) if len(learned) else (0, 0)
        # what is learned in a step counts from the next line on, and on line 0 nothing is learned yet
        self._lines = lines = Lines(first * length, length, last - first + 2)
        self._line = np.empty(len(learned), np.int64)
        for part in parts(learned):
            self._line[part] = lines.of(learned[part]) + 1
        self._summed = [addends[name].to_numpy() for name in lookup.sums]

    def known(self, view: FeatureView) -> KnownValues | None:
        """What the rows may find of the view.

        None where the general way is due: nothing is learned, the grid or the keys would be too many for it, the keys are
        neither texts nor whole numbers, or the clock has odd times."""
        lookup, lines, keys = view.lookup, self._lines, Keys.of([self._columns[name] for name in view.key])
        assert isinstance(lookup, Trailing)
        if lines is None or keys is None or not 1 < keys.count <= _MOST_KEYS:
            return None
        if keys.count * lines.count > most_places(len(self._line)):
            return None
        is_told = np.zeros(keys.count * lines.count, bool)
        is_told[:: lines.count] = True
        entry = np.empty(len(self._line), np.int64)
        for part in parts(entry):
            entry[part] = keys.numbers(keys.learned, part) * lines.count + self._line[part]
            is_told[entry[part]] = True
        newest = newest_mark(is_told)
        for part in parts(entry):
            entry[part] = newest.take(entry[part])
        places = np.flatnonzero(is_told)
        count = np.bincount(entry, minlength=len(places)).astype(float)
        sums = [count, *(np.bincount(entry, values, minlength=len(places)) for values in self._summed)]
        starts = newest.take(np.arange(keys.count) * lines.count)
        told_at = np.empty(len(places), np.int64)
        # an infinite one is no number once it leaves, as in the general way
        with np.errstate(invalid="ignore", over="ignore"):
            # a key's sums do not carry another one's rounding
            for start, end in pairwise([*starts.tolist(), len(places)]):
                for column in sums:
                    np.add.accumulate(column[start:end], out=column[start:end])
            for part in reversed([*parts(places)]):  # what leaves is read before it is overwritten
                line = places[part] - places[part] // lines.count * lines.count  # half of what % takes
                left = newest.take(places[part] - np.minimum(line, lookup.window // STEPS[lookup.step]))
                for column in sums:
                    column[part] -= column.take(left)
                told_at[part] = lines.first + line * lines.length
        is_none = np.append(np.arange(starts[1]), starts)  # what is told of nobody, and what begins a key
        told_at[is_none] = NEVER
        for column in sums:
            column[is_none] = column[starts[1] + 1]  # features are made of sums that there are
        named = nw.from_native(pl.DataFrame(dict(zip((COUNT, *lookup.sums), sums, strict=True))))
        table = named.with_columns(*lookup.values).select(*view.names).to_native()
        return KnownValues(keys, self._clock, lines, newest, told_at, table)
