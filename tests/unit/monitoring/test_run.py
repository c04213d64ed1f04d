"""What a reading of the champion is made of."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl
import pytest

from mlops_assets.errors import NoChampion, PartitionMissing
from mlops_assets.monitoring.drift import DriftState
from mlops_assets.monitoring.load import hardly_used, scored_with_labels
from mlops_assets.monitoring.run import read_drift
from mlops_assets.products.flight_delay import flight_delay
from mlops_assets.stores.deployment_ledger import Deployment
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


def a_champion(partition: str, version: int = 1) -> Deployment:
    at = flight_delay.period.at("2013-01-07").start
    return Deployment("flight_delay", version, partition, at, "no bundle is opened", "", "", "")


def test_a_period_that_the_champion_was_fitted_on_is_inconclusive_and_says_so(tmp_path: Path):
    home = Home(tmp_path)
    home.ledger.append(a_champion("2013-07-01"))
    home.offline.write("flight_delay/features", "2013-06-10", pl.DataFrame({"carrier": ["UA"]}))

    record = read_drift(flight_delay, home, "2013-06-10")

    assert (record.reading.state, record.reading.percent) == (DriftState.INCONCLUSIVE, None)
    assert record.reading.reason.startswith("version 1 was fitted on rows of this period (its partition is 2013-07-01)")


def test_a_period_without_features_or_champion_is_an_error_that_names_it(tmp_path: Path):
    home = Home(tmp_path)

    with pytest.raises(NoChampion):
        read_drift(flight_delay, home, "2013-06-10")

    home.ledger.append(a_champion("2013-04-22"))
    with pytest.raises(PartitionMissing, match="flight_delay/features has no stored partition for 2013-06-10"):
        read_drift(flight_delay, home, "2013-06-10")


def test_every_input_of_a_champion_without_a_test_report_of_its_own_acts(tmp_path: Path):
    assert hardly_used(flight_delay, Home(tmp_path), a_champion("2013-04-22")) == []
