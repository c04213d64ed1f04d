"""The workspace as a Dagster resource, with the addresses for links in asset metadata."""

from functools import lru_cache
from pathlib import Path

import dagster as dg
from pydantic import PrivateAttr

from mlops_assets.products.keep import Keep
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.run_records import Heartbeat
from mlops_assets.state.workspace import ProductState, Workspace
from resources.environments import Environment, read_environment


class Platform(dg.ConfigurableResource):  # type: ignore[type-arg]
    """state_url: the folder or bucket of the state. home: the folder of this machine. keep: retention times that replace those of
    the products."""

    state_url: str
    home: str
    api_url: str
    mlflow_url: str
    # empty: MLOPS_ONLINE_STORE is read when a store is opened; the UI would show a configured address, which may contain a
    # password
    online_store: str = ""
    keep: str = ""
    _heartbeat: Heartbeat | None = PrivateAttr(default=None)

    @classmethod
    def of(cls, environment: Environment) -> "Platform":
        workspace = environment.workspace
        is_in_variable = workspace.online_store == read_environment().workspace.online_store
        return cls(
            state_url=str(workspace.url),
            home=str(workspace.home),
            api_url=environment.api_url,
            mlflow_url=environment.mlflow_url,
            online_store="" if is_in_variable else workspace.online_store,
            keep=environment.keep,
        )

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Record the process of the run while it runs; a sensor's tick has no run."""
        if context.run is not None:
            self._heartbeat = Heartbeat(self.open().run_records, context.run.run_id)
            self._heartbeat.start()

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        if self._heartbeat is not None:
            self._heartbeat.stop()

    def open(self) -> Workspace:
        variables = read_environment().workspace  # the key is read here, because the UI shows the configuration
        online_store = self.online_store or variables.online_store
        return _workspace(self.state_url, self.home, online_store, variables.approval_key, variables.optuna_storage)

    def state_of(self, product: ModelProduct) -> ProductState:
        return self.open().of(product)

    def keep_of(self, product: ModelProduct) -> Keep:
        return product.keep.changed_by(self.keep)

    def report_url(self, product: str, asset: str, key: str) -> str:
        """The address of this partition's HTML report in the API."""
        return f"{self.api_url}/reports/{product}/{asset}/{key}.html"


@lru_cache(maxsize=8)
def _workspace(url: str, home: str, online_store: str, approval_key: str, optuna_storage: str) -> Workspace:
    """Cached for the life of the process, because a ledger reads only new entries."""
    return Workspace(url, Path(home), online_store, approval_key, optuna_storage)
