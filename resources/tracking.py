"""MLflow runs of assets: dagster-mlflow opens them for the Dagster run, and this file closes them with the right status."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

import dagster as dg

from mlops_assets.state.model_registry import ModelRegistry, reachable
from resources.environments import Environment, read_environment

if TYPE_CHECKING:
    from dagster_mlflow.resources import MlFlow


class Tracking(dg.ConfigurableResource):  # type: ignore[type-arg]
    """`run()` for the asset that logs, `registry()` for queries and aliases.

    dagster-mlflow's resource is created inside `run()` instead of separately: importing it imports mlflow, which would take
    three seconds in every code location and every run, used or not."""

    artifacts: str  # the address of runs' files; empty: the tracking server decides
    ui_url: str
    # empty: MLOPS_MLFLOW_TRACKING is read when MLflow is used; the UI would show a configured address, which may contain a
    # password
    tracking_uri: str = ""

    @classmethod
    def of(cls, environment: Environment) -> "Tracking":
        is_in_variable = environment.mlflow_tracking == read_environment().mlflow_tracking
        return cls(
            tracking_uri="" if is_in_variable else environment.mlflow_tracking,
            artifacts=environment.workspace.mlflow_artifacts(environment.mlflow_tracking),
            ui_url=environment.mlflow_url,
        )

    def registry(self) -> ModelRegistry:
        return ModelRegistry(self._address, self.artifacts)

    @property
    def _address(self) -> str:
        return self.tracking_uri or read_environment().mlflow_tracking

    @contextmanager
    def run(self, context: dg.AssetExecutionContext, experiment: str, tags: Mapping[str, str]) -> Iterator["MlFlow"]:
        """The MLflow run of this asset: FAILED when the block raises, FINISHED otherwise.

        dagster-mlflow's own hook misses failed assets. Use it in one asset per Dagster run and experiment."""
        import mlflow

        self.registry().experiment_id(experiment)
        with warnings.catch_warnings():
            # dagster-mlflow warns at import and at every use that it is beta
            warnings.simplefilter("ignore", dg.BetaWarning)
            run = self._open_run(context, experiment, tags)
        try:
            with reachable(self._address):
                yield run
        except BaseException:
            mlflow.end_run(status="FAILED")
            raise
        else:
            mlflow.end_run()

    def _open_run(self, context: dg.AssetExecutionContext, experiment: str, tags: Mapping[str, str]) -> "MlFlow":
        from dagster_mlflow.resources import MlFlow

        return MlFlow(
            SimpleNamespace(
                log=context.log,
                dagster_run=SimpleNamespace(
                    job_name=f"{context.asset_key.to_user_string()} {_partition(context)}".strip()
                ),
                run_id=context.run.run_id,
                resource_config={
                    "experiment_name": experiment,
                    "mlflow_tracking_uri": self._address,
                    "extra_tags": {
                        **tags,
                        "dagster_asset": context.asset_key.to_user_string(),
                        "partition": _partition(context),
                    },
                },
            )
        )

    def run_url(self, run_id: str) -> str:
        return self.registry().run_url(self.ui_url, run_id)


def _partition(context: dg.AssetExecutionContext) -> str:
    return context.partition_key if context.has_partition_key else ""
