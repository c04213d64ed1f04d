"""MLflow: runs are found by tag, versions by number; the only file that imports mlflow besides the tracking resource."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.errors import DataError

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, CHALLENGER, NEEDS_REWORK = "champion", "challenger", "needs-rework"


@dataclass(frozen=True)
class RunFacts:
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]


@dataclass(frozen=True)
class ModelRegistry:
    """Registry and look-ups over `MlflowClient`, with no global state."""

    tracking_uri: str
    artifacts: Path

    @cached_property
    def client(self) -> "MlflowClient":
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)

    def experiment_id(self, name: str) -> str:
        """Id of the MLflow experiment, made on first use with its artifacts below the data home."""
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        folder = self.artifacts / name.replace("/", "_")
        folder.mkdir(parents=True, exist_ok=True)
        return str(self.client.create_experiment(name, artifact_location=folder.absolute().as_uri()))

    def register(self, product: str, run_id: str, tags: Mapping[str, str]) -> int:
        """A new version of the product's registered model, whose bundle is the run's artifact `bundle`."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.get_registered_model(product)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            self.client.create_registered_model(product)
        run = self.client.get_run(run_id)
        version = self.client.create_model_version(
            product, source=f"{run.info.artifact_uri}/bundle", run_id=run_id, tags=dict(tags)
        )
        return int(version.version)

    def set_alias(self, product: str, alias: str, version: int) -> None:
        self.client.set_registered_model_alias(product, alias, str(version))

    def mirror_alias(self, product: str, alias: str, version: int) -> bool:
        """As `set_alias`; False where the registry does not know the version, which then serves without its alias."""
        from mlflow.exceptions import MlflowException

        try:
            self.set_alias(product, alias, version)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        return True

    def version_with(self, product: str, alias: str) -> int | None:
        """The version an alias points at, None when nobody has it."""
        from mlflow.exceptions import MlflowException

        try:
            return int(self.client.get_model_version_by_alias(product, alias).version)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def tag_version(self, product: str, version: int, key: str, value: str) -> None:
        self.client.set_model_version_tag(product, str(version), key, value)

    def untag_version(self, product: str, version: int, key: str) -> None:
        self.client.delete_model_version_tag(product, str(version), key)

    def run_facts(self, run_id: str) -> RunFacts:
        """Parameters and tags of a run. Raises DataError: MLflow knows no such run."""
        from mlflow.exceptions import MlflowException

        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise DataError(
                f"MLflow at {self.tracking_uri} has no run {run_id!r}. Copy the run's id from its page in the UI."
            ) from None
        return RunFacts(dict(run.data.params), dict(run.data.tags), dict(run.data.metrics))

    def run_url(self, ui_url: str, run_id: str) -> str:
        """Where the MLflow UI shows this run."""
        return f"{ui_url}/#/experiments/{self.client.get_run(run_id).info.experiment_id}/runs/{run_id}"

    def version_url(self, ui_url: str, product: str, version: int) -> str:
        return f"{ui_url}/#/models/{product}/versions/{version}"


@cache
def git_commit() -> str:
    """Commit of the code that runs, "+" behind it when the work tree differs; "unknown" outside a checkout."""
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
