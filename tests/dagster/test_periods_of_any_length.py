"""Products of hours and of months are stored, trained and watched through Dagster's graph, as those of days and weeks are."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import narwhals as nw
import numpy as np
import polars as pl
import pytest

from mlops_assets.products.gates import at_least
from mlops_assets.products.periods import Periods, days, hourly, hours, monthly, months
from mlops_assets.products.policy import DriftPolicy
from mlops_assets.products.product import Label, ModelProduct
from mlops_assets.products.search import Search
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.records.readings import DriftRecord, PerformanceRecord, PerformanceState
from mlops_assets.replay.runs import Replay, expect_success
from resources.asset_parts import key_of
from sensors.selections import arrival, development, labelled
from tests.dagster.builders import a_replay, failed_checks, materialized
from tests.unit.training.builders import SCHEMA, InMemory, a_product

START = datetime(2020, 1, 1, tzinfo=UTC)


def made_up_rides(until: datetime, every: timedelta) -> pl.DataFrame:
    """A ride every so often; far ones from JFK let one wait for more than five minutes, more or less."""
    draw = np.random.default_rng(3)
    count = (until - START) // every
    asked_at = pl.Series([START + number * every for number in range(count)], dtype=pl.Datetime("us", "UTC"))
    origin, distance = draw.choice(("EWR", "JFK", "LGA"), count), draw.gamma(2, 3, count)
    waited = 5 + (distance - 6) + 4 * (origin == "JFK") + draw.normal(0, 2, count)
    return pl.DataFrame(
        {
            "ride": range(count),
            "origin": origin.tolist(),
            "asked_at": asked_at,
            "distance": distance,
            "waited": waited,
            "told_at": asked_at + timedelta(minutes=30),
        },
        schema=SCHEMA,
    )


def a_product_of(period: Periods, rides: pl.DataFrame, **changes: Any) -> ModelProduct:
    usual: dict[str, Any] = {
        "source": InMemory(rides),
        "period": period,
        "label": Label("late", nw.col("waited") > 5, delay=hours(2)),
        "gates": (at_least("roc_auc", 0.6),),
        "search": Search(trials=1),
    }
    return a_product(**{**usual, **changes})


def run_range(replay: Replay, names: Sequence[str], first: str, last: str) -> dg.ExecuteInProcessResult:
    """What a back-fill of these partitions launches: one run."""
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return replay.materialize([key_of(replay.product, name) for name in names], None, tags)


def history_and_champion(replay: Replay, key: str) -> None:
    """Every period before `key` in one run, and a version that was trained and tested on them, which serves from then on.

    It is not staged: the servers of the staging know the products of the catalog only."""
    product = replay.product
    before = product.period.shift(product.period.at(key), -1).key
    replay.at(product.period.at(key).start + product.label.delay)
    expect_success(
        run_range(replay, ("raw", "features", "online_features", "labels"), product.period.first.key, before)
    )
    searched = {f"{product.name}__experiment": {"config": {"as_of": key}}}
    expect_success(replay.materialize(development(product), None, {}, searched))
    trained = [key_of(product, name) for name in ("training_set", "model", "test_report")]
    expect_success(replay.materialize(trained, key, {}))
    replay.state.ledger.deploy(1, key, product.period.at(key).start, reason="the first", by="test", after=0)


def watch(replay: Replay, key: str) -> tuple[DriftRecord, PerformanceRecord, DriftDecision]:
    """The period arrives and its labels come, each in the run that a sensor would ask for."""
    product, state = replay.product, replay.state
    period = product.period.at(key)
    replay.at(period.end)
    expect_success(replay.materialize(arrival(product), key, {}))
    replay.at(period.end + product.label.delay)
    expect_success(replay.materialize(labelled(product), key, {}))
    return (
        state.records.load(DriftRecord, key),
        state.records.load(PerformanceRecord, key),
        state.records.load(DriftDecision, key),
    )


@pytest.mark.timeout(900)  # 120 hours of rows are stored, checked and read
def test_a_product_of_hours_is_trained_and_watched(tmp_path: Path):
    # three days to train on, of which one is unseen; two days are served
    first, read = "2020-01-04T0000", "2020-01-06T0000"
    product = a_product_of(
        hourly("2020-01-01"),
        made_up_rides(datetime(2020, 1, 7, tzinfo=UTC), every=timedelta(minutes=10)),
        training_window=days(3),
        test_window=days(1),
        drift=DriftPolicy(min_rows=100, min_blocks=2, pooled_periods=2),
    )
    with a_replay(product, tmp_path / "home") as replay:
        history_and_champion(replay, first)
        replay.at(product.period.at(read).end + product.label.delay)
        before = product.period.shift(product.period.at(read), -1).key
        expect_success(run_range(replay, ("raw", "features", "predictions", "labels"), first, before))

        drift, performance, decision = watch(replay, read)

    # a policy counts days: two of them are pooled, 48 hours of 6 rides
    assert performance.reading.state is PerformanceState.CONCLUSIVE
    assert (performance.reading.periods, performance.reading.labelled) == (2, 48 * 6)
    # a monitoring window is a week of hours, of which the first belong to the rows that the champion was fitted on
    assert drift.reading.percent is None
    assert "was fitted on rows of this period" in drift.reading.reason
    assert decision.period == read
    assert decision.model_version == 1


def test_a_product_of_months_is_trained_and_watched(tmp_path: Path):
    first, read = "2021-02-01", "2021-02-01"
    product = a_product_of(
        monthly("2020-01-01"),
        made_up_rides(datetime(2021, 3, 1, tzinfo=UTC), every=timedelta(minutes=30)),
        training_window=months(12),
        test_window=months(2),
        drift=DriftPolicy(min_rows=150),
    )
    with a_replay(product, tmp_path / "home") as replay:
        history_and_champion(replay, first)
        trained_on = replay.state.tables.read("training_set", [first])

        drift, performance, decision = watch(replay, read)

    # the twelve months before February 2021; the last two of them are the test
    assert sorted(set(trained_on["period"])) == [f"2020-{month:02}-01" for month in range(2, 13)] + ["2021-01-01"]
    assert trained_on.filter(pl.col("split") == "test")["asked_at"].min() == datetime(2020, 12, 1, tzinfo=UTC)
    assert drift.reading.rows == 28 * 48  # February 2021
    assert drift.reading.percent is not None
    assert drift.reading.percent < product.drift.watch
    assert performance.reading.state is PerformanceState.CONCLUSIVE
    assert decision.model_version == 1
    assert decision.action.value in ("none", "watch")


def test_a_range_of_periods_is_one_run_and_only_these_periods(tmp_path: Path):
    product = a_product_of(
        hourly("2020-01-01"), made_up_rides(datetime(2020, 1, 2, tzinfo=UTC), every=timedelta(minutes=10))
    )
    with a_replay(product, tmp_path / "home") as replay:
        replay.at(datetime(2020, 1, 3, tzinfo=UTC))

        result = run_range(replay, ("raw", "features", "labels"), "2020-01-01T0100", "2020-01-01T0300")

        expected = ["2020-01-01T0100", "2020-01-01T0200", "2020-01-01T0300"]
        assert {name: replay.state.tables.keys(name) for name in ("raw", "features", "labels")} == dict.fromkeys(
            ("raw", "features", "labels"), expected
        )
        events = [event for event in result.get_asset_materialization_events() if event.asset_key.path[-1] == "raw"]
        assert [event.partition for event in events] == expected
        rows = [event.materialization.metadata["dagster/row_count"].value for event in events]
        assert rows == [6, 6, 6]
        assert len(list(replay.instance.get_runs())) == 1


def test_of_a_range_the_periods_that_can_be_stored_are_and_the_run_says_which_cannot(tmp_path: Path):
    rides = made_up_rides(datetime(2020, 1, 2, tzinfo=UTC), every=timedelta(minutes=10))
    is_wrong = pl.col("asked_at") == datetime(2020, 1, 1, 2, 30, tzinfo=UTC)
    wrong = rides.with_columns(
        told_at=pl.when(is_wrong).then(pl.col("asked_at").dt.offset_by("-1h")).otherwise("told_at")
    )
    with a_replay(a_product_of(hourly("2020-01-01"), wrong), tmp_path / "home") as replay:
        replay.at(datetime(2020, 1, 1, 4, 30, tzinfo=UTC))

        result = run_range(replay, ("raw", "features"), "2020-01-01T0100", "2020-01-01T0400")

        assert not result.success
        assert replay.state.tables.keys("raw") == ["2020-01-01T0100", "2020-01-01T0300"]
        known = replay.instance.get_materialized_partitions(key_of(replay.product, "raw"))
        assert known == {"2020-01-01T0100", "2020-01-01T0300"}
        assert materialized(result) == {"raw"}
        assert failed_checks(result) == {"raw.contract": "rides: told_at: 1 rows break 'is not before asked_at'"}
        failure = next(event for event in result.all_events if event.is_step_failure).step_failure_data.error
        while failure.cause is not None:
            failure = failure.cause
        assert failure.message.strip() == (
            "mlops_assets.errors.ContractBroken: rides: told_at: 1 rows break 'is not before asked_at' "
            "(2020-01-01T0400 failed as well)"
        )
