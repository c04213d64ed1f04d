"""A process that is killed anywhere between acceptance and deployment leaves one whole champion, and a rerun goes on."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from mlops_assets.inference.promotion import promote
from mlops_assets.state.workspace import Workspace
from tests.unit.testing.builders import KEY, a_tested_version
from tests.unit.training.builders import a_product, january

ROOT = Path(__file__).parents[3]


def test_killed_at_any_line_the_old_champion_or_the_new_one_serves_whole_and_a_rerun_goes_on(tmp_path: Path):
    state = Workspace(tmp_path / "template").of(a_product())
    a_tested_version(state, january(8), version=1)
    promote(state, KEY, "run 1")
    a_tested_version(state, january(9), version=2)

    # a process of its own: it forks, which one with threads must not do
    finished = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "tests.unit.inference.killing",
            str(tmp_path / "template"),
            str(tmp_path / "copies"),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )

    points = [json.loads(line) for line in finished.stdout.splitlines()]
    *killed, to_the_end = points
    assert len(killed) > 50
    assert {point["ended"] for point in killed} == {signal.SIGKILL}
    assert {tuple(point["after"]) for point in killed} == {(1,), (1, 2)}  # both were met
    assert {point["opens"] for point in points} == {0}
    assert {point["again"] for point in points} == {0}
    assert {tuple(point["finally"]) for point in points} == {(1, 2)}
    assert (to_the_end["ended"], to_the_end["after"]) == (0, [1, 2])
