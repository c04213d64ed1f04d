"""Builders: a small product, its own code location, a replay in a folder, a webhook that listens."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import polars as pl

from examples.flights.flight_delay import flight_delay
from examples.flights.nyc_flights import FLIGHTS, WEATHER, NycFlights
from mlops_assets.definitions import build_definitions
from mlops_assets.products.candidates import lightgbm
from mlops_assets.products.gates import at_least, latency_p99, not_worse_than_champion, onnx_parity
from mlops_assets.products.periods import Period, weeks
from mlops_assets.products.policy import Action
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.search import Search, Whole
from mlops_assets.products.source import Table
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.records.readings import DriftReading, DriftRecord, DriftState
from mlops_assets.replay.runs import Replay, expect_success
from mlops_assets.state.workspace import ProductState, Workspace
from resources.asset_parts import key_of
from resources.environments import Environment
from resources.platform import Platform

FIRST_WEEK = "2012-12-31"
# of the small product: eight weeks of history, the first champion trained on them, the first week it served
HISTORY_END, FIRST_KEY = "2013-02-25", "2013-02-25"
SERVED_WEEK, NEXT_WEEK = "2013-02-25", "2013-03-04"


def a_small_product(**changes: Any) -> ModelProduct:
    """`flight_delay` on half the history, with one small candidate and gates that say yes."""
    small: dict[str, Any] = {
        "training_window": weeks(8),
        "search": Search(trials=1),
        "candidates": (replace(lightgbm(learning_rate=0.1, n_estimators=30), space={"num_leaves": Whole(8, 16)}),),
        "gates": (
            at_least("roc_auc", 0.55),
            not_worse_than_champion("roc_auc", margin=0.2),
            onnx_parity(1e-4),
            latency_p99(milliseconds=2_000),
        ),
    }
    return replace(flight_delay, **{**small, **changes})


def an_environment(workspace: Workspace, webhook_url: str = "") -> Environment:
    return Environment(
        workspace=workspace,
        api_url="http://127.0.0.1:8000",
        mlflow_url="http://127.0.0.1:5000",
        mlflow_tracking=workspace.mlflow_store,
        webhook_url=webhook_url,
        sensors=(),
        spark_master="local[1]",
    )


def a_location(product: ModelProduct, environment: Environment) -> dg.Definitions:
    """The code location of this one product."""
    return build_definitions(environment, [product])


@contextmanager
def a_replay(product: ModelProduct, root: Path, webhook_url: str = "", url: str = "") -> Iterator[Replay]:
    """The product in the home `root`, which is made where it does not exist. url: of the state; without it, the home."""
    workspace = Workspace(url or root, root)
    environment = an_environment(workspace, webhook_url)
    with an_instance(workspace.dagster_home) as instance:
        yield Replay(workspace.of(product), instance, a_location(product, environment), Platform.of(environment))


def develop_and_serve(replay: Replay) -> None:
    """Eight weeks of history, a champion, one week served, labelled and decided."""
    product, first = replay.product, replay.product.period.at(FIRST_KEY)
    served = product.period.at(SERVED_WEEK)
    replay.at(first.start)
    results = replay.tick("new_data")
    replay.at(first.start + product.label.delay)
    results += replay.tick("labels")
    results += replay.develop(FIRST_KEY, "first")
    replay.at(served.end)
    results += replay.tick("new_data")
    replay.at(served.end + product.label.delay)
    results += replay.tick("labels")
    for result in results:
        expect_success(result)


def an_instance(folder: Path) -> dg.DagsterInstance:
    """A Dagster instance on disk, with the settings that ship."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dagster.yaml").write_text((files("mlops_assets.servers") / "dagster.yaml").read_text())
    return dg.DagsterInstance.from_config(str(folder))


def materialize(replay: Replay, *names: str, key: str | None, **config: dict[str, Any]) -> dg.ExecuteInProcessResult:
    """One run of these assets of the product; `config` by asset name."""
    product = replay.product
    ops = {f"{product.name}__{name}": {"config": given} for name, given in config.items()}
    return replay.materialize([key_of(product, name) for name in names], key, {}, ops)


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    """Names of the assets that this run materialised."""
    return {event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key}


