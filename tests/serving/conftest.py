"""A home of its own and a valid row for every test of the API."""

from pathlib import Path

import pytest

from mlops_assets.stores.home import Home
from tests.serving.running_api import Json


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def row() -> Json:
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
