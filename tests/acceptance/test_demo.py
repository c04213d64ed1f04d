"""The demo, as a user runs it: one command, a year of flights, and nothing left behind."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from mlops_assets.products.flight_delay import flight_delay
from mlops_assets.stores.home import Home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def run_demo(home: Path) -> str:
    """What `mlops demo --exit` printed."""
    finished = subprocess.run(
        [sys.executable, "-m", "mlops_assets.cli", "demo", "--exit", "--home", str(home)],
        env={**os.environ, "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=840,
    )
    assert finished.returncode == 0, finished.stdout[-3_000:] + finished.stderr[-3_000:]
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
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, str]:
    folder = tmp_path_factory.mktemp("demo") / "home"
    return Home(folder), run_demo(folder)


def test_the_year_is_told_period_by_period(demo):
    home, said = demo

    # 52 weeks, of which 16 train the first champion
    rows = re.findall(r"^│ (2013-\d\d-\d\d) │", said, re.MULTILINE)
    assert len(rows) == 36
    assert (rows[0], rows[-1]) == ("2013-04-22", "2013-12-23")
    assert home.documents.keys(flight_delay.name, "drift_decision") == rows


def test_the_last_three_weeks_arrive_through_the_daemon(demo):
    _, said = demo

    assert re.findall(r"^(2013-\d\d-\d\d): .* \(by the daemon\)$", said, re.MULTILINE) == [
        "2013-12-09",
        "2013-12-16",
        "2013-12-23",
    ]


def test_the_prediction_shown_is_the_answer_of_the_champion(demo):
    home, said = demo

    answer = json.loads(said[said.index('{\n  "product"') : said.index("Look around")])

    assert answer["version"] == home.ledger.champion(flight_delay.name).version
    (prediction,) = answer["predictions"]
    assert 0 < prediction["probability"] < 1
    assert prediction["warnings"] == []


def test_every_prediction_the_api_gave_is_logged(demo):
    from mlops_assets.stores.prediction_log import PredictionLog

    home, said = demo
    answer = json.loads(said[said.index('{\n  "product"') : said.index("Look around")])

    logged = PredictionLog(home.prediction_log).read(flight_delay.name)

    assert answer["predictions"][0]["prediction_id"] in logged["prediction_id"].to_list()


def test_the_reports_of_the_live_weeks_are_rendered(demo):
    home, _ = demo

    for asset in ("data_drift", "performance"):
        assert (home.reports / flight_delay.name / asset / "2013-12-23.html").stat().st_size < 2_000_000


def test_the_demo_leaves_no_process_behind(demo):
    home, _ = demo

    assert left_behind(home.root) == []


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")

    finished = subprocess.run(
        [sys.executable, "-m", "mlops_assets.cli", "demo", "--exit", "--home", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert finished.returncode == 1
    assert "was not made by a demo" in finished.stderr
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
