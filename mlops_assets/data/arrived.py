"""What has arrived in a product's source."""

from datetime import datetime
from typing import NamedTuple

from mlops_assets.errors import NotArrived, SourceError
from mlops_assets.products.periods import Period
from mlops_assets.products.product import ModelProduct


class WholePeriods(NamedTuple):
    """incomplete: why the period after them has not wholly arrived, "" where there is none."""

    periods: list[Period]
    incomplete: str


def whole_periods(product: ModelProduct, now: datetime) -> WholePeriods:
    """As `arrived_periods`, without a newest one that has not wholly arrived. Raises NotArrived: there is no other."""
    from mlops_assets.data.cut_off import cut_off

    periods = arrived_periods(product, now)
    try:
        incomplete = cut_off(product, periods[-1], now)
    except SourceError:
        incomplete = ""  # who reads the period hears what is wrong with it
    if incomplete and len(periods) == 1:
        raise NotArrived(incomplete)
    return WholePeriods(periods[:-1] if incomplete else periods, incomplete)


def arrived_periods(product: ModelProduct, now: datetime) -> list[Period]:
    """From the product's first period to the newest that has rows in the source, oldest first.

    A source that is one file or one query has "arrived" for every period that is over, so its rows tell where it ends.
    Raises NotArrived: there is none."""
    over = [period for period in product.period.ended_by(now) if product.source.has_arrived(period, now)]
    if not over or not _has_rows(product, over[0].start, over[-1]):
        raise NotArrived(
            f"the source of {product.name} holds no row of a period that is over at {now:%Y-%m-%d %H:%M}. Its periods begin "
            f"{product.period.start:%Y-%m-%d}: compare that with the days in the source."
        )
    every = list(product.period.ended_by(over[-1].end))
    # the newest period from which on there are rows; a span that begins later holds none, so the middle can be asked
    low, high = 0, len(every) - 1
    if not _has_rows(product, every[-1].start, every[-1]):
        while low < high:
            middle = (low + high + 1) // 2
            if _has_rows(product, every[middle].start, every[-1]):
                low = middle
            else:
                high = middle - 1
    return every[: high + 1]


def _has_rows(product: ModelProduct, start: datetime, last: Period) -> bool:
    try:
        rows = product.source.read(product.source.main.name, Period(start, last.end))
        return rows.head(1).collect().height > 0
    except SourceError:
        return True  # a row that cannot be read is one, and concerns nobody but who reads its period
