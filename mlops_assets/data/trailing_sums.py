"""Trailing views of rows in memory: sums on a grid of steps and keys, read off where each row stands.

The general way is the table that `Trailing` makes, joined point-in-time; Spark goes it. Here both are one: each addend is
put into its cell, the cells are summed along the steps once, and a row takes the difference of two of them.
"""

from datetime import timedelta
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt
import polars as pl

from mlops_assets.products.feature_view import CREATED_TIME, FeatureView
from mlops_assets.products.trailing import COUNT, STEPS, Trailing

Numbers = npt.NDArray[np.int64]
# a larger grid is mostly empty, and the general way faster
_CELLS_PER_ROW = 8
_MOST_CELLS = 2**25  # a quarter of a gigabyte
_BLOCK = 64
_WHOLE = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32)
_MICROSECOND = timedelta(microseconds=1)


def trailing_features(
    view: FeatureView, moments: pl.Series, key: pl.DataFrame, addends: pl.DataFrame
) -> pl.DataFrame | None:
    """The features of a trailing view, one row per moment. None where the general way is due: the grid would be too
    large for what is in it, a moment is null, clocks are not alike, or no whole numbers stand for the keys.

    moments: when each row's event happens. key: the rows' key, texts as categories.
    addends: what `Trailing.addends` gives, texts of the key as categories.
    """
    lookup, lifetime = view.lookup, view.time_to_live
    assert isinstance(lookup, Trailing)
    assert lifetime is not None
    if (
        moments.dtype != addends[CREATED_TIME].dtype
        or not isinstance(moments.dtype, pl.Datetime)
        or moments.null_count()
    ):
        return None
    asked, learned = (clock.dt.timestamp("us").to_numpy() for clock in (moments, addends[CREATED_TIME]))
    # lines of the grid are steps: what is learned counts when the step is over, and on line 0 nothing is learned yet
    step = STEPS[lookup.step] // _MICROSECOND
    line_learned = learned // step + 1
    first = int(line_learned.min()) - 1 if len(learned) else 0
    line_learned -= first
    lines = _BLOCK * (int(line_learned.max(initial=0)) // _BLOCK + 1)
    most = min(_CELLS_PER_ROW * (len(asked) + len(learned)) + 2**16, _MOST_CELLS)
    numbered = _numbered(list(zip(key, addends.select(view.key), strict=True)), most)
    if numbered is None or lines * numbered[2] > most:
        return None
    column, column_learned, width = numbered
    cells = line_learned * width + column_learned
    newest = np.zeros(lines * width, np.int32)  # the last line up to each in which something was learned
    newest[cells] = line_learned
    _accumulate(np.maximum, newest, width)
    line = newest.take(np.clip(asked // step - first, 0, lines - 1) * width + column).astype(np.int64)
    is_alive = (line > 0) & (asked - (line + first) * step <= lifetime // _MICROSECOND)
    until = line * width + column
    since = np.maximum(until - lookup.window // STEPS[lookup.step] * width, column)

    def summed(values: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64]:
        grid = np.bincount(cells, values, minlength=lines * width)
        _accumulate(np.add, grid, width)
        with np.errstate(invalid="ignore"):  # an infinite one is no number once it leaves, as in the general way
            difference: npt.NDArray[np.float64] = (grid.take(until) - grid.take(since)).astype(np.float64, copy=False)
        return difference

    sums = {COUNT: summed(None), **{name: summed(addends[name].to_numpy()) for name in lookup.sums}}
    features: pl.DataFrame = nw.from_native(pl.DataFrame(sums)).select(*lookup.values).to_native()
    return features.select(pl.when(pl.Series(is_alive)).then(pl.all()))


def _numbered(columns: list[tuple[pl.Series, pl.Series]], most: int) -> tuple[Numbers, Numbers, int] | None:
    """Of rows and of what is learned the keys as numbers from 1, and how many there are with 0: nothing is learned of it.

    None: the columns have more than `most` combinations, or no whole numbers stand for them."""
    asked = learned = np.zeros(0, np.int64)
    count = 0
    for column in columns:
        codes = _codes(*column, most)
        if codes is None:
            return None
        more, more_learned, more_count = _renumbered(*codes)
        if count * more_count > most:
            return None
        if count:
            more, more_learned, more_count = _renumbered(asked * more_count + more, learned * more_count + more_learned)
        asked, learned, count = more, more_learned, more_count
    return asked, learned, count


def _renumbered(asked: npt.NDArray[Any], learned: npt.NDArray[Any]) -> tuple[Numbers, Numbers, int]:
    is_learned = np.zeros(max(int(asked.max(initial=0)), int(learned.max(initial=0))) + 1, bool)
    is_learned[learned] = True
    numbers = np.cumsum(is_learned) * is_learned
    return numbers.take(asked), numbers.take(learned), int(numbers.max()) + 1


def _codes(asked: pl.Series, learned: pl.Series, most: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]] | None:
    """Whole numbers, none below 0, for both sides of a column of the key; nobody's is that of a null."""
    if asked.dtype != learned.dtype:
        return None
    if asked.dtype == pl.Categorical:
        codes, codes_learned = asked.to_physical(), learned.to_physical()
    elif asked.dtype in _WHOLE:
        both = pl.concat([asked, learned]).drop_nulls().cast(pl.Int64).to_numpy()
        low, high = (int(both.min()), int(both.max())) if len(both) else (0, 0)
        if high - low > most:
            return None
        codes, codes_learned = asked.cast(pl.Int64) - low, learned.cast(pl.Int64) - low
    else:
        return None
    if codes.null_count():
        codes, codes_learned = codes.cast(pl.Int64).fill_null(-1) + 1, codes_learned.cast(pl.Int64) + 1
    return codes.to_numpy(), codes_learned.to_numpy()


def _accumulate(function: np.ufunc, grid: npt.NDArray[Any], width: int) -> None:
    """Along the lines, in place. By whole lines: `ufunc.accumulate` goes cell by cell, which takes twice as long."""
    blocks = grid.reshape(-1, _BLOCK, width)
    for line in range(1, _BLOCK):
        function(blocks[:, line], blocks[:, line - 1], out=blocks[:, line])
    ends = function.accumulate(blocks[:, -1], axis=0)
    function(blocks[1:], ends[:-1, None], out=blocks[1:])
