"""Replays history: a clock that is moved by hand, the shipped sensors, and their runs in this process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import dagster as dg

from mlops_assets.errors import PlatformError
from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.clock import ReplayClock
from mlops_assets.stores.home import Home
from resources.platform import Platform
from sensors.selections import CAUSE, development, request, retraining

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
WITHOUT_REPORTS = {"config": {"render_report": False}}


@dataclass
class Replay:
    """Runs a product's sensors at chosen moments, and what they request, in order and in this process."""

    product: ModelProduct
    home: Home
    instance: dg.DagsterInstance
    definitions: dg.Definitions
    platform: Platform
    cursors: dict[str, str | None] = field(default_factory=dict)

    @property
    def clock(self) -> ReplayClock:
        return ReplayClock(self.home.clock_file)

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
        """Materialise assets as Dagster would in a run of its own; a failed run is in the result, not raised."""
        unreported = [key for key in selection if key.path[-1] in ("data_drift", "performance", "test_report")]
        quick = {"__".join(key.path): WITHOUT_REPORTS for key in unreported}
        return self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=list(selection),
            partition_key=partition,
            tags=dict(tags),
            run_config={**QUIET, "ops": {**quick, **(ops or {})}},
            raise_on_error=False,
        )

    def develop(self, key: str, why: str) -> list[dg.ExecuteInProcessResult]:
        """What a team does in development: run the experiment, let a recipe leave, train and deploy it as `key`."""
        name = self.product.name
        experiment = {f"{name}__experiment": {"config": {"as_of": key}}, f"{name}__recipe": {"config": {"by": "demo"}}}
        tags = {"product": name, CAUSE: f"{name}:{key}:{why}"}
        searched = self.materialize(development(self.product), None, tags, experiment)
        expect_success(searched)
        asked = request(self.instance, self.product, key, f"{why}-training", key, retraining(self.product))
        return [searched, self.run(asked)] if asked else [searched]


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
