"""Product: will a parcel take longer than 12 hours? Made for `benchmarks/unattended.py`, so that a week costs seconds.

The benchmark copies this file into a folder `products`, where `docs/your_product.md` tells people to keep theirs.
"""

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import narwhals as nw

from mlops_assets.products.candidates import lightgbm
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, Feature, FeatureKind, FeatureView, Tables
from mlops_assets.products.gates import at_least, latency_p99, not_worse_than_champion, onnx_parity
from mlops_assets.products.periods import Period, days, weekly, weeks
from mlops_assets.products.policy import DriftPolicy, Durability, Retries, Serving
from mlops_assets.products.product import Label, ModelProduct
from mlops_assets.products.source import Column, Kind, Table
from mlops_assets.products.task import Task
from mlops_assets.products.trailing import COUNT, trailing_view
from mlops_assets.sources.file_source import Files

if TYPE_CHECKING:
    import polars as pl

FOLDER = "UNATTENDED_PARCELS"  # environment variable: the folder of deliveries, one file a week
DEPOTS = ("north", "south", "west")

PARCELS = Table(
    name="parcels",
    description="One row per parcel that was accepted.",
    key=("parcel",),
    event_timestamp="accepted_at",
    created_timestamp="reported_at",
    columns=(
        Column("parcel", Kind.INTEGER, minimum=0, example=39_001),
        Column("depot", Kind.STRING, choices=DEPOTS, example="north"),
        Column("weight", Kind.FLOAT, unit="kg", minimum=0, maximum=100, example=2.5),
        Column("accepted_at", Kind.TIMESTAMP, unit="UTC", example="2026-02-10T10:00:00Z"),
        Column("hours_taken", Kind.FLOAT, unit="h", minimum=0, maximum=24),
        Column("reported_at", Kind.TIMESTAMP, unit="UTC", description="when the outcome was known"),
    ),
)


@dataclass(frozen=True)
class Deliveries:
    """Files that are complete when their week is over. As with a database, only reading tells whether they are away."""

    main: Table = PARCELS
    side_tables: tuple[Table, ...] = ()

    def read(self, table: str, period: Period) -> "pl.LazyFrame":
        return self._files().read(table, period)

    def has_arrived(self, period: Period, now: datetime) -> bool:
        return period.end <= now

    def _files(self) -> Files:
        return Files(PARCELS, {PARCELS.name: f"{os.environ[FOLDER]}/{{period}}.parquet"})


def reported(tables: Tables) -> nw.LazyFrame[Any]:
    """Every parcel, from when its outcome was reported."""
    return tables["parcels"].with_columns(
        nw.col("accepted_at").alias(EVENT_TIME),
        nw.col("reported_at").alias(CREATED_TIME),
        (nw.col("hours_taken") > 12).cast(nw.Float64).alias("late"),
    )


parcel = FeatureView(
    name="parcel",
    features=(
        Feature("depot", nw.col("depot"), FeatureKind.CATEGORICAL),
        Feature("weight", nw.col("weight"), unit="kg"),
    ),
)

depot_lately = trailing_view(
    "depot_lately",
    (Feature("depot_late_share", nw.col("late") / nw.col(COUNT), description="of yesterday's reports"),),
    rows=reported,
    key=("depot",),
    window=days(1),
    step="1d",
    sums=("late",),
    lookback=days(5),
    time_to_live=days(2),
)

parcel_delay = ModelProduct(
    name="parcel_delay",
    owner="team:parcels",
    description="Will a parcel take longer than 12 hours?",
    source=Deliveries(),
    entity_key=("parcel",),
    event_timestamp="accepted_at",
    created_timestamp="reported_at",
    period=weekly(start="2024-01-01"),
    training_window=weeks(10),
    test_window=weeks(2),
    label=Label("late", nw.col("hours_taken") > 12, delay=days(1)),
    task=Task.BINARY,
    features=(parcel, depot_lately),
    request=("parcel", "depot", "weight", "accepted_at"),
    candidates=(lightgbm(n_estimators=20),),
    metric="roc_auc",
    # what is tried here is the loop: a gate that says no would end it for another reason
    gates=(at_least("roc_auc", 0.55), not_worse_than_champion("roc_auc", 0.2), onnx_parity(1e-4), latency_p99(5_000)),
    # a retraining every second week whatever is read
    drift=DriftPolicy(min_rows=500, cooldown=weeks(1), max_age=weeks(2), retrainings_per_year=52),
    # the weeks of this product pass in seconds
    retries=Retries(attempts=30, first_wait=timedelta(seconds=5), longest_wait=timedelta(seconds=20)),
    serving=Serving(durability=Durability.STRICT),
)


def write_week(folder: Path, number: int, *, shifted: bool, rows: int = 2_000) -> None:
    """Deliver week `number`. shifted: 7.5 % of the parcels are heavier than any before."""
    import numpy as np
    import polars as pl

    draw = np.random.default_rng(number)
    period = parcel_delay.period.shift(parcel_delay.period.first, number)
    depot, weight = draw.choice(DEPOTS, rows), draw.gamma(2.0, 2.0, rows).clip(0, 25)
    heavy = draw.random(rows) < (0.075 if shifted else 0.0)
    weight = np.where(heavy, draw.uniform(40, 60, rows), weight).round(2)
    hours = (8 + weight + 3 * (depot == "north") + draw.normal(0, 2, rows)).clip(1, 23)
    step = (period.end - period.start) / rows
    accepted = [period.start + step * index for index in range(rows)]
    reported_at = [moment + timedelta(hours=float(taken)) for moment, taken in zip(accepted, hours, strict=True)]
    parcels = {"parcel": np.arange(rows) + 10_000 * number, "depot": depot, "weight": weight}
    clocks = {"accepted_at": accepted, "hours_taken": hours, "reported_at": reported_at}
    partial = folder / f"{period.key}.partial"
    pl.DataFrame({**parcels, **clocks}).write_parquet(partial)
    partial.rename(folder / f"{period.key}.parquet")
