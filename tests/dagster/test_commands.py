"""`mlops materialize`, `train` and `experiment` as another orchestrator calls them: real processes, exit codes, JSON."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.cli.running import leaderboard_table
from mlops_assets.records.training import Leaderboard, Trial
from mlops_assets.state.workspace import ProductState, Workspace

WEEKS = ["2013-01-07", "2013-01-14"]


@pytest.fixture
def state(tmp_path: Path) -> ProductState:
    """An empty home whose clock stands where the second of the two weeks is over."""
    workspace = Workspace(tmp_path / "home")
    workspace.replay_clock.set(datetime(2013, 1, 21, tzinfo=UTC))
    return workspace.of(flight_delay)


def mlops(state: ProductState, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "mlops_assets.cli.command", *arguments, "--home", str(state.workspace.home)],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=280,
    )


def document_of(finished: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    """Standard output holds one JSON object and nothing else."""
    return json.loads(finished.stdout)


def test_a_range_stores_its_periods_and_no_other(state: ProductState):
    finished = mlops(state, "materialize", "flight_delay", "raw", "weather", "--partition", "..".join(WEEKS), "--json")

    said = document_of(finished)
    assert (finished.returncode, said["succeeded"]) == (0, True), finished.stderr
    assert [key for run in said["runs"] for key in run["partitions"]] == WEEKS
    assert all(run["materialized"] == ["raw", "weather"] for run in said["runs"])
    assert (said["error"], said["decisions"], finished.stderr) == ("", [], "")
    assert state.tables.keys("raw") == state.tables.keys("weather") == WEEKS
    assert state.tables.keys("features") == []


def test_the_first_period_that_has_not_arrived_ends_a_range_with_exit_code_75(state: ProductState):
    finished = mlops(state, "materialize", "flight_delay", "raw", "--partition", "2013-01-21..2013-01-28", "--json")

    said = document_of(finished)
    sentence = "NotArrived: flight_delay: the period 2013-01-21 has not wholly arrived at 2013-01-21 00:00: it ends 2013-01-28."
    assert (finished.returncode, said["succeeded"]) == (75, False)
    assert said["error"] == said["runs"][0]["error"]
    assert said["error"].startswith(sentence)
    assert sentence in finished.stderr
    assert state.tables.keys("raw") == []


def test_a_failure_without_json_is_said_on_standard_error(state: ProductState):
    finished = mlops(state, "materialize", "flight_delay", "raw", "--partition", "2013-01-21")

    assert (finished.returncode, finished.stdout) == (75, "")
    assert "the period 2013-01-21 has not wholly arrived" in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["materialize", "flight_delay"], "name the assets to materialise. Known: acceptance, "),
        (["materialize", "flight_delay", "rwa", "--partition", "2013-01-07"], "Did you mean 'raw'?"),
        (["materialize", "flight_delay", "raw"], "raw of flight_delay has periods. Name one with --partition"),
        (
            ["materialize", "flight_delay", "recipe", "--partition", "2013-01-07"],
            "recipe of flight_delay has no periods.",
        ),
        (["train", "flight_delay"], "0 of the 16 labelled periods that flight_delay learns from are stored"),
        (["train", "flight_delay", "--partition", "2013-05-06"], "Run `mlops experiment flight_delay --finalise`"),
        (["experiment", "flight_delay"], "no labels of flight_delay are stored"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(state: ProductState, arguments: list[str], sentence: str):
    finished = mlops(state, *arguments, "--json")

    assert finished.returncode == 1
    assert sentence in finished.stderr
    assert document_of(finished)["succeeded"] is False
    assert sentence in document_of(finished)["error"]
    assert "Traceback" not in finished.stderr


def a_trial(name: str, score: float, behind: float, *, is_tied: bool, size: int | None) -> Trial:
    return Trial(name, name, {}, score, score - 0.01, score + 0.01, behind, 0.0, behind, is_tied, 1.5, 2.0, size, 3)


def test_the_leaderboard_names_what_cannot_be_served_and_what_is_tied():
    trials = (
        a_trial("forest", 0.71, 0.0, is_tied=True, size=None),
        a_trial("linear", 0.70, 0.01, is_tied=True, size=2_000_000),
        a_trial("dummy", 0.50, 0.21, is_tied=False, size=1_000),
    )
    board = Leaderboard("churn", "2013-05-06", "roc_auc", ("a", "b"), 1_234, trials, (), "every trial was made")

    columns = [list(column.cells) for column in leaderboard_table(board).columns]

    assert columns[0] == ["forest", "linear", "dummy"]
    assert columns[3] == ["tied with the best", "tied with the best", "0.2100"]
    assert columns[-1] == ["no ONNX model", "2.0 MB", "0.0 MB"]
