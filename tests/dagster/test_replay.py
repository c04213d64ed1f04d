"""A replay ends where the sensors end, in fewer runs; run again, it goes on."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console

from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import PlatformError
from mlops_assets.products.gates import at_least, latency_p99, onnx_parity
from mlops_assets.products.periods import weeks
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.records.readings import DriftRecord, PerformanceRecord
from mlops_assets.replay.runs import RANGE_END, RANGE_START, Replay
from mlops_assets.replay.telling import tell
from mlops_assets.replay.walk import decide_periods, store_history, train_first_champion
from tests.dagster.builders import FIRST_KEY, NEXT_WEEK, SERVED_WEEK, a_replay, a_small_product

pytestmark = pytest.mark.timeout(900)  # it trains

QUIET = Console(file=io.StringIO())


def history(replay: Replay):
    return replay.product.period.window_before(FIRST_KEY, replay.product.training_window)


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replay]:
    """Eight weeks of history, a champion, and one week decided. Shared and read only."""
    with a_replay(a_small_product(), tmp_path_factory.mktemp("replayed") / "home") as replay:
        live_through(replay)
        yield replay


def live_through(replay: Replay) -> dict[str, int]:
    deployed: dict[str, int] = {}
    store_history(replay, history(replay), QUIET)
    train_first_champion(replay, FIRST_KEY, QUIET)
    decide_periods(replay, [replay.product.period.at(SERVED_WEEK)], deployed, QUIET)
    return deployed


def test_a_replay_reads_and_decides_what_the_sensors_do(replayed: Replay, trained: Replay):
    for record in (DriftRecord, PerformanceRecord, DriftDecision):
        assert replayed.state.records.load(record, SERVED_WEEK) == trained.state.records.load(record, SERVED_WEEK)
    assert replayed.state.ledger.champion().partition == FIRST_KEY


def test_a_decided_period_takes_one_run(replayed: Replay):
    of_week = replayed.instance.get_runs(dg.RunsFilter(tags={"dagster/partition": SERVED_WEEK}))

    causes = sorted(run.tags["mlops/cause"].rpartition(":")[2] for run in of_week)
    # the first champion has the key of the week that it is the first to serve
    assert causes == ["arrival", "first-training"]


def test_the_sensors_find_nothing_left_to_do_after_a_replay(replayed: Replay):
    assert [replayed.tick(sensor) for sensor in ("new_data", "labels", "drift")] == [[], [], []]


def test_a_replay_that_is_run_again_runs_nothing_again(replayed: Replay):
    before = replayed.instance.get_runs_count()

    live_through(replayed)

    assert replayed.instance.get_runs_count() == before


def test_a_period_that_was_over_when_the_first_champion_was_deployed_is_stored_and_not_predicted(tmp_path: Path):
    # the labels of the history are due a week after it, at the end of the week that would be served first
    product = a_small_product(label=replace(flight_delay.label, delay=weeks(1)))
    with a_replay(product, tmp_path / "home") as replay:
        store_history(replay, history(replay), QUIET)
        train_first_champion(replay, FIRST_KEY, QUIET)
        decide_periods(replay, [product.period.at(key) for key in (SERVED_WEEK, NEXT_WEEK)], {}, QUIET)

        assert SERVED_WEEK in replay.state.tables.keys("labels")
        assert replay.state.tables.keys("predictions") == [NEXT_WEEK]
        assert replay.state.records.keys(DriftDecision) == [NEXT_WEEK]


def test_the_picture_is_kept_beside_the_reports(replayed: Replay):
    console = Console(file=io.StringIO(), width=200)

    tell(replayed.state, {}, console)

    address = replayed.state.reports.address("replay", "latest", "png")
    assert f"picture: {address}" in console.file.getvalue()
    assert Path(address).read_bytes().startswith(b"\x89PNG")


def test_what_was_cut_short_goes_on_with_what_is_missing(tmp_path: Path):
    with a_replay(a_small_product(), tmp_path / "home") as replay:
        store_history(replay, history(replay)[:3], QUIET)
        runs = replay.instance.get_runs_count()

        store_history(replay, history(replay)[:4], QUIET)

        fourth = history(replay)[3].key
        assert replay.state.tables.keys("labels")[-1] == fourth
        # its data, and what is looked up online; nothing of the three before
        assert {run.tags["dagster/partition"] for run in replay.instance.get_runs(limit=2)} == {fourth}
        assert replay.instance.get_runs_count() == runs + 2


def test_a_champion_that_its_gates_refuse_ends_the_replay_with_the_gate(tmp_path: Path):
    gates = (at_least("roc_auc", 0.999), onnx_parity(1e-4), latency_p99(milliseconds=2_000))
    with a_replay(a_small_product(gates=gates), tmp_path / "home") as replay:
        store_history(replay, history(replay), QUIET)

        with pytest.raises(PlatformError, match=r"first champion of flight_delay was refused: .*roc_auc"):
            train_first_champion(replay, FIRST_KEY, QUIET)


def test_assets_that_can_build_many_partitions_store_the_history_in_one_run(tmp_path: Path):
    @dg.asset(partitions_def=dg.DailyPartitionsDefinition("2013-01-01"), backfill_policy=dg.BackfillPolicy.single_run())
    def at_once() -> None: ...

    @dg.asset(partitions_def=dg.DailyPartitionsDefinition("2013-01-01"))
    def one_by_one() -> None: ...

    with a_replay(a_small_product(), tmp_path / "home") as replay:
        replay.definitions = dg.Definitions([at_once, one_by_one])

        assert replay.takes_ranges([at_once.key])
        assert not replay.takes_ranges([at_once.key, one_by_one.key])
        result = replay.materialize([at_once.key], None, {RANGE_START: "2013-01-02", RANGE_END: "2013-01-04"})

    partitions = [event.partition for event in result.get_asset_materialization_events()]
    assert sorted(partitions) == ["2013-01-02", "2013-01-03", "2013-01-04"]
