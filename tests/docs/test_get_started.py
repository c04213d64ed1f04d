"""The page is what a new user does: its script is run as it stands, its commands in a folder of their own."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "get_started.md").read_text(encoding="utf-8")
SCRIPT = re.search(r"^```python\n# make_customers\.py\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [shlex.split(line)[1:] for line in re.findall(r"^    (mlops .*)$", PAGE, re.MULTILINE)]


def mlops(*arguments: str) -> str:
    environment = {**os.environ, "MLOPS_PRODUCTS_DIR": "products", "MLOPS_PRODUCTS": "", "MLOPS_HOME": "home"}
    done = subprocess.run(
        [sys.executable, "-m", "mlops_assets.cli.command", *arguments], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_has_four_commands():
    assert [command[0] for command in COMMANDS] == ["new", "check", "replay", "up"]


@pytest.mark.slow
def test_from_the_script_to_a_champion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert SCRIPT is not None
    exec(compile(SCRIPT[1], "make_customers.py", "exec"), {})
    new, check, replay, _ = COMMANDS

    drafted = mlops(*new)
    checked = mlops(*check)
    replayed = mlops(*replay, "--until-champion")

    history = mlops("history", "churn")
    assert "products/churn.py is written" in drafted
    assert "the first champion needs 20, 20 more." in checked
    assert "first champion is version 1: all" in replayed
    assert history.count("gates") == 1  # one deployment, and why
    assert len((tmp_path / "products" / "churn.py").read_text().splitlines()) <= 40
