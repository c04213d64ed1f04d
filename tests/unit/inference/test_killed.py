"""A process that is killed anywhere between acceptance and deployment leaves one whole champion, and a rerun goes on."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from mlops_assets.inference.promotion import promote
from mlops_assets.state.objects import Folder, Objects
from mlops_assets.state.workspace import Workspace
from tests.unit.testing.builders import KEY, a_tested_version
from tests.unit.training.builders import a_product, january

ROOT = Path(__file__).parents[3]


def test_killed_at_any_line_the_old_champion_or_the_new_one_serves_whole_and_a_rerun_goes_on(
    objects: Objects, tmp_path: Path
):
    state = Workspace(f"{objects.url}/template", tmp_path / "home").of(a_product())
    a_tested_version(state, january(8), version=1)
    promote(state, KEY, "run 1")
    a_tested_version(state, january(9), version=2)

    # a process of its own: it forks, which one with threads must not do
    step = 1 if isinstance(objects, Folder) else 3  # a copy of the state in a bucket takes seconds
    arguments = [f"{objects.url}/template", f"{objects.url}/copies", str(tmp_path / "homes"), str(step)]
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.unit.inference.killing", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert finished.returncode == 0, finished.stderr
    points = [json.loads(line) for line in finished.stdout.splitlines()]
    *killed, to_the_end = points
    assert len(killed) > 40 / step
    assert {point["ended"] for point in killed} == {signal.SIGKILL}
    assert {tuple(point["after"]) for point in killed} == {(1,), (1, 2)}  # both were met
    assert {tuple(point["finally"]) for point in points} == {(1, 2)}
    assert (to_the_end["ended"], to_the_end["after"]) == (0, [1, 2])
