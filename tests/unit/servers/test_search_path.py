"""Servers find what PYTHONPATH names, and nothing that lies by chance in the folder where they are started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_assets.servers.platform import Ports, server_environment
from mlops_assets.state.workspace import Workspace

DEFINITIONS = "import dagster as dg\ndefs = dg.Definitions()\n"


@pytest.mark.slow
def test_dagster_finds_a_code_location_in_the_only_folder_of_pythonpath(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    given, elsewhere = tmp_path / "given", tmp_path / "elsewhere"
    given.mkdir()
    elsewhere.mkdir()
    (given / "own_location.py").write_text(DEFINITIONS)
    monkeypatch.setenv("PYTHONPATH", str(given))
    workspace = Workspace(tmp_path / "home")
    workspace.dagster_home.mkdir(parents=True)

    loaded = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-m", "own_location"],
        env={**os.environ, **server_environment(workspace, Ports(1, 2, 3), "")},
        cwd=elsewhere,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert loaded.returncode == 0, loaded.stderr


def test_without_pythonpath_none_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)

    assert "PYTHONPATH" not in server_environment(Workspace(tmp_path), Ports(1, 2, 3), "")
