"""Whether the rows of a period reach its end, or their delivery was cut off and more of them may still come.

Where the source already holds later rows, nothing more is to be expected of a period: it is stored as it is, with a
warning. Where it holds none, the period waits, which keeps no other period back (ADR 75)."""

from datetime import datetime, timedelta
from statistics import median
from typing import NamedTuple

import polars as pl

from mlops_assets.errors import SourceError
from mlops_assets.products.periods import Period, spelled
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Table
from mlops_assets.records.data import IncompletePeriod
from mlops_assets.state.workspace import ProductState

# how far from the end the newest row may be: so many of the longest pauses, that share of the period
PAUSES, SHARE = 3, 0.1
LEAST_ROWS = 10  # fewer rows say nothing about the pauses between them
EARLIER_PERIODS, LEAST_EARLIER = 8, 3  # periods that show how early the rows usually end
USUAL_ENDS = 1.5  # rows may end so many times as early as they usually do


class Reach(NamedTuple):
    """is_whole: the rows reach the end of the period. seen: how far they reach, in words."""

    is_whole: bool
    seen: str


def reach(table: Table, period: Period, events: pl.Series) -> Reach:
    """Do the rows reach the end of the period? events: their event timestamps, in UTC.

    `fresh_within` of the table says how far from the end the newest row may be. Without it, that is three times the longest
    pause between rows, and at least a tenth of the period: a night without rows is a pause, the rest of a week is none."""
    newest = events.max()
    if not isinstance(newest, datetime):
        return Reach(True, f"{table.name} has no rows in {period.key}")
    length, missing = period.end - period.start, period.end - newest
    seen = f"the newest row of {table.name} is of {newest:%Y-%m-%d %H:%M}, {1 - missing / length:.0%} of the period"
    if table.fresh_within is not None:
        demand = f"fresh_within asks for rows until {period.end - table.fresh_within:%Y-%m-%d %H:%M}"
        return Reach(True, seen) if missing <= table.fresh_within else Reach(False, f"{seen}, and {demand}")
    pause = pl.concat([pl.Series([period.start], dtype=events.dtype), events]).sort().diff().max()
    assert isinstance(pause, timedelta)
    if len(events) < LEAST_ROWS or missing <= max(PAUSES * pause, SHARE * length):
        return Reach(True, seen)
    return Reach(False, f"{seen}, and no two rows are more than {_in_minutes(pause)} apart")


def cut_off(product: ModelProduct, period: Period, now: datetime, events: pl.Series | None = None) -> str:
    """Why the period, which is over, has not wholly arrived, and what to do; "" if it has.

    A product that allows gaps never waits, since its rows may stop at any time. Nor does a product whose rows usually end as
    early. events: of the main table in this period, where they were read. Raises SourceError."""
    table = product.source.main
    if product.gaps == "allow":
        return ""
    # whether later rows exist costs one row, so it is asked before the events are read, else only where it matters
    if events is None and _has_later_rows(product, period, now):
        return ""
    read = _events(product, period) if events is None else events
    extent = reach(table, period, read)
    if extent.is_whole or (events is not None and _has_later_rows(product, period, now)):
        return ""
    if _ends_so_early(product, period, read):
        return ""
    newest = read.max()
    assert isinstance(newest, datetime)
    days = -(-(period.end - newest) // timedelta(days=1))
    return (
        f"{product.name}: the period {period.key} has not wholly arrived: {extent.seen}. The source holds no later row; the period is "
        f"stored once it does. If no more rows will come, declare fresh_within=days({days}) of {table.name}, or gaps='allow'."
    )


def noted_cut_off(state: ProductState, period: Period, now: datetime) -> str:
    """The answer of `cut_off`, which is kept in the state: sensors ask often, and the source is read again only after the
    product's `retries.first_wait`.

    If the source cannot be read, the period does not wait, and its run reports the error."""
    records = state.records
    noted = records.load(IncompletePeriod, period.key) if records.has(IncompletePeriod, period.key) else None
    if noted is not None and noted.at <= now < noted.at + state.product.retries.first_wait:
        return noted.reason
    try:
        reason = cut_off(state.product, period, now)
    except SourceError:
        return ""
    if reason:
        records.save(period.key, IncompletePeriod(period.key, reason, now))
    elif noted is not None:
        records.remove(IncompletePeriod, period.key)
    return reason


def _has_later_rows(product: ModelProduct, period: Period, now: datetime) -> bool:
    """Does the source hold rows that happened after the period?"""
    source = product.source
    rest = Period(period.end, product.period.containing(now).end, period.key_format)
    try:
        return source.read(source.main.name, rest).head(1).collect().height > 0
    except (SourceError, OSError):
        # the next period has no file, but a later one may have
        later = product.period.shift(period, 1)
        while later.end <= now:
            if source.has_arrived(later, now):
                return True
            later = product.period.shift(later, 1)
        return False


def _ends_so_early(product: ModelProduct, period: Period, events: pl.Series) -> bool:
    """Do the rows of earlier periods end about as early? Those of a shop that is closed at the end of the week do."""
    days: list[float] = []
    for back in range(1, EARLIER_PERIODS + 1):
        earlier = product.period.shift(period, -back)
        if not product.period.has(earlier):
            break
        try:
            newest = _events(product, earlier).max()
        except (SourceError, OSError):
            continue
        if isinstance(newest, datetime):
            days.append((earlier.end - newest) / timedelta(days=1))
    newest = events.max()
    assert isinstance(newest, datetime)
    return len(days) >= LEAST_EARLIER and (period.end - newest) / timedelta(days=1) <= USUAL_ENDS * median(days)


def _events(product: ModelProduct, period: Period) -> pl.Series:
    """Event timestamps of the main table; empty if they are missing or of another type, which the contract reports."""
    table = product.source.main
    rows, kind = product.source.read(table.name, period), pl.Datetime("us", "UTC")
    if rows.collect_schema().get(table.event_timestamp) != kind:
        return pl.Series(table.event_timestamp, [], dtype=kind)
    return rows.select(table.event_timestamp).collect().to_series()


def _in_minutes(span: timedelta) -> str:
    return spelled(timedelta(minutes=-(-span // timedelta(minutes=1))))
