"""Monitoring windows: which periods are compared with which. Always whole weeks, so that no weekday is missing."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mlops_assets.products.feature_view import Feature, Role
from mlops_assets.products.product import ModelProduct

if TYPE_CHECKING:
    import polars as pl

DAY = timedelta(days=1)
LEAST_DAYS = timedelta(days=3)  # of fewer, nothing can be said beyond noise
WEEK = timedelta(weeks=1)
YEAR = timedelta(weeks=52)  # whole weeks, so that a season is compared with the same weekdays


def periods_in_window(product: ModelProduct) -> int:
    """Periods that make a monitoring window: one, or as many as fill a week."""
    return product.period.covering(WEEK)


def current_keys(product: ModelProduct, key: str) -> list[str]:
    """The period and the ones before it that make its window, oldest first; fewer at the start of time."""
    return [period.key for period in product.period.up_to(key, periods_in_window(product))]


def reference_window(product: ModelProduct, rows: "pl.DataFrame") -> "pl.Series":
    """First day of the window each row belongs to, (rows,); windows are counted back from the newest row's period."""
    import polars as pl  # a code location that only lists its assets does without

    event = pl.col(product.event_timestamp)
    newest = rows[product.event_timestamp].max()
    if not isinstance(newest, datetime):
        return pl.Series("window", [], dtype=pl.String)
    end = product.period.containing(newest).end
    length = periods_in_window(product) * product.period.length
    windows_back = (pl.lit(end) - event).dt.total_microseconds().sub(1) // (length // timedelta(microseconds=1)) + 1
    return rows.select(
        (pl.lit(end) - windows_back * pl.lit(length)).dt.strftime("%Y-%m-%d").alias("window")
    ).to_series()


def unseen_from(product: ModelProduct, partition: str, since: str = "") -> datetime:
    """When the rows begin that a version of `partition` is tested on; those whose label was known by then are fitted on.

    The last `test_window`. After a shift that began with period `since` it is the later half of what came since, where that
    is shorter: the version has to learn rows of after the shift, and to be tested on later ones. Where either half would hold
    labels of fewer than three days, the shift cannot be learned yet."""
    cutoff = product.period.at(partition).start
    ordinary = cutoff - product.test_window
    if not since:
        return ordinary
    half = (cutoff - product.period.at(since).start) // 2 // DAY * DAY
    return ordinary if half < product.label.delay + LEAST_DAYS else max(ordinary, cutoff - half)


def newest_learnable(product: ModelProduct, partition: str) -> str:
    """First period of the newest shift of which a version of `partition` would be fitted on three days or more; of a newer
    one too little is known, and a version would be none the wiser."""
    period = product.period.shift(product.period.at(partition), -1)
    delay = product.label.delay
    while unseen_from(product, partition, period.key) - delay - period.start < LEAST_DAYS:
        period = product.period.shift(period, -1)
    return period.key


def is_trained_on(
    product: ModelProduct, partition: str, keys: Collection[str], fitted_until: datetime | None = None
) -> bool:
    """Was the model of `partition` fitted on rows of these periods? What it was tested on it has not seen.

    fitted_until: its newest row, None where that was not recorded."""
    if fitted_until is not None:
        return any(product.period.at(key).start <= fitted_until for key in keys)
    return any(product.period.at(key).start < unseen_from(product, partition) for key in keys)


def season_keys(product: ModelProduct, key: str, stored: Collection[str]) -> list[str]:
    """Stored periods of the same season a year before: as many windows as the training window holds, around that week.

    Empty while half of them or more are missing: with less than a year of history there is no season to compare with."""
    year_before = product.period.containing(product.period.at(key).start - YEAR)
    half = product.training_window // product.period.length // 2
    wanted = [product.period.shift(year_before, by).key for by in range(-half, half)]
    found = [name for name in wanted if name in stored]
    return found if len(found) > len(wanted) // 2 else []


def seasonal_inputs(product: ModelProduct) -> list[Feature]:
    """The features that drift with the season, as they are read against the same season: like any other input."""
    return [replace(feature, role=Role.INPUT) for feature in product.inputs if feature.role is Role.SEASONAL]
