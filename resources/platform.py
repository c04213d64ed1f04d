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

    @classmethod
    def of(cls, environment: Environment) -> "Platform":
        return cls(home=str(environment.home.root), api_url=environment.api_url, mlflow_url=environment.mlflow_url)

    def open(self) -> Home:
        return Home(Path(self.home))

    def approval_key(self) -> str:
        """The key of signed approvals, empty for the one in the home; read when needed, as configuration shows in the UI."""
        return read_environment().approval_key

    def report_url(self, product: str, asset: str, key: str) -> str:
        """Where the API serves the HTML report of this partition."""
        return f"{self.api_url}/reports/{product}/{asset}/{key}.html"
