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
    """Number of periods in a monitoring window: one, or as many as fill a week."""
    return product.period.covering(WEEK)


def periods_with_blocks(product: ModelProduct) -> int:
    """Number of periods that hold the days which the policy requires for an interval (min_blocks)."""
    return product.period.covering(product.drift.min_blocks * DAY)


def current_keys(product: ModelProduct, key: str) -> list[str]:
    """The periods of the monitoring window that ends with `key`, oldest first; fewer near the product's first period."""
    return [period.key for period in product.period.up_to(key, periods_in_window(product))]


def reference_window(product: ModelProduct, rows: "pl.DataFrame") -> "pl.Series":
    """Start of the window each row belongs to, (rows,); windows are counted back from the newest row's period."""
    import polars as pl  # slow to import, and the code location imports this module

    newest, oldest = rows[product.event_timestamp].max(), rows[product.event_timestamp].min()
    if not isinstance(newest, datetime) or not isinstance(oldest, datetime):
        return pl.Series("window", [], dtype=pl.String)
    period, many = product.period.containing(newest), periods_in_window(product)
    starts = [product.period.shift(period, 1 - many)]
    while starts[-1].start > oldest:
        starts.append(product.period.shift(starts[-1], -many))
    return _named_by_start(rows[product.event_timestamp], starts[::-1]).alias("window")


def keys_of(periods: Periods, moments: "pl.Series") -> "pl.Series":
    """Key of the period that holds each moment, (moments,)."""
    import polars as pl

    oldest, newest = moments.min(), moments.max()
    if not isinstance(oldest, datetime) or not isinstance(newest, datetime):
        return pl.Series(moments.name, [None] * len(moments), dtype=pl.String)
    starts = [periods.containing(oldest)]
    while starts[-1].end <= newest:
        starts.append(periods.shift(starts[-1], 1))
    return _named_by_start(moments, starts)


def _named_by_start(moments: "pl.Series", starts: Sequence[Period]) -> "pl.Series":
    """Key of the newest period that began by each moment, (moments,). starts: oldest first, from before the first moment."""
    import polars as pl

    begins = pl.Series([period.start for period in starts], dtype=moments.dtype)
    places = begins.search_sorted(moments, side="right").cast(pl.Int64) - 1
    return pl.Series(moments.name, [period.key for period in starts], dtype=pl.String).gather(places)


def unseen_from(product: ModelProduct, partition: str, since: str = "") -> datetime:
    """Start of the test rows of a version of `partition`; it is fitted on the rows whose label was known by then.

    Usually the start of the last `test_window`. After a shift that began with period `since`, the later half of the time since
    then is tested instead if that is shorter, so that the version learns from rows after the shift and is tested on later ones.
    If either half would hold labels of fewer than three days, the shift cannot be learned yet."""
    cutoff = product.period.at(partition).start
    usual = product.period.window_start(partition, product.test_window)
    if not since:
        return usual
    half = (cutoff - product.period.at(since).start) // 2 // DAY * DAY
    return usual if half < product.label.delay + LEAST_DAYS else max(usual, cutoff - half)


def newest_learnable(product: ModelProduct, partition: str) -> str:
    """Newest period in which a shift may have begun for a version of `partition` to be fitted on at least three days of it."""
    period = product.period.shift(product.period.at(partition), -1)
    delay = product.label.delay
    while unseen_from(product, partition, period.key) - delay - period.start < LEAST_DAYS:
        period = product.period.shift(period, -1)
    return period.key


def is_trained_on(
    product: ModelProduct, partition: str, keys: Collection[str], fitted_until: datetime | None = None
) -> bool:
    """Whether the model of `partition` was fitted on rows of these periods. It has not seen the rows it was tested on.

    fitted_until: its newest row, None in bundles that do not record it."""
    if fitted_until is not None:
        return any(product.period.at(key).start <= fitted_until for key in keys)
    return any(product.period.at(key).start < unseen_from(product, partition) for key in keys)


def season_keys(product: ModelProduct, key: str, stored: Collection[str]) -> list[str]:
    """Stored periods of the same season a year before: as many as the training window holds, centred on that week.

    Empty if half of them or more are missing: with less than a year of history there is no season to compare with."""
    year_before = product.period.containing(product.period.at(key).start - YEAR)
    half = product.training_periods // 2
    season = [product.period.shift(year_before, by).key for by in range(-half, half)]
    present = [name for name in season if name in stored]
    return present if len(present) > len(season) // 2 else []


def seasonal_inputs(product: ModelProduct) -> list[Feature]:
    """The features that drift with the season, as ordinary inputs: that is how they are read against the same season."""
    return [replace(feature, role=Role.INPUT) for feature in product.inputs if feature.role is Role.SEASONAL]
