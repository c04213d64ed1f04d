"""Product: how long will a flight out of New York be in the air?"""

import narwhals as nw

from examples.flights.flight_features import aircraft, schedule, weather_at_departure
from examples.flights.nyc_flights import NycFlights
from mlops_assets.products import candidates, gates
from mlops_assets.products.periods import days, weekly, weeks
from mlops_assets.products.policy import DriftPolicy, automatic
from mlops_assets.products.product import Label, ModelProduct
from mlops_assets.products.search import Search
from mlops_assets.products.task import Task

air_time = ModelProduct(
    name="air_time",
    owner="team:flights",
    description="How many minutes will a flight out of New York be in the air?",
    source=NycFlights(),
    entity_key=("carrier", "flight", "origin", "scheduled_departure"),
    event_timestamp="scheduled_departure",
    created_timestamp="reported_at",
    period=weekly(start="2012-12-31", end="2013-12-30"),
    training_window=weeks(16),
    test_window=weeks(2),
    label=Label("minutes_in_air", nw.col("air_time"), delay=days(2), unit="min"),
    task=Task.REGRESSION,
    features=(schedule, aircraft, weather_at_departure),
    request=("carrier", "flight", "origin", "dest", "scheduled_departure", "distance", "aircraft_year", "seats"),
    candidates=(
        candidates.dummy(),
        candidates.linear(),
        candidates.forest(),
        candidates.lightgbm(learning_rate=0.1, n_estimators=200),
    ),
    search=Search(trials=6, seconds=20),
    metric="mae",
    gates=(
        gates.at_most("mae", 15),
        gates.at_least("r2", 0.9),
        gates.not_worse_than_champion("mae", margin=0.5),
        gates.onnx_parity(1e-5),
        gates.leakage_probe(at_most=0.99),  # the distance alone tells most of the time in the air, and is no leak
        gates.bundle_size(megabytes=20),
        gates.latency_p99(milliseconds=50),
    ),
    drift=DriftPolicy(cooldown=weeks(4)),
    acceptance=automatic(),
)
