"""Monitoring windows: which periods are compared with which. Always whole weeks, so that no weekday is missing."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mlops_assets.products.feature_view import Feature, Role
from mlops_assets.products.periods import Period, Periods
from mlops_assets.products.product import ModelProduct

if TYPE_CHECKING:
    import polars as pl

DAY = timedelta(days=1)
LEAST_DAYS = timedelta(days=3)  # fewer days show only noise
WEEK = timedelta(weeks=1)
YEAR = timedelta(weeks=52)  # whole weeks, so that a season is compared with the same weekdays


def periods_in_window(product: ModelProduct) -> int:
    """Periods that make a monitoring window: one, or as many as fill a week."""
    return product.period.covering(WEEK)


def periods_with_blocks(product: ModelProduct) -> int:
    """Periods that hold as many days as the policy asks of an interval."""
    return product.period.covering(product.drift.min_blocks * DAY)


def current_keys(product: ModelProduct, key: str) -> list[str]:
    """The period and the ones before it that make its window, oldest first; fewer at the start of time."""
    return [period.key for period in product.period.up_to(key, periods_in_window(product))]


def reference_window(product: ModelProduct, rows: "pl.DataFrame") -> "pl.Series":
    """Start of the window each row belongs to, (rows,); windows are counted back from the newest row's period."""
    import polars as pl  # a code location that only lists its assets does without

    newest, oldest = rows[product.event_timestamp].max(), rows[product.event_timestamp].min()
    if not isinstance(newest, datetime) or not isinstance(oldest, datetime):
        return pl.Series("window", [], dtype=pl.String)
    period, many = product.period.containing(newest), periods_in_window(product)
    starts = [product.period.shift(period, 1 - many)]
    while starts[-1].start > oldest:
        starts.append(product.period.shift(starts[-1], -many))
    return _named_by_start(rows[product.event_timestamp], starts[::-1]).alias("window")


def keys_of(periods: Periods, moments: "pl.Series") -> "pl.Series":
    """Key of the period that each moment lies in. (moments,)"""
    import polars as pl

    oldest, newest = moments.min(), moments.max()
    if not isinstance(oldest, datetime) or not isinstance(newest, datetime):
        return pl.Series(moments.name, [None] * len(moments), dtype=pl.String)
    starts = [periods.containing(oldest)]
    while starts[-1].end <= newest:
        starts.append(periods.shift(starts[-1], 1))
    return _named_by_start(moments, starts)


def _named_by_start(moments: "pl.Series", starts: Sequence[Period]) -> "pl.Series":
    """Key of the newest of `starts`, oldest first, that is not after each moment; none of them is before all. (moments,)"""
    import polars as pl

    begins = pl.Series([period.start for period in starts], dtype=moments.dtype)
    places = begins.search_sorted(moments, side="right").cast(pl.Int64) - 1
    return pl.Series(moments.name, [period.key for period in starts], dtype=pl.String).gather(places)


def unseen_from(product: ModelProduct, partition: str, since: str = "") -> datetime:
    """When the rows begin that a version of `partition` is tested on; those whose label was known by then are fitted on.

    The last `test_window`. After a shift that began with period `since` it is the later half of what came since, where that
    is shorter: the version has to learn rows of after the shift, and to be tested on later ones. Where either half would hold
    labels of fewer than three days, the shift cannot be learned yet."""
    cutoff = product.period.at(partition).start
    ordinary = product.period.window_start(partition, product.test_window)
    if not since:
        return ordinary
    half = (cutoff - product.period.at(since).start) // 2 // DAY * DAY
    return ordinary if half < product.label.delay + LEAST_DAYS else max(ordinary, cutoff - half)


def newest_learnable(product: ModelProduct, partition: str) -> str:
    """First period of the newest shift of which a version of `partition` would be fitted on three days or more; too little is
    known of a newer one for a version to learn from it."""
    period = product.period.shift(product.period.at(partition), -1)
    delay = product.label.delay
    while unseen_from(product, partition, period.key) - delay - period.start < LEAST_DAYS:
        period = product.period.shift(period, -1)
    return period.key


def is_trained_on(
    product: ModelProduct, partition: str, keys: Collection[str], fitted_until: datetime | None = None
) -> bool:
    """Whether the model of `partition` was fitted on rows of these periods. It has not seen the rows it was tested on.

    fitted_until: its newest row, None where that was not recorded."""
    if fitted_until is not None:
        return any(product.period.at(key).start <= fitted_until for key in keys)
    return any(product.period.at(key).start < unseen_from(product, partition) for key in keys)


def season_keys(product: ModelProduct, key: str, stored: Collection[str]) -> list[str]:
    """Stored periods of the same season a year before: as many windows as the training window holds, around that week.

    Empty while half of them or more are missing: with less than a year of history there is no season to compare with."""
    year_before = product.period.containing(product.period.at(key).start - YEAR)
    half = product.training_periods // 2
    wanted = [product.period.shift(year_before, by).key for by in range(-half, half)]
    found = [name for name in wanted if name in stored]
    return found if len(found) > len(wanted) // 2 else []


def seasonal_inputs(product: ModelProduct) -> list[Feature]:
    """The features that drift with the season, as they are read against the same season: like any other input."""
    return [replace(feature, role=Role.INPUT) for feature in product.inputs if feature.role is Role.SEASONAL]
