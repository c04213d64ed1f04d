"""Product of `benchmarks/growth.py`: late parcels, made up week by week, so that a state of many years can be filled."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from benchmarks.unattended_parts.parcel_delay import DEPOTS, PARCELS, parcel_delay
from mlops_assets.products.periods import Period, weekly, weeks
from mlops_assets.products.policy import DriftPolicy
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Table

if TYPE_CHECKING:
    import polars as pl

ROWS = 1_000  # of a week
LAST_WEEK = "2025-01-06"  # the week that is measured, a Monday; what is older depends on how long the history is
TRAINED_WEEKS = 3


@dataclass(frozen=True)
class MadeUpWeeks:
    """The same rows for the same week, whenever the history began."""

    main: Table = PARCELS
    side_tables: tuple[Table, ...] = ()

    def read(self, table: str, period: Period) -> "pl.LazyFrame":
        return parcels_of(period, ROWS).lazy()

    def has_arrived(self, period: Period, now: datetime) -> bool:
        return period.end <= now


def product_with_history(periods: int) -> ModelProduct:
    """So many weeks end with the one that is measured. Every week a fresh model is tried beside the champion."""
    last = parcel_delay.period.at(LAST_WEEK).start
    return replace(
        parcel_delay,
        source=MadeUpWeeks(),
        period=weekly(start=(last - (periods - 1) * weeks(1)).strftime("%Y-%m-%d")),
        training_window=weeks(TRAINED_WEEKS),
        test_window=weeks(1),
        drift=DriftPolicy(min_rows=500, staleness_every=1),
    )


def parcels_of(period: Period, rows: int) -> "pl.DataFrame":
    import numpy as np
    import polars as pl

    number = int(period.start.timestamp()) // 604_800
    draw = np.random.default_rng(number)
    depot, weight = draw.choice(DEPOTS, rows), draw.gamma(2.0, 2.0, rows).clip(0, 25).round(2)
    hours = (8 + weight + 3 * (depot == "north") + draw.normal(0, 2, rows)).clip(1, 23)
    step = (period.end - period.start) / rows
    accepted = [period.start + step * index for index in range(rows)]
    reported = [moment + timedelta(hours=float(taken)) for moment, taken in zip(accepted, hours, strict=True)]
    return pl.DataFrame(
        {
            "parcel": np.arange(rows) + 10_000 * number,
            "depot": depot,
            "weight": weight,
            "accepted_at": accepted,
            "hours_taken": hours,
            "reported_at": reported,
        }
    )
