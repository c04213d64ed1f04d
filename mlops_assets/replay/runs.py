"""Replays history: a clock that is moved by hand, the shipped sensors, and their runs in this process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import dagster as dg

from mlops_assets.errors import PlatformError
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.readings import DriftRecord, PerformanceRecord
from mlops_assets.records.testing import TestReport
from mlops_assets.state.clock import ReplayClock
from mlops_assets.state.workspace import ProductState
from resources.platform import Platform
from sensors.runs import CAUSE, request
from sensors.selections import development, retraining

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
WITHOUT_REPORTS = {"config": {"render_report": False}}


@dataclass
class Replay:
    """Runs a product's sensors at chosen moments, and what they request, in order and in this process."""

    state: ProductState
    instance: dg.DagsterInstance
    definitions: dg.Definitions
    platform: Platform
    cursors: dict[str, str | None] = field(default_factory=dict)

    @property
    def product(self) -> ModelProduct:
        return self.state.product

    @property
    def clock(self) -> ReplayClock:
        return self.state.workspace.replay_clock

    def at(self, moment: datetime) -> None:
        self.clock.set(moment)

    def tick(self, sensor_name: str) -> list[dg.ExecuteInProcessResult]:
        """Evaluate one sensor until it asks for nothing more, and run what it asks for."""
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
            self.cursors[name] = tick.cursor
            if not tick.run_requests:
                return results
            results += [self.run(asked) for asked in tick.run_requests]

    def run(self, asked: dg.RunRequest) -> dg.ExecuteInProcessResult:
        return self.materialize(asked.asset_selection or [], asked.partition_key, asked.tags)

    def materialize(
        self,
        selection: Sequence[dg.AssetKey],
        partition: str | None,
        tags: Mapping[str, str],
        ops: Mapping[str, Any] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Materialise assets as Dagster would in a run of its own; a failed run is in the result, not raised.

        Raises KeyboardInterrupt, of which Dagster makes a failure of the step."""
        unreported = [
            key for key in selection if key.path[-1] in (DriftRecord.asset, PerformanceRecord.asset, TestReport.asset)
        ]
        quick = {"__".join(key.path): WITHOUT_REPORTS for key in unreported}
        result = self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=list(selection),
            partition_key=partition,
            tags=dict(tags),
            run_config={**QUIET, "ops": {**quick, **(ops or {})}},
            raise_on_error=False,
        )
        if not result.success and dg.DagsterExecutionInterruptedError.__name__ in failure_of(result):
            raise KeyboardInterrupt
        return result

    def develop(self, key: str, why: str) -> list[dg.ExecuteInProcessResult]:
        """What a team does in development: run the experiment, let a recipe leave, train and deploy it as `key`."""
        name = self.product.name
        experiment = {f"{name}__experiment": {"config": {"as_of": key}}, f"{name}__recipe": {"config": {"by": "demo"}}}
        tags = {"product": name, CAUSE: f"{name}:{key}:{why}"}
        searched = self.materialize(development(self.product), None, tags, experiment)
        expect_success(searched)
        asked = request(self.instance, self.product, key, f"{why}-training", key, retraining(self.product))
        return [searched, self.run(asked)]


def expect_success(result: dg.ExecuteInProcessResult) -> None:
    """Raises PlatformError with the first reason a step gave."""
    if result.success:
        return
    raise PlatformError(f"run {result.run_id} failed: {failure_of(result)}")


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """The failed checks of a run, or else the errors of its steps, in words."""
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
    return "; ".join(checks or [error for error in errors if error] or run)


def _root(error: Any) -> str:
    while error is not None and error.cause is not None:
        error = error.cause
    return str(error.message).strip() if error is not None else ""
