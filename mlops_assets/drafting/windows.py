"""Chooses the length of a period, and how many periods a training and its test need, from the span and number of rows."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.drafting.questions import Remarks
from mlops_assets.errors import DeclarationError
from mlops_assets.products.periods import spelled
from mlops_assets.products.policy import DriftPolicy

# usual training and test windows, in periods
_USUAL = {"hourly": (72, 12), "daily": (35, 7), "weekly": (20, 4), "monthly": (24, 6), "yearly": (10, 2)}
_LONGEST_SPAN = {"hourly": 14, "daily": 120, "weekly": 4 * 365}  # in days: longer data is not cut into such periods
_UNIT = {"hourly": "hours", "daily": "days", "weekly": "weeks", "monthly": "months", "yearly": "years"}
_DAYS = {"hourly": 1 / 24, "daily": 1, "weekly": 7, "monthly": 30.4375, "yearly": 365.25}
_LENGTH = {"hourly": "1h", "daily": "1d", "weekly": "1w", "monthly": "1mo", "yearly": "1y"}
FIT_PERIODS = 6  # the experiment validates on three folds, each of which fits on as many periods before it
FIT_ROWS, TEST_ROWS = 300, 100  # 1.5 times and twice the minimum of a training set
# in the median period, of which a longer one is better; years only where most months have no rows
_FEW_ROWS = {"daily": 20, "weekly": 20, "monthly": 1}
_MANY_PERIODS = 24
MOST_OF_SPAN = 0.7  # of all periods in the first training window, so that others are left to be replayed
_FAR_SHARE, _FAR_SPANS = 0.01, 10  # more than so many spans of the rows between these quantiles are not one history
_LEAST_READ, _MOST_READ = 50, 1_000  # rows of a drift reading


@dataclass(frozen=True)
class Windows:
    """every: "hourly", "daily", "weekly", "monthly" or "yearly". training, test: in such periods. rows: in the median period that
    has some. min_rows: of a drift reading. gaps: periods without rows."""

    every: str
    start: str
    training: int
    test: int
    rows: int
    periods: int
    min_rows: int
    gaps: int

    @property
    def period(self) -> str:
        """The text of the period in the file."""
        if self.every == "yearly":
            return f'ml.cron("0 0 1 1 *", start="{self.start}")'
        return f'ml.{self.every}(start="{self.start}")'

    def span(self, periods: int) -> str:
        """The text of a duration of so many periods in the file."""
        return f"ml.months({12 * periods})" if self.every == "yearly" else f"ml.{_UNIT[self.every]}({periods})"


def choose_windows(events: pl.Series, delay: timedelta, remarks: Remarks) -> Windows:
    """events: when the labelled rows happened, UTC. delay: after which their outcome is known.

    Raises DeclarationError: there are too few rows, or they cover too short a time."""
    first, last = events.min(), events.max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    span = (last - first) / timedelta(days=1)
    _refuse_far_rows(events, span)
    waiting = f", besides those whose outcome is not known yet ({spelled(delay)}; --known-after)" if delay else ""
    for every, counts in _in_order(events, span):
        if (windows := _windows(counts, every, delay)) is not None:
            break
    else:
        raise DeclarationError(
            f"{len(events):,} labelled rows over {span:,.0f} days are too few: every training needs {FIT_ROWS} rows to fit, {TEST_ROWS} "
            f"later ones to test, and {FIT_PERIODS + 2} hours, days, weeks, months or years with rows{waiting}. Add history to the source."
        )
    training, test = windows
    rows = int(np.median([count for count in counts if count]))
    start = _start(first, every)
    remarks.assume(
        f"{every} periods from {start}", f"the rows cover {span:,.0f} days, {rows:,} of them in the median period"
    )
    remarks.assume(
        f"training on {training} {_UNIT[every]}, the last {test} of them for the test",
        f"of {len(counts)} in the data, so that {len(counts) - training} are left to be replayed",
    )
    in_reading = rows * {"hourly": 7 * 24, "daily": 7}.get(every, 1)
    min_rows = max(_LEAST_READ, min(_MOST_READ, _two_digits(in_reading // 2)))
    if in_reading < min_rows:
        remarks.warn(
            f"a drift reading would have {in_reading} rows, and is inconclusive below {min_rows}. More rows in a period, or longer "
            "periods, make it conclusive."
        )
    if every == "hourly":
        remarks.assume("hours rather than days", f"{span:,.0f} days are too few to train on some and to test on others")
        remarks.warn(
            f"drift is read over whole weeks: until {DriftPolicy().min_blocks} days have arrived, its readings are inconclusive."
        )
    gaps = counts.count(0)
    if gaps:
        remarks.assume("periods without rows are allowed", f"there are {gaps} among {len(counts)}")
    return Windows(every, start, training, test, rows, len(counts), min_rows, gaps)


def _refuse_far_rows(events: pl.Series, span: float) -> None:
    """Raises DeclarationError: a few rows are of another age than the others, as where 1970 or 9999 stands for no time."""
    low, high = (events.quantile(part, "nearest") for part in (_FAR_SHARE, 1 - _FAR_SHARE))
    usual = (high - low) / timedelta(days=1)  # type: ignore[operator]
    if usual and span > _FAR_SPANS * usual:
        far = events.filter((events < low) | (events > high)).sort()
        gaps = (far - low).abs()
        farthest = far[int(gaps.arg_max() or 0)]
        raise DeclarationError(
            f"a few rows are far from the others, such as {farthest:%Y-%m-%d}: 98 of 100 lie between {low:%Y-%m-%d} and {high:%Y-%m-%d}. "
            "Correct their times, or leave those rows out of the source."
        )


def _in_order(events: pl.Series, span: float) -> list[tuple[str, list[int]]]:
    """Lengths of periods with the rows of each period, best first: the shortest that has enough rows. Hours come last, as they
    are for data that is too short for days."""
    kinds = [every for every in _USUAL if span <= _LONGEST_SPAN.get(every, span)]
    counts = {every: _rows_by_period(events, every) for every in kinds}
    thin = []
    for every, longer in pairwise(kinds):
        is_enough = longer == "yearly" or len(counts[longer]) >= _MANY_PERIODS
        if every != "hourly" and is_enough and float(np.median(counts[every])) < _FEW_ROWS[every]:
            thin.append(every)
    last = [*reversed(thin), *(every for every in kinds if every == "hourly")]
    return [(every, counts[every]) for every in (*(kind for kind in kinds if kind not in last), *last)]


def _windows(counts: list[int], every: str, delay: timedelta) -> tuple[int, int] | None:
    """Numbers of training and test periods with which every training in the data has enough rows; None if there are none."""
    usual, usual_test = _USUAL[every]
    late = int(np.ceil(delay / timedelta(days=_DAYS[every])))
    longest = len(counts) - 1
    preferred = min(usual, max(int(MOST_OF_SPAN * len(counts)), FIT_PERIODS + 2 + 2 * late))
    until = np.concatenate([[0], np.cumsum(counts)])  # rows before each period

    filled = np.concatenate([[0], np.cumsum(np.array(counts) > 0)])  # those of them that have rows

    def fewest(training: int, begin: int, end: int, until: NDArray[np.int64] = until) -> int:
        """The fewest rows that any training has from `begin` to `end` periods before its end."""
        ends = np.arange(training, len(until))
        return int((until[ends - end] - until[ends - begin]).min())

    for training in range(preferred, longest + 1):
        tests = range(min(usual_test, max(1, training // 4)) + late, training - FIT_PERIODS - late + 1)
        # the shortest test that has enough rows leaves the most to fit on
        place = bisect_left(tests, TEST_ROWS, key=lambda test: fewest(training, test, late))
        if place == len(tests):
            continue
        fitted = (training, training, tests[place] + late)
        if fewest(*fitted) >= FIT_ROWS and fewest(*fitted, filled) >= FIT_PERIODS:
            return training, tests[place]
    return None


def _rows_by_period(events: pl.Series, every: str) -> list[int]:
    """Rows of every period from the first to the last, including periods without rows."""
    length = _LENGTH[every]
    counts = pl.DataFrame({"event": events}).with_columns(pl.col("event").dt.truncate(length)).group_by("event").len()
    whole = counts.sort("event").upsample("event", every=length).with_columns(pl.col("len").fill_null(0))
    return [int(rows) for rows in whole["len"]]


def _start(first: datetime, every: str) -> str:
    day = first.date()
    match every:
        case "hourly":
            return f"{first:%Y-%m-%dT%H:00}"
        case "weekly":
            return str(day - timedelta(days=day.weekday()))
        case "monthly":
            return str(day.replace(day=1))
        case "yearly":
            return str(day.replace(month=1, day=1))
        case _:
            return str(day)


def _two_digits(number: int) -> int:
    step: int = 10 ** max(0, len(str(number)) - 2)
    return number // step * step
