"""The sensors once through Dagster's real daemon, its code server and its run processes."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import psutil
import pytest

from mlops_assets.products.catalog import product_named
from mlops_assets.products.policy import Action
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.records.readings import DriftRecord
from mlops_assets.records.training import Recipe
from mlops_assets.replay.runs import Replay
from mlops_assets.servers.processes import Servers
from mlops_assets.state.workspace import Workspace
from sensors.runs import CAUSE
from tests.dagster.builders import NEXT_WEEK, SERVED_WEEK, Webhook, a_decision, an_instance, decide
from tests.servers.processes import free_port

ROOT = Path(__file__).parents[2]
SENSORS = {"flight_delay_new_data", "flight_delay_labels", "flight_delay_drift", "failures", "lost_runs"}
LOCATION = ["-w", str(ROOT / "workspace.yaml")]
PATIENCE_SECONDS = 300.0  # a machine may be busy
BACK_FILL = (
    "mutation($chosen: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $chosen) { __typename } }"
)
STATUS = "{ partitionBackfillsOrError { ... on PartitionBackfills { results { status numPartitions } } } }"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_daemon_carries_out_what_arrives_once_and_tells_of_what_fails(
    trained: Replay, tmp_path: Path, webhook: Webhook
):
    # the shipped product takes the small one's home over: its features are the same
    product = product_named("flight_delay")
    shutil.copytree(trained.state.workspace.home, tmp_path / "home", ignore=shutil.ignore_patterns("dagster"))
    workspace = Workspace(tmp_path / "home")
    state, clock = workspace.of(product), workspace.replay_clock
    week = product.period.at(NEXT_WEEK)
    ours = set(psutil.Process().children(recursive=True))

    with an_instance(workspace.dagster_home) as instance:
        with a_daemon(workspace, webhook.url):
            eventually("every sensor ticked", lambda: ticked(instance, since=0.0) >= SENSORS)
            assert instance.get_runs_count() == 0

            clock.set(week.end)
            assert outcome(instance, f"flight_delay:{NEXT_WEEK}:arrival") == "SUCCESS"
            assert state.records.has(DriftRecord, NEXT_WEEK)
            assert not state.tables.has("labels", NEXT_WEEK)

            clock.set(week.end + product.label.delay)
            assert outcome(instance, f"flight_delay:{NEXT_WEEK}:labels") == "SUCCESS"
            assert state.records.has(DriftDecision, NEXT_WEEK)

            # nothing a sensor mends by itself
            for version in state.records.keys(Recipe):
                state.records.remove(Recipe, version)
            decide(state, instance, a_decision(SERVED_WEEK, Action.RETRAIN))
            assert outcome(instance, f"flight_delay:{SERVED_WEEK}:retrain") == "FAILURE"
            eventually("the failure was posted", lambda: len(webhook.posted) == 1)
        (posted,) = webhook.posted
        assert posted["title"] == f"run of flight_delay:{SERVED_WEEK}:retrain failed"
        assert posted["text"].startswith(
            "flight_delay__model: DataError: no recipe of flight_delay has left development. "
        )
        assert state.ledger.champion().version == 1

        restarted = time.time()
        with a_daemon(workspace, webhook.url):
            eventually("every sensor ticked again", lambda: ticked(instance, since=restarted) >= SENSORS)
            assert instance.get_runs_count() == 3
        assert len(webhook.posted) == 1
    assert set(psutil.Process().children(recursive=True)) <= ours


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_back_fill_of_the_ui_over_raw_and_features_is_green_at_the_newest_stored_week(
    trained: Replay, tmp_path: Path
):
    shutil.copytree(trained.state.workspace.home, tmp_path / "home", ignore=shutil.ignore_patterns("dagster"))
    workspace = Workspace(tmp_path / "home")
    stored = workspace.of(product_named("flight_delay")).tables.keys("raw")[-3:]
    assert stored[-1] == SERVED_WEEK
    assets = ["raw", "weather", "labels", "features", "online_features"]
    chosen = {"assetSelection": [{"path": ["flight_delay", name]} for name in assets], "partitionNames": stored}

    with an_instance(workspace.dagster_home) as instance, a_daemon(workspace) as servers:
        port = free_port()
        webserver = servers.start(
            "webserver", ["dagster_webserver", "--port", str(port), *LOCATION], port, signal.SIGTERM
        )
        servers.wait_for(webserver, "/server_info", PATIENCE_SECONDS, print)

        def answered(query: str, **variables: Any) -> Any:
            body = {"query": query, "variables": variables}
            return httpx.post(f"{webserver.address}/graphql", json=body, timeout=60).json()["data"]

        launched = answered(BACK_FILL, chosen=chosen)
        assert launched == {"launchPartitionBackfill": {"__typename": "LaunchBackfillSuccess"}}
        eventually(
            "the back-fill ended",
            lambda: answered(STATUS)["partitionBackfillsOrError"]["results"][0]["status"].startswith("COMPLETED"),
        )

        (back_fill,) = answered(STATUS)["partitionBackfillsOrError"]["results"]
        assert back_fill["status"] == "COMPLETED_SUCCESS"
        assert instance.get_runs_count() == 2
        for asset in assets:
            assert set(stored) <= instance.get_materialized_partitions(dg.AssetKey(["flight_delay", asset]))


@contextmanager
def a_daemon(workspace: Workspace, webhook_url: str = "") -> Iterator[Servers]:
    """`dagster-daemon run`, which starts the code server; everything it started ends with the block."""
    environment = {
        "DAGSTER_HOME": str(workspace.dagster_home),
        "MLOPS_HOME": str(workspace.home),
        "MLOPS_SENSORS": "flight_delay",
        "MLOPS_WEBHOOK_URL": webhook_url,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    log = workspace.home / "logs" / "daemon.log"
    with Servers(log.parent, environment) as servers:
        servers.start("daemon", ["dagster._daemon", "run", *LOCATION], 0, signal.SIGTERM)
        try:
            yield servers
        except BaseException:
            sys.stderr.write(log.read_text()[-5_000:])  # pytest shows it with the failure
            raise


def ticked(instance: dg.DagsterInstance, since: float) -> set[str]:
    """Names of the sensors that were evaluated after `since`."""
    last = {
        state.instigator_name: getattr(state.instigator_data, "last_tick_timestamp", None)
        for state in instance.all_instigator_state()
    }
    return {name for name, at in last.items() if at is not None and at > since}


def outcome(instance: dg.DagsterInstance, cause: str) -> str:
    """How the one run for this cause ended."""

    def ended() -> bool:
        runs = instance.get_runs(dg.RunsFilter(tags={CAUSE: cause}))
        return bool(runs) and all(run.is_finished for run in runs)

    eventually(f"the run for {cause} ended", ended)
    (run,) = instance.get_runs(dg.RunsFilter(tags={CAUSE: cause}))
    return run.status.value


def eventually(what: str, claim: Callable[[], bool]) -> None:
    """Wait until the claim is true: other processes have their own pace."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not claim():
        assert time.monotonic() < deadline, f"it never came true that {what}"
        time.sleep(0.2)
