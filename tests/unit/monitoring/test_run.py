"""What a reading of the champion is made of."""

from datetime import UTC, datetime, timedelta

import msgspec
import polars as pl
import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import NoChampion, PartitionMissing
from mlops_assets.monitoring.load import scored_with_labels, unused_inputs
from mlops_assets.monitoring.run import read_drift
from mlops_assets.records.readings import DriftState
from mlops_assets.state.ledger import Deployment
from mlops_assets.state.workspace import ProductState, Workspace
from tests.tiny_bundle import tiny_manifest, write_tiny_bundle

NOON = datetime(2013, 4, 22, 12, tzinfo=UTC)


@pytest.fixture
def state(workspace: Workspace) -> ProductState:
    return workspace.of(flight_delay)


def test_what_another_version_predicted_is_not_charged_to_the_champion(state):
    champion = msgspec.structs.replace(tiny_manifest(flight_delay), version=2)
    flights = pl.DataFrame(
        {
            "carrier": ["UA"] * 3,
            "flight": [1, 2, 3],
            "origin": ["EWR"] * 3,
            "scheduled_departure": [NOON + timedelta(days=day) for day in range(3)],
        }
    )
    predictions = flights.with_columns(score=pl.Series([0.1, 0.2, 0.3]), model_version=pl.Series([1, 2, 2]))
    state.tables.write("predictions", "2013-04-22", predictions)
    # the third flight's label never came
    state.tables.write("labels", "2013-04-22", flights.with_columns(label=pl.Series([1.0, 1.0, None])))

    scored = scored_with_labels(state, "2013-04-22", champion)

    assert scored.select("score", "label").rows() == [(0.2, 1.0), (0.3, None)]


def deployed(state: ProductState, partition: str) -> Deployment:
    """Version 1, as the first champion."""
    at = flight_delay.period.at("2013-01-07").start
    return state.ledger.deploy(1, partition, at, reason="", by="", after=0)


def test_a_period_that_the_champion_was_fitted_on_is_inconclusive_and_says_so(state):
    write_tiny_bundle(state)
    deployed(state, "2013-07-01")
    state.tables.write("features", "2013-06-10", pl.DataFrame({"carrier": ["UA"]}))

    record = read_drift(state, "2013-06-10")

    assert (record.reading.state, record.reading.percent) == (DriftState.INCONCLUSIVE, None)
    assert record.reading.reason.startswith("version 1 was fitted on rows of this period (its partition is 2013-07-01)")


def test_a_period_without_features_or_champion_is_an_error_that_names_it(state):
    with pytest.raises(NoChampion):
        read_drift(state, "2013-06-10")

    deployed(state, "2013-04-22")
    with pytest.raises(PartitionMissing, match="flight_delay/features has no stored partition for 2013-06-10"):
        read_drift(state, "2013-06-10")


def test_every_input_of_a_champion_without_a_test_report_of_its_own_acts(state):
    assert unused_inputs(state, deployed(state, "2013-04-22")) == []
