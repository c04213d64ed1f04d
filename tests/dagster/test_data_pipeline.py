"""The data pipeline in Dagster: quarantine, late rows, and checks, on a real week of flights."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from examples.flights.nyc_flights import FLIGHTS
from mlops_assets.data.ingest import quarantined
from mlops_assets.replay.runs import RANGE_END, RANGE_START, Replay, failure_of
from mlops_assets.state.label_log import ReportedLabel
from resources.asset_parts import key_of
from tests.dagster.builders import (
    FIRST_WEEK,
    DamagedFlights,
    a_replay,
    a_small_product,
    materialize,
    newest_metadata,
)
from tests.dagster.staleness import is_stale
from tests.unit.state.logged_rows import answers

DATA = ("raw", "weather", "features")
TOLERANT = replace(FLIGHTS, max_quarantined_share=0.01)


def three_at_zero_miles(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(distance=pl.when(pl.int_range(pl.len()) < 3).then(0).otherwise("distance"))


def ten_are_late(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.head(-10)


def as_it_is(rows: pl.DataFrame) -> pl.DataFrame:
    return rows


def checks_of(result: dg.ExecuteInProcessResult) -> dict[str, tuple[bool, str]]:
    return {
        f"{item.asset_key.path[-1]}.{item.check_name}": (item.passed, str(item.description))
        for item in result.get_asset_check_evaluations()
    }


def version_of(replay: Replay, asset: str) -> str:
    event = replay.instance.get_latest_materialization_event(key_of(replay.product, asset))
    assert event is not None
    assert event.asset_materialization is not None
    return str((event.asset_materialization.tags or {})["dagster/data_version"])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def a_week(home: Path, source: DamagedFlights, *names: str) -> tuple[Replay, dict[str, tuple[bool, str]]]:
    """One run of these assets with this source, in the same home."""
    with a_replay(a_small_product(source=source), home) as replay:
        replay.at(replay.product.period.at(FIRST_WEEK).end)
        result = materialize(replay, *names, key=FIRST_WEEK)
        assert result.success
        return replay, checks_of(result)


def test_bad_rows_up_to_the_share_are_quarantined(home: Path):
    replay, checks = a_week(home, DamagedFlights(three_at_zero_miles, main=TOLERANT), *DATA)

    passed, said = checks["raw.contract"]
    assert passed
    assert "3 of 5,025 rows (0.06%, limit 1.00%) are quarantined: distance: 3 rows break 'is at least 1 mi'" in said
    apart = quarantined(replay.state.tables, "raw", FIRST_WEEK)
    assert apart["reason"].to_list() == ["distance: is at least 1 mi"] * 3
    assert checks["features.online_path_agrees"][0]
    assert checks["features.no_leak_from_the_future"][0]
    assert replay.state.tables.contents("features", FIRST_WEEK).rows == 5_022


def test_late_rows_are_another_version_and_what_lies_downstream_is_stale(home: Path):
    source = DamagedFlights(ten_are_late)
    a_week(home, source, *DATA)
    with a_replay(a_small_product(source=source), home) as replay:
        replay.at(replay.product.period.at(FIRST_WEEK).end)
        first = version_of(replay, "raw")

        materialize(replay, "weather", "raw", key=FIRST_WEEK)
        again, stale_again = version_of(replay, "raw"), is_stale(replay, "features")

    with a_replay(a_small_product(source=DamagedFlights(as_it_is)), home) as replay:
        replay.at(replay.product.period.at(FIRST_WEEK).end)
        materialize(replay, "raw", key=FIRST_WEEK)
        late, stale_late = version_of(replay, "raw"), is_stale(replay, "features")
        materialize(replay, "features", key=FIRST_WEEK)
        stale_after = is_stale(replay, "features")

    assert (again, stale_again) == (first, False)
    assert late != first
    assert (stale_late, stale_after) == (True, False)


def test_a_told_label_meets_what_was_asked_up_to_a_week_before_its_event(home: Path):
    with a_replay(a_small_product(), home) as replay:
        product, state = replay.product, replay.state
        week = product.period.at(FIRST_WEEK)
        replay.at(week.end + product.label.delay)
        materialize(replay, "raw", key=FIRST_WEEK)
        cancelled = state.tables.read("raw", [FIRST_WEEK]).filter(pl.col("arr_delay").is_null())
        first, *_, last = cancelled.sort("scheduled_departure").select(product.entity_key).to_dicts()
        log, labels = state.predictions, state.labels
        log.append(product, answers("in time", day=week.start - timedelta(days=7), **last))
        log.append(product, answers("too early", day=week.start - timedelta(days=7, minutes=1), **first))
        log.close()
        told = [ReportedLabel(name, "true", None, None, state.clock.now()) for name in ("in time", "too early")]
        labels.append(product.name, told)
        labels.close()

        materialize(replay, "labels", key=FIRST_WEEK)

        stored = state.tables.read("labels", [FIRST_WEEK]).join(cancelled, on=list(product.entity_key))
        assert newest_metadata(replay, "labels")["labels reported to the API"] == 1
        assert stored.drop_nulls("label").select("flight", "label").rows() == [(last["flight"], 1.0)]


def test_a_range_of_features_goes_on_past_the_stored_raw_rows_and_says_what_is_not_built(tmp_path: Path):
    product = a_small_product()
    behind = product.period.shift(product.period.at(FIRST_WEEK), 1).key
    with a_replay(product, tmp_path / "home") as replay:
        materialize(replay, "raw", "weather", key=FIRST_WEEK)
        selection = [key_of(product, "features"), key_of(product, "online_features")]

        result = replay.materialize(selection, None, {RANGE_START: FIRST_WEEK, RANGE_END: behind})

        assert result.success
        assert replay.state.tables.keys("features") == [FIRST_WEEK]
        assert newest_metadata(replay, "features") == {
            "dagster/row_count": 0,
            "not built": "its raw rows are not stored yet",
            "data version": "its raw rows are not stored yet",
        }
        assert newest_metadata(replay, "online_features")["keys"] > 0

        assert not is_stale(replay, "features", behind)
        materialize(replay, "raw", "weather", key=behind)
        assert is_stale(replay, "features", behind)


def test_features_of_a_period_without_raw_rows_fail_where_nothing_else_is_asked_for(tmp_path: Path):
    with a_replay(a_small_product(), tmp_path / "home") as replay:
        assert f"raw has no stored partition for {FIRST_WEEK}" in failure_of(
            materialize(replay, "features", key=FIRST_WEEK)
        )


def test_a_range_of_features_over_a_hole_keeps_those_before_the_hole(tmp_path: Path):
    product = a_small_product()
    hole, after = (product.period.shift(product.period.at(FIRST_WEEK), count).key for count in (1, 2))
    with a_replay(product, tmp_path / "home") as replay:
        for key in (FIRST_WEEK, after):
            materialize(replay, "raw", "weather", key=key)

        result = replay.materialize([key_of(product, "features")], None, {RANGE_START: FIRST_WEEK, RANGE_END: after})

        assert f"raw has no stored partition for {hole}" in failure_of(result)
        shown = replay.instance.get_materialized_partitions(key_of(product, "features"))
        assert list(shown) == replay.state.tables.keys("features") == [FIRST_WEEK]
