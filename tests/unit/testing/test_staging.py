"""Parts of staging that need no server: the port, the row, the answer to a missing bundle."""

import json
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlops_assets.errors import StagingFailed
from mlops_assets.testing.staging import free_port, request_row, started_server
from tests.unit.training.builders import a_product


def test_a_free_port_can_be_listened_on():
    port = free_port()

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", port))
        listening.listen()


def test_a_row_becomes_what_json_takes_and_back_again():
    departure = datetime(2013, 7, 4, 11, 15, tzinfo=UTC)

    row = request_row({"carrier": "UA", "flight": 1545, "scheduled_departure": departure, "seats": None, "wind": 0.1})

    assert json.loads(json.dumps(row)) == row
    assert row == {
        **{"carrier": "UA", "flight": 1545, "scheduled_departure": "2013-07-04T11:15:00+00:00"},
        **{"seats": None, "wind": 0.1},
    }
    assert datetime.fromisoformat(row["scheduled_departure"]) == departure


def test_a_server_that_does_not_get_ready_says_why(tmp_path: Path):
    with (
        pytest.raises(StagingFailed, match=r"the staging server did not get ready. It said: .*taxi"),
        started_server(a_product(), tmp_path / "no_bundle"),
    ):
        pass
