"""What a reading of the champion is made of."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl

from mlops_assets.monitoring.run import scored_with_labels
from mlops_assets.products.flight_delay import flight_delay
from mlops_assets.stores.home import Home
from tests.tiny_bundle import tiny_manifest

NOON = datetime(2013, 4, 22, 12, tzinfo=UTC)


def test_what_another_version_predicted_is_not_charged_to_the_champion(tmp_path: Path):
    home, champion = Home(tmp_path), msgspec.structs.replace(tiny_manifest(flight_delay), version=2)
    flights = pl.DataFrame(
        {
            "carrier": ["UA"] * 3,
            "flight": [1, 2, 3],
            "origin": ["EWR"] * 3,
            "scheduled_departure": [NOON + timedelta(days=day) for day in range(3)],
        }
    )
    predictions = flights.with_columns(score=pl.Series([0.1, 0.2, 0.3]), model_version=pl.Series([1, 2, 2]))
    home.offline.write("flight_delay/predictions", "2013-04-22", predictions)
    # the third flight's label never came
    home.offline.write("flight_delay/labels", "2013-04-22", flights.with_columns(label=pl.Series([1.0, 1.0, None])))

    scored = scored_with_labels(flight_delay, home, "2013-04-22", champion)

    assert scored.select("score", "label").rows() == [(0.2, 1.0), (0.3, None)]
