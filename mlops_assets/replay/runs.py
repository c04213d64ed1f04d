"""Replays history: the replay clock, the shipped sensors, and their runs in this process."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg

from mlops_assets.errors import PlatformError
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.records.readings import DriftRecord, PerformanceRecord, StalenessRecord
from mlops_assets.records.testing import TestReport
from mlops_assets.replay.open_databases import kept_open
from mlops_assets.state.clock import ReplayClock
from mlops_assets.state.workspace import ProductState
from resources.asset_parts import key_of
from resources.platform import Platform
from sensors.new_data import ARRIVAL
from sensors.runs import CAUSE, request
from sensors.selections import arrival, development, first_arrival, labelled, only_labels, retraining

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
WITHOUT_REPORTS = {"config": {"render_report": False}}
HAVE_REPORTS = tuple(
    record.asset for record in (DriftRecord, PerformanceRecord, StalenessRecord, DriftDecision, TestReport)
)
# tags with which Dagster marks a run over several partitions
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
PERIODS_OF_A_RUN = 50  # so that little is repeated after an interruption


@dataclass
class Replay:
    """Evaluates a product's sensors at chosen times, and runs what they request, in order and in this process."""

    state: ProductState
    instance: dg.DagsterInstance
    definitions: dg.Definitions
    platform: Platform
    event_log_folder: Path | None = None  # where Dagster keeps one SQLite database per run; None: in another database
    cursors: dict[str, str | None] = field(default_factory=dict)
    renders_reports: bool = False  # reports and plots take a third of the time of a period

    @property
    def product(self) -> ModelProduct:
        return self.state.product

    @property
    def clock(self) -> ReplayClock:
        return self.state.workspace.replay_clock

    def at(self, moment: datetime) -> None:
        self.clock.set(moment)

    def tick(self, sensor_name: str) -> list[dg.ExecuteInProcessResult]:
        """Evaluate one sensor until it requests nothing more, and run what it requests."""
        name = f"{self.product.name}_{sensor_name}"
        repository = self.definitions.get_repository_def()
        sensor = repository.get_sensor_def(name)
        results: list[dg.ExecuteInProcessResult] = []
        while True:
            with dg.build_sensor_context(
                instance=self.instance,
                cursor=self.cursors.get(name),
                sensor_name=name,
                repository_def=repository,
                resources={"platform": self.platform},
            ) as context:
                tick = sensor.evaluate_tick(context)
            is_at_end = self.cursors.get(name) == tick.cursor  # a sensor reads a limited number of events in one tick
            self.cursors[name] = tick.cursor
            if not tick.run_requests and is_at_end:
                return results
            results += [self.run(run_request) for run_request in tick.run_requests or ()]

    def run(self, run_request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        selection, ops = run_request.asset_selection or [], run_request.run_config.get("ops")
        return self.materialize(selection, run_request.partition_key, run_request.tags, ops)

    def materialize(
        self,
        selection: Sequence[dg.AssetKey],
        partition: str | None,
        tags: Mapping[str, str],
        ops: Mapping[str, Any] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Materialise assets in one run. A failed run is returned, not raised.

        Raises KeyboardInterrupt, which Dagster turns into a failure of the step."""
        without_report = [key for key in selection if key.path[-1] in HAVE_REPORTS and not self.renders_reports]
        quick = {"__".join(key.path): WITHOUT_REPORTS for key in without_report}
        run_id = str(uuid4())
        with kept_open([] if self.event_log_folder is None else [self.event_log_folder / f"{run_id}.db"]):
            result = self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
                instance=self.instance,
                asset_selection=list(selection),
                partition_key=partition,
                tags=dict(tags),
                run_config={**QUIET, "ops": {**quick, **(ops or {})}},
                raise_on_error=False,
                run_id=run_id,
            )
        if not result.success and dg.DagsterExecutionInterruptedError.__name__ in failure_of(result):
            raise KeyboardInterrupt
        return result

    def store_history(self, keys: Sequence[str]) -> Iterator[tuple[int, dg.ExecuteInProcessResult]]:
        """Store periods without predictions, with their labels: many in one run where the assets support it, else one by one.

        Yields the number of periods of a run, and its result. Before there is a champion no request reads the online store, so
        `online_features` is materialised only for the newest period."""
        product = self.product
        selection = [*first_arrival(product), *only_labels(product)]
        online = key_of(product, "online_features")
        selection.remove(online)
        size = PERIODS_OF_A_RUN if self.takes_ranges(selection) else 1
        tags = {"product": product.name}
        for start in range(0, len(keys), size):
            batch = keys[start : start + size]
            yield len(batch), self.materialize_several(selection, batch, tags)
        if keys:
            yield 0, self.materialize([online], keys[-1], tags)

    def materialize_several(
        self,
        selection: Sequence[dg.AssetKey],
        keys: Sequence[str],
        tags: Mapping[str, str],
        ops: Mapping[str, Any] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """One run over adjacent partitions, oldest first; without keys, for assets without partitions."""
        if len(keys) < 2:
            return self.materialize(selection, keys[0] if keys else None, tags, ops)
        return self.materialize(selection, None, {**tags, RANGE_START: keys[0], RANGE_END: keys[-1]}, ops)

    def partitioned_assets(self) -> dict[str, bool]:
        """Every asset of the product by name, and whether it has partitions."""
        return {
            key.path[-1]: self.definitions.resolve_assets_def(key).partitions_def is not None
            for key in self.definitions.resolve_asset_graph().get_all_asset_keys()
            if key.path[0] == self.product.name
        }

    def key(self, asset: str) -> dg.AssetKey:
        return key_of(self.product, asset)

    def takes_ranges(self, selection: Sequence[dg.AssetKey]) -> bool:
        """Whether each of these assets can build several partitions in one run."""
        policies = [self.definitions.resolve_assets_def(key).backfill_policy for key in selection]
        return all(policy is not None and policy.max_partitions_per_run is None for policy in policies)

    def arrive_and_label(self, key: str) -> dg.ExecuteInProcessResult:
        """One run instead of two for a period that arrived and whose labels are due: half of a run's time is Dagster's.

        It has the cause of an arrival. Where it fails, the sensors request the arrival again, and then the labels."""
        selection = [*arrival(self.product), *labelled(self.product)]
        return self.run(request(self.instance, self.product, key, ARRIVAL, key, selection))

    def develop(self, key: str, why: str) -> list[dg.ExecuteInProcessResult]:
        """The work of a team in development: run the experiment, promote its recipe, train and deploy it as `key`."""
        name = self.product.name
        experiment = {
            f"{name}__experiment": {"config": {"as_of": key}},
            f"{name}__recipe": {"config": {"by": "replay"}},
        }
        tags = {"product": name, CAUSE: f"{name}:{key}:{why}"}
        search = self.materialize(development(self.product), None, tags, experiment)
        expect_success(search)
        training = request(self.instance, self.product, key, f"{why}-training", key, retraining(self.product))
        return [search, self.run(training)]


def expect_success(result: dg.ExecuteInProcessResult) -> None:
    """Raises PlatformError, with the reason of the failure."""
    if result.success:
        return
    raise PlatformError(f"run {result.run_id} failed: {failure_of(result)}")


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """A sentence with the failed checks of a run, or else the errors of its steps."""
    checks = [
        f"{item.asset_key.path[-1]}.{item.check_name}: {item.description}"
        for item in result.get_asset_check_evaluations()
        if not item.passed
    ]
    errors = [
        _root(event.step_failure_data.error)
        for event in result.all_events
        if event.is_step_failure and event.step_failure_data
    ]
    run = [
        _root(event.job_failure_data.error) or str(event.message) for event in result.all_events if event.is_job_failure
    ]
    # two tables of a period that has not arrived have the same error
    return "; ".join(dict.fromkeys(checks or [error for error in errors if error] or run))


def _root(error: Any) -> str:
    while error is not None and error.cause is not None:
        error = error.cause
    return str(error.message).strip() if error is not None else ""
