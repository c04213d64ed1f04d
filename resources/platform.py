"""The data home as a Dagster resource, with the addresses that asset metadata links to."""

from pathlib import Path

import dagster as dg

from mlops_assets.stores.home import Home
from resources.environments import Environment, read_environment


class Platform(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Opens the stores below `home`."""

    home: str
    api_url: str
    mlflow_url: str
    offline_store: str = ""
    # empty: MLOPS_ONLINE_STORE, read when a store is opened; a configured address, which may hold a password, is
    # readable in the UI
    online_store: str = ""

    @classmethod
    def of(cls, environment: Environment) -> "Platform":
        home = environment.home
        is_in_variable = home.online_store == read_environment().home.online_store
        return cls(
            home=str(home.root),
            api_url=environment.api_url,
            mlflow_url=environment.mlflow_url,
            offline_store=home.offline_store,
            online_store="" if is_in_variable else home.online_store,
        )

    def open(self) -> Home:
        online = self.online_store or read_environment().home.online_store
        return Home(Path(self.home), self.offline_store, online)

    def approval_key(self) -> str:
        """The key of signed approvals, empty for the one in the home; read when needed, as configuration shows in the UI."""
        return read_environment().approval_key

    def report_url(self, product: str, asset: str, key: str) -> str:
        """Where the API serves the HTML report of this partition."""
        return f"{self.api_url}/reports/{product}/{asset}/{key}.html"
