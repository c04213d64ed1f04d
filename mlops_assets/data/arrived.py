"""What has arrived in a product's source."""

from datetime import datetime, timedelta
from typing import NamedTuple

from mlops_assets.errors import NotArrived, SourceError
from mlops_assets.products.periods import Period
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import tables_by_name


class WholePeriods(NamedTuple):
    """The periods that have wholly arrived. incomplete: why the next one has not, "" if the source holds no row of it."""

    periods: list[Period]
    incomplete: str


def whole_periods(product: ModelProduct, now: datetime) -> WholePeriods:
    """The periods of `arrived_periods`, without the newest one if it has not wholly arrived.

    Raises NotArrived: no period has wholly arrived."""
    from mlops_assets.data.cut_off import cut_off

    periods = arrived_periods(product, now)
    try:
        incomplete = cut_off(product, periods[-1], now)
    except SourceError:
        incomplete = ""  # reading the period will raise the same error
    if incomplete and len(periods) == 1:
        raise NotArrived(incomplete)
    return WholePeriods(periods[:-1] if incomplete else periods, incomplete)


def why_not_arrived(product: ModelProduct, period: Period, now: datetime) -> str:
    """Why the source does not give the period yet: it is not over, its delivery is not due, or a table was not found, and where."""
    due = period.end + getattr(product.source, "arrives_after", timedelta(0))
    if now < due:
        reason = f"it ends {_moment(due)}" if due == period.end else f"its delivery is due {_moment(due)}"
        return f"the period {period.key} has not wholly arrived at {now:%Y-%m-%d %H:%M}: {reason}"
    for name in tables_by_name(product.source):
        try:
            product.source.read(name, period)
        except SourceError as error:
            missing = "nothing of it was delivered" if name == product.source.main.name else f"{name} was not delivered"
            return f"the period {period.key} is over and {missing}: {error}"
    return (
        f"the period {period.key} is over, and its source says that it has not wholly arrived at {now:%Y-%m-%d %H:%M}"
    )


def arrived_periods(product: ModelProduct, now: datetime) -> list[Period]:
    """From the product's first period to the newest that has rows in the source, oldest first.

    A source that is one file or one query has "arrived" for every period that is over, so its rows tell where it ends.
    Raises NotArrived: there is none. SourceError: neither the first nor the last of them can be read."""
    over = [period for period in product.period.ended_by(now) if product.source.has_arrived(period, now)]
    if not over:
        raise NotArrived(
            f"no period of {product.name} has arrived: {why_not_arrived(product, product.period.first, now)}"
        )
    if not _has_rows(product, over[0].start, over[-1]):
        raise NotArrived(
            f"the source of {product.name} holds no row of a period that is over at {now:%Y-%m-%d %H:%M}. Its periods begin "
            f"{product.period.start:%Y-%m-%d}: compare that with the days in the source."
        )
    every = list(product.period.ended_by(over[-1].end))
    # a binary search for the newest period with rows: every span that begins later holds none
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
        if not (_can_be_read(product, product.period.first) or _can_be_read(product, last)):
            raise
        return True  # a row that cannot be read is a row, and only reading its own period fails


def _can_be_read(product: ModelProduct, period: Period) -> bool:
    try:
        product.source.read(product.source.main.name, period).head(1).collect()
    except SourceError:
        return False
    return True


def _moment(moment: datetime) -> str:
    return f"{moment:{'%Y-%m-%d' if moment.hour == moment.minute == 0 else '%Y-%m-%d %H:%M'}}"
