"""A state of its own and a valid row for every test of the API."""

import tempfile
from collections.abc import Iterator

import pytest

from examples.flights.air_time import air_time
from examples.flights.flight_delay import flight_delay
from mlops_assets.state.workspace import Workspace
from tests.serving.running_api import Json, RunningServer, a_server
from tests.tiny_bundle import deploy_tiny


@pytest.fixture
def workspace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """In a folder; in a test that is run `everywhere`, on a bucket as well."""
    folder = tmp_path_factory.mktemp("state")
    if getattr(request, "param", "folder") == "folder":
        return Workspace(folder)
    return Workspace(f"{request.getfixturevalue('bucket')}/state", folder)


@pytest.fixture
def row() -> Json:
    return a_row()


def a_row() -> Json:
    """A valid request row of both products."""
    return {
        "carrier": "UA",
        "flight": 1545,
        "origin": "EWR",
        "dest": "IAH",
        "scheduled_departure": "2013-07-04T11:15:00Z",
        "distance": 1400,
        "aircraft_year": 1999,
        "seats": 149,
    }


@pytest.fixture(scope="session")
def two_products(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A process that serves version 4 of flight_delay and version 7 of air_time, whose answers follow their inputs."""
    workspace = Workspace(tmp_path_factory.mktemp("two"))
    deploy_tiny(workspace.of(flight_delay), 4, weight=1e-4)
    deploy_tiny(workspace.of(air_time), 7, weight=1e-2, bias=30)
    with tempfile.TemporaryFile("w+") as output, a_server(workspace, output) as server:
        yield server
