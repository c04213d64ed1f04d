"""The demo, as a user runs it: one command, a year of flights, and nothing left behind."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.replay.example import next_row
from mlops_assets.state.workspace import ProductState, Workspace
from tests.serving.running_api import a_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def said_by(*command: str, seconds: float = 300, **environment: str) -> str:
    """What `mlops …` prints."""
    finished = subprocess.run(
        [sys.executable, "-m", "mlops_assets.cli.command", *command],
        env={**os.environ, "COLUMNS": "160", **environment},
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert finished.returncode == 0, f"{command}: {finished.stdout[-3_000:]}{finished.stderr[-3_000:]}"
    return finished.stdout


def left_behind(home: Path) -> list[str]:
    """Command lines of processes that still work in this home."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(home) in process.environ().get("MLOPS_HOME", ""):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[ProductState, str]:
    folder = tmp_path_factory.mktemp("demo") / "home"
    said = said_by("demo", "--exit", "--home", str(folder), seconds=840)
    return Workspace(folder).of(flight_delay), said


def test_the_year_is_told_period_by_period(demo):
    state, said = demo

    # 52 weeks, of which 16 train the first champion
    rows = re.findall(r"^│ (2013-\d\d-\d\d) │ +[\d,]+ │", said, re.MULTILINE)
    assert len(rows) == 36
    assert (rows[0], rows[-1]) == ("2013-04-22", "2013-12-23")
    assert state.records.keys(DriftDecision) == rows


def test_the_last_two_weeks_arrive_through_the_daemon(demo):
    _, said = demo

    assert re.findall(r"^(2013-\d\d-\d\d): .* \(by the daemon\)$", said, re.MULTILINE) == [
        "2013-12-16",
        "2013-12-23",
    ]


def test_the_prediction_shown_is_the_answer_of_the_champion(demo):
    state, said = demo

    answer = json.loads(said[said.index('{\n  "product"') : said.index("Look around")])

    assert answer["version"] == state.ledger.champion().version
    (prediction,) = answer["predictions"]
    assert 0 < prediction["probability"] < 1
    assert prediction["warnings"] == []


def test_every_prediction_the_api_gave_is_logged(demo):
    state, said = demo
    answer = json.loads(said[said.index('{\n  "product"') : said.index("Look around")])

    logged = state.predictions.read(flight_delay.name, flight_delay.period.start, datetime.now(UTC))

    assert answer["predictions"][0]["prediction_id"] in logged["prediction_id"].to_list()


def test_the_reports_of_the_live_weeks_are_rendered(demo):
    state, _ = demo

    for asset in ("data_drift", "performance"):
        report = state.reports.read(asset, "2013-12-23")
        assert report is not None
        assert len(report) < 2_000_000


def test_the_demo_leaves_no_process_behind(demo):
    state, _ = demo

    assert left_behind(state.workspace.home) == []


def answered_by(state: ProductState, workspace: Workspace, log: Path, **environment: str) -> list[dict[str, Any]]:
    """The predictions of `mlops serve` for one row, without what differs with every request."""
    body = {"rows": [next_row(state)]}
    command = ("-m", "mlops_assets.cli.command", "serve")
    with log.open("w") as output, a_server(workspace, output, command, **environment) as server:
        answer = httpx.post(f"{server.address}/v1/models/flight_delay/predict", json=body, timeout=60).json()
    return [{"version": answer["version"], "probability": item["probability"]} for item in answer["predictions"]]


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_a_copy_of_the_demo_serves_tells_reproduces_and_rolls_back_as_the_demo_itself(
    demo: tuple[ProductState, str], place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    state, _ = demo
    home = str(state.workspace.home)
    target = str(tmp_path / "copy") if place == "folder" else f"{request.getfixturevalue('bucket')}/state"
    # another machine: nothing of its own but the values that its online store holds
    here = {"MLOPS_HOME": home}
    there = {**here, "MLOPS_STATE": target, "MLOPS_HOME": str(tmp_path / "home")}
    there["MLOPS_ONLINE_STORE"] = here["MLOPS_ONLINE_STORE"] = f"{home}/online.sqlite"
    champion = state.ledger.champion().version
    told = (["history", "flight_delay"], ["history", "flight_delay", "--verify"])

    said_by("copy", home, target, **here)
    original = [said_by(*command, **here) for command in told]
    copied = [said_by(*command, **there) for command in told]
    lineage = said_by("why", "flight_delay", **there)
    reproduced = said_by("reproduce", "flight_delay", str(champion), **there)
    of_original = answered_by(state, state.workspace, tmp_path / "log", **here)
    of_copy = answered_by(state, Workspace(target, tmp_path / "home"), tmp_path / "log", **there)
    said_by("rollback", "flight_delay", "--reason", "to see it", "--by", "ana", **there)
    after = [said_by(*command, **there) for command in told]

    assert copied == original
    assert f"version {champion}" in lineage
    assert "identical" in reproduced
    assert of_copy == of_original
    assert of_copy[0]["version"] == champion
    assert "to see it" in after[0]
    assert "entries was changed or removed" in after[1]
    assert said_by(*told[0], **here) == original[0]  # the demo itself goes on as it was


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")

    finished = subprocess.run(
        [sys.executable, "-m", "mlops_assets.cli.command", "demo", "--exit", "--home", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert finished.returncode == 1
    assert "was not created by a demo" in finished.stderr
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