def failed_checks(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """`asset.check` of every check that failed, with what it said."""
    return {
        f"{item.asset_key.path[-1]}.{item.check_name}": str(item.description)
        for item in result.get_asset_check_evaluations()
        if not item.passed
    }


def newest_metadata(replay: Replay, asset: str) -> dict[str, Any]:
    """Metadata of the asset's newest materialisation, as values."""
    event = replay.instance.get_latest_materialization_event(key_of(replay.product, asset))
    assert event is not None, f"{asset} was never materialised"
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


@dataclass(frozen=True)
class DamagedFlights:
    """The real source, whose main table is `damaged` in one week."""

    damage: Callable[[pl.DataFrame], pl.DataFrame]
    week: str = FIRST_WEEK
    main: Table = FLIGHTS
    side_tables: tuple[Table, ...] = (WEATHER,)

    def read(self, table: str, period: Period) -> pl.LazyFrame:
        rows = NycFlights().read(table, period)
        is_hit = table == FLIGHTS.name and period.key == self.week
        return self.damage(rows.collect()).lazy() if is_hit else rows

    def has_arrived(self, period: Period, now: datetime) -> bool:
        return period.end <= now


def serve_from(state: ProductState, at: datetime) -> None:
    """Version 1 is champion from then on, by the ledger alone: there is no bundle of it."""
    state.ledger.deploy(1, FIRST_KEY, at, reason="version 1", by="test", after=0)


def a_drift_record() -> DriftRecord:
    """Of a period that was predicted, and whose rows said nothing."""
    return DriftRecord(1, DriftReading(DriftState.INCONCLUSIVE, None, None, None, "", (), 0, "too few rows"))


def a_decision(period: str, action: Action, version: int = 1) -> DriftDecision:
    return DriftDecision(
        period=period,
        action=action,
        percent=7.0,
        low=6.0,
        high=8.0,
        features=("distance",),
        reason=f"7.0 % of rows moved in distance (6.0 to 8.0), {action}",
        band=action,
        reading=7.0,
        by_feature=(("distance", 7.0),),
        model_version=version,
    )


def decide(state: ProductState, instance: dg.DagsterInstance, decision: DriftDecision) -> None:
    """Store the decision, and say that its partition was materialised."""
    state.records.save(decision.period, decision)
    instance.report_runless_asset_event(
        dg.AssetMaterialization(key_of(state.product, decision.asset), partition=decision.period)
    )


@dataclass
class Webhook:
    """A listener on loopback and what was posted to it."""

    url: str
    posted: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def a_webhook() -> Iterator[Webhook]:
    posted: list[dict[str, str]] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass  # a test prints nothing

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Webhook(f"http://127.0.0.1:{server.server_port}/hook", posted)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def evaluate(replay: Replay, sensor: str, cursor: str | None) -> Any:
    """One tick of a sensor: what it asks for, its next cursor, and what it says when it asks for nothing."""
    repository = replay.definitions.get_repository_def()
    with dg.build_sensor_context(
        instance=replay.instance,
        cursor=cursor,
        sensor_name=sensor,
        repository_def=repository,
        resources=replay.definitions.resources,
    ) as context:
        return repository.get_sensor_def(sensor).evaluate_tick(context)


def launch(instance: dg.DagsterInstance, request: dg.RunRequest, status: dg.DagsterRunStatus) -> dg.DagsterRun:
    """What the daemon makes of a request: a run with its tags, which got this far."""
    return instance.add_run(
        dg.DagsterRun(job_name="__ASSET_JOB", run_id=str(uuid4()), status=status, tags=request.tags)
    )


def store(state: ProductState, table: str, *weeks: str) -> None:
    """Partitions of a table with one row in them."""
    for week in weeks:
        state.tables.write(table, week, pl.DataFrame({"row": [1]}))


def file_of(state: ProductState, table: str, key: str) -> Path:
    """Where a stored partition lies, to be damaged or removed."""
    (address,) = state.tables.addresses(table, [key])
    return Path(address)
