"""MLflow runs of assets: dagster-mlflow opens them and ties them to the Dagster run, this closes them truthfully."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import dagster as dg

from mlops_assets.stores.model_registry import ModelRegistry
from resources.environments import Environment

if TYPE_CHECKING:
    from dagster_mlflow.resources import MlFlow


class Tracking(dg.ConfigurableResource):  # type: ignore[type-arg]
    """`run()` for the asset that logs, `registry()` for look-ups and aliases.

    dagster-mlflow's resource is made inside `run()` and not as a resource of its own: importing it imports mlflow,
    which would cost every code location and every run three seconds, used or not."""

    tracking_uri: str
    artifacts: str
    ui_url: str

    @classmethod
    def of(cls, environment: Environment) -> "Tracking":
        return cls(
            tracking_uri=environment.mlflow_tracking,
            artifacts=str(environment.home.mlflow_artifacts),
            ui_url=environment.mlflow_url,
        )

    def registry(self) -> ModelRegistry:
        return ModelRegistry(self.tracking_uri, Path(self.artifacts))

    @contextmanager
    def run(self, context: dg.AssetExecutionContext, experiment: str, tags: Mapping[str, str]) -> Iterator["MlFlow"]:
        """The MLflow run of this asset: FAILED when the block raises, FINISHED otherwise.

        dagster-mlflow's own hook misses failed assets. Use it in one asset per Dagster run and experiment."""
        import mlflow

        self.registry().experiment_id(experiment)
        with warnings.catch_warnings():
            # dagster-mlflow calls itself beta at import and at every use
            warnings.simplefilter("ignore", dg.BetaWarning)
            tracked = self._tracked(context, experiment, tags)
        try:
            yield tracked
        except BaseException:
            mlflow.end_run(status="FAILED")
            raise
        else:
            mlflow.end_run()

    def _tracked(self, context: dg.AssetExecutionContext, experiment: str, tags: Mapping[str, str]) -> "MlFlow":
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
                    "mlflow_tracking_uri": self.tracking_uri,
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
