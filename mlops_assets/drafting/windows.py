"""How long a period is, and how many of them a training and its test need, from the span and the rows there are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from mlops_assets.drafting.questions import Remarks
from mlops_assets.errors import DeclarationError

# usual training and test windows, in periods; the longest span in days that is still cut into them
_USUAL = {"daily": (35, 7, 120), "weekly": (20, 4, 4 * 365), "monthly": (24, 6, 100_000)}
_UNIT = {"daily": "days", "weekly": "weeks", "monthly": "months"}
_DAYS = {"daily": 1, "weekly": 7, "monthly": 30.4375}
FIT_PERIODS = 6  # the experiment validates on three folds, each of which fits on as many periods before it
FIT_ROWS, TEST_ROWS = 300, 100  # half as many again as a training set asks for, and twice as many
_FEW_ROWS = 20  # in a period, of which a longer one is better
_MANY_PERIODS = 24
MOST_OF_SPAN = 0.7  # of all periods in the first training window, so that others are left to be replayed
_LEAST_READ, _MOST_READ = 50, 1_000  # rows of a drift reading


@dataclass(frozen=True)
class Windows:
    """every: "daily", "weekly" or "monthly". training, test: in such periods. rows: in the median period. min_rows: of a
    drift reading. gaps: periods without rows."""

    every: str
    start: str
    training: int
    test: int
    rows: int
    periods: int
    min_rows: int
    gaps: int

    @property
    def unit(self) -> str:
        return _UNIT[self.every]


def choose_windows(events: pl.Series, delay: timedelta, remarks: Remarks) -> Windows:
    """events: when the labelled rows happened, UTC. delay: after which their outcome is known.

    Raises DeclarationError: there are too few rows, or they cover too short a time."""
    first, last = events.min(), events.max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    span = (last - first) / timedelta(days=1)
    kinds = [every for every, (*_, longest) in _USUAL.items() if span <= longest]
    for every, longer in zip(kinds, [*kinds[1:], ""], strict=True):
        counts = _rows_by_period(events, every)
        is_thin = float(np.median(counts)) < _FEW_ROWS
        if is_thin and longer and len(_rows_by_period(events, longer)) >= _MANY_PERIODS:
            continue
        if (found := _windows(counts, every, delay)) is not None:
            break
    else:
        raise DeclarationError(
            f"{len(events):,} labelled rows over {span:,.0f} days are too few: a training needs 200 rows to fit, 50 later ones to test, "
            f"and at least {FIT_PERIODS + 2} days, weeks or months of them. Add history to the source."
        )
    training, test = found
    rows = int(np.median(counts))
    start = _start(first, every)
    remarks.assume(
        f"{every} periods from {start}", f"the rows cover {span:,.0f} days, {rows:,} of them in the median period"
    )
    remarks.assume(
        f"training on {training} {_UNIT[every]}, the last {test} of them for the test",
        f"of {len(counts)} in the data, so that {len(counts) - training} are left to be replayed",
    )
    in_reading = rows * (7 if every == "daily" else 1)
    min_rows = max(_LEAST_READ, min(_MOST_READ, _two_digits(in_reading // 2)))
    if in_reading < min_rows:
        remarks.warn(
            f"a drift reading would hold {in_reading} rows, of which nothing can be said: it is inconclusive below {min_rows}. More rows a "
            "period, or longer periods, make it conclusive."
        )
    gaps = counts.count(0)
    if gaps:
        remarks.assume("periods without rows are allowed", f"there are {gaps} among {len(counts)}")
    return Windows(every, start, training, test, rows, len(counts), min_rows, gaps)


def _windows(counts: list[int], every: str, delay: timedelta) -> tuple[int, int] | None:
    """Training and test periods of which every training in the data has enough rows; None where there are none."""
    usual, usual_test, _ = _USUAL[every]
    late = int(np.ceil(delay / timedelta(days=_DAYS[every])))
    longest = len(counts) - 1
    preferred = min(usual, max(int(MOST_OF_SPAN * len(counts)), FIT_PERIODS + 2 + 2 * late))
    for training in range(preferred, longest + 1):
        for test in range(min(usual_test, max(1, training // 4)) + late, training - FIT_PERIODS - late + 1):
            windows = [counts[end - training : end] for end in range(training, len(counts) + 1)]
            fitted = [sum(window[: training - test - late]) for window in windows]
            tested = [sum(window[training - test : training - late]) for window in windows]
            if min(fitted) >= FIT_ROWS and min(tested) >= TEST_ROWS:
                return training, test
    return None


def _rows_by_period(events: pl.Series, every: str) -> list[int]:
    """Rows of every period from the first to the last, also of those that have none."""
    length = {"daily": "1d", "weekly": "1w", "monthly": "1mo"}[every]
    counts = pl.DataFrame({"event": events}).with_columns(pl.col("event").dt.truncate(length)).group_by("event").len()
    whole = counts.sort("event").upsample("event", every=length).with_columns(pl.col("len").fill_null(0))
    return [int(rows) for rows in whole["len"]]


def _start(first: datetime, every: str) -> str:
    day = first.date()
    if every == "weekly":
        day -= timedelta(days=day.weekday())
    return str(day.replace(day=1) if every == "monthly" else day)


def _two_digits(number: int) -> int:
    step: int = 10 ** max(0, len(str(number)) - 2)
    return number // step * step
