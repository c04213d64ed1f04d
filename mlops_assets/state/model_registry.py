"""MLflow: runs are found by tag, versions by number. Only this file and the tracking resource import mlflow.

MLflow's errors may contain its address with the password, so none of them leaves this file unchanged.
"""

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mlops_assets.addresses import reason, shown
from mlops_assets.errors import DataError, StoreError

if TYPE_CHECKING:
    from mlflow import MlflowClient

Answer = TypeVar("Answer")
CHAMPION, CHALLENGER, NEEDS_REWORK = "champion", "challenger", "needs-rework"


@dataclass(frozen=True)
class RunFacts:
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]


@dataclass(frozen=True)
class ModelRegistry:
    """Registry and queries over `MlflowClient`, without global state.

    Every method raises StoreError: MLflow cannot be reached, or fails."""

    tracking_uri: str
    artifacts: str = ""

    @cached_property
    def client(self) -> "MlflowClient":
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)

    def experiment_id(self, name: str) -> str:
        """Id of the MLflow experiment, created on first use with its artifacts at `artifacts`; "": at the server's own place."""
        experiment = self._call(lambda client: client.get_experiment_by_name(name))
        if experiment is not None:
            return str(experiment.experiment_id)
        place = f"{self.artifacts}/{name.replace('/', '_')}" if self.artifacts else None
        return str(self._call(lambda client: client.create_experiment(name, artifact_location=place)))

    def register(self, product: str, run_id: str, tags: Mapping[str, str]) -> int:
        """A new version of the product's registered model, whose bundle is the run's artifact `bundle`."""
        if self._find(lambda client: client.get_registered_model(product)) is None:
            self._call(lambda client: client.create_registered_model(product))
        artifacts = self._call(lambda client: client.get_run(run_id)).info.artifact_uri
        version = self._call(
            lambda client: client.create_model_version(
                product, source=f"{artifacts}/bundle", run_id=run_id, tags=dict(tags)
            )
        )
        return int(version.version)

    def set_alias(self, product: str, alias: str, version: int) -> None:
        self._call(lambda client: client.set_registered_model_alias(product, alias, str(version)))

    def mirror_alias(self, product: str, alias: str, version: int) -> bool:
        """As `set_alias`; False where the registry does not have the version, which then serves without its alias."""
        if self._find(lambda client: client.get_model_version(product, str(version))) is None:
            return False
        self.set_alias(product, alias, version)
        return True

    def version_with(self, product: str, alias: str) -> int | None:
        """The version that has the alias, None where no version has it."""
        version = self._find(lambda client: client.get_model_version_by_alias(product, alias))
        return None if version is None else int(version.version)

    def tag_version(self, product: str, version: int, key: str, value: str) -> None:
        self._call(lambda client: client.set_model_version_tag(product, str(version), key, value))

    def untag_version(self, product: str, version: int, key: str) -> None:
        self._call(lambda client: client.delete_model_version_tag(product, str(version), key))

    def run_facts(self, run_id: str) -> RunFacts:
        """Parameters, tags and metrics of a run. Raises DataError: MLflow has no such run."""
        run = self._find(lambda client: client.get_run(run_id))
        if run is None:
            raise DataError(
                f"MLflow at {shown(self.tracking_uri)} has no run {run_id!r}. Copy the run's id from its page in the UI."
            )
        return RunFacts(dict(run.data.params), dict(run.data.tags), dict(run.data.metrics))

    def run_url(self, ui_url: str, run_id: str) -> str:
        """The page of this run in the MLflow UI."""
        run = self._call(lambda client: client.get_run(run_id))
        return f"{ui_url}/#/experiments/{run.info.experiment_id}/runs/{run_id}"

    def version_url(self, ui_url: str, product: str, version: int) -> str:
        return f"{ui_url}/#/models/{product}/versions/{version}"

    def _find(self, call: "Callable[[MlflowClient], Answer]") -> Answer | None:
        """The result of the call; None where MLflow says that the object does not exist."""
        from mlflow.exceptions import MlflowException

        with reachable(self.tracking_uri):
            try:
                return call(self.client)
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise

    def _call(self, call: "Callable[[MlflowClient], Answer]") -> Answer:
        with reachable(self.tracking_uri):
            return call(self.client)


@contextmanager
def reachable(tracking_uri: str) -> Iterator[None]:
    """Within the block, errors of MLflow and of SQLAlchemy, which it uses for databases, become StoreErrors."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, ModuleNotFoundError) as error:  # the last one: a driver is not installed
        raise StoreError(
            f"MLflow at {shown(tracking_uri)} cannot be used: {reason(error, tracking_uri)}. Check that it is up and that "
            "MLOPS_MLFLOW_TRACKING is right, then run it again."
        ) from None


@cache
def git_commit() -> str:
    """Commit of the running code, followed by "+" where the work tree differs; "unknown" outside of a checkout."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"  # an installed wheel has no commit
    return commit + ("+" if changed else "")
