"""A state that is mounted read-only is served, and its new champions are taken up."""

import sys
import tempfile

import httpx
import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.state.workspace import Workspace
from tests.servers.read_only import can_mount_read_only, with_read_only
from tests.serving.running_api import Json, a_server, eventually
from tests.tiny_bundle import deploy_tiny

PREDICT = "/v1/models/flight_delay/predict"
pytestmark = pytest.mark.skipif(not can_mount_read_only(), reason="this system lets nobody mount a folder read-only")


def read_only(workspace: Workspace, *program: str) -> tuple[str, ...]:
    """Arguments of Python that become this Python program, to which the state is read-only."""
    become = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
    return ("-c", become, *with_read_only(workspace.home, [sys.executable, *program]))


def test_a_read_only_home_serves_follows_the_ledger_and_says_that_nothing_is_logged(
    workspace: Workspace, row: Json
) -> None:
    deploy_tiny(workspace.of(flight_delay), 1, bias=1)
    with (
        tempfile.TemporaryFile("w+") as output,
        a_server(workspace, output, read_only(workspace, "-m", "serving")) as server,
        httpx.Client(base_url=server.address) as client,
    ):
        get, post = client.get, client.post
        first = post(PREDICT, json={"rows": [row]})
        eventually(lambda: not get("/health/ready").json()["prediction_log"]["is_writing"])
        deploy_tiny(workspace.of(flight_delay), 2, bias=2)
        eventually(lambda: post(PREDICT, json={"rows": [row]}).json()["version"] == 2)
        ready, metrics, reports = get("/health/ready"), get("/metrics").text, get("/reports/any.html")
        workspace.objects.put("reports/any.html", b"made later")
        later = get("/reports/any.html")
        versions = [item["version"] for item in get("/v1/models/flight_delay/versions").json()["versions"]]

    assert (first.status_code, first.json()["version"]) == (200, 1)
    assert ready.status_code == 200
    assert "Read-only file system" in ready.json()["prediction_log"]["last_error"]
    assert [line.split()[-1] for line in metrics.splitlines() if line.startswith("mlops_log_writing{")] == ["0.0"]
    assert (reports.status_code, later.status_code, later.text) == (404, 200, "made later")
    assert versions == [2, 1]
    assert not {path.name for path in workspace.home.iterdir()} & {"online.sqlite", "spool"}
