"""Product: will a flight out of New York arrive late?"""

from examples.flights.flight_features import (
    LATE,
    aircraft,
    carrier_lately,
    congestion,
    origin_lately,
    route_lately,
    schedule,
    weather_at_departure,
)
from examples.flights.nyc_flights import NycFlights
from mlops_assets.products import candidates, gates
from mlops_assets.products.periods import days, weekly, weeks
from mlops_assets.products.policy import DriftPolicy, Serving, automatic
from mlops_assets.products.product import Label, ModelProduct
from mlops_assets.products.search import Search
from mlops_assets.products.task import Task

flight_delay = ModelProduct(
    name="flight_delay",
    owner="team:flights",
    description="Will a flight out of New York arrive 15 minutes late or later?",
    source=NycFlights(),
    entity_key=("carrier", "flight", "origin", "scheduled_departure"),
    event_timestamp="scheduled_departure",
    created_timestamp="reported_at",
    period=weekly(start="2012-12-31", end="2013-12-30"),
    training_window=weeks(16),
    test_window=weeks(2),
    label=Label("late", LATE, delay=days(2)),
    task=Task.BINARY,
    features=(schedule, aircraft, weather_at_departure, congestion, origin_lately, carrier_lately, route_lately),
    request=("carrier", "flight", "origin", "dest", "scheduled_departure", "distance", "aircraft_year", "seats"),
    candidates=(
        candidates.dummy(),
        candidates.linear(),
        candidates.forest(),
        candidates.gradient_boosting(learning_rate=0.05, max_iter=150),
        candidates.lightgbm(learning_rate=0.05, n_estimators=150),
    ),
    search=Search(trials=6, seconds=20),
    metric="roc_auc",
    gates=(
        gates.at_least("roc_auc", 0.62),
        gates.not_worse_than_champion("roc_auc", margin=0.005, confidence=0.95),
        gates.slice_gap("origin", "roc_auc", at_most=0.10),
        gates.onnx_parity(1e-5),
        gates.leakage_probe(at_most=0.9),
        gates.bundle_size(megabytes=20),
        gates.latency_p99(milliseconds=50),
    ),
    drift=DriftPolicy(watch=2, retrain=5, rework=10, agreeing_periods=2, cooldown=weeks(3), min_rows=1_000),
    acceptance=automatic(),
    serving=Serving(max_rows=10_000),
)
