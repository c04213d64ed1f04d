"""The code location loads fast, loads everywhere, and is found through `workspace.yaml`."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# each takes seconds to import, which every launched run would pay
HEAVY = ("mlflow", "sklearn", "evidently", "pyspark", "polars", "dataframely", "lightgbm", "skl2onnx", "matplotlib")

LOADED = "import json, sys; from mlops_assets.definitions import defs; defs(); print(json.dumps(sorted(sys.modules)))"
CODE_VERSIONS = """
import json
from mlops_assets.definitions import defs
print(json.dumps({spec.key.to_user_string(): spec.code_version for spec in defs().resolve_all_asset_specs()}))
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Modules of a new process that loaded the definitions."""
    return set(json.loads(run(["-c", LOADED], tmp_path_factory.mktemp("home")).stdout))


@pytest.mark.parametrize("module", HEAVY)
def test_loading_the_definitions_does_not_import(loaded: set[str], module: str):
    assert module not in loaded


def test_loading_the_definitions_writes_nothing(tmp_path: Path):
    run(["-c", LOADED], tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_loading_the_definitions_warns_of_nothing(tmp_path: Path):
    assert "Warning" not in run(["-c", LOADED], tmp_path).stderr


def test_code_versions_are_the_same_in_every_process(tmp_path: Path):
    first, second = (json.loads(run(["-c", CODE_VERSIONS], tmp_path, PYTHONHASHSEED=seed).stdout) for seed in "12")

    assert first == second


def test_dagster_validates_the_workspace(tmp_path: Path):
    validated = run(["-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"], tmp_path)

    assert "All code locations passed validation" in validated.stderr + validated.stdout


def test_the_project_file_does_not_hide_the_workspace_from_dagster():
    # the CLI prefers a [tool.dagster] table to workspace.yaml
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]

    assert "dagster" not in tools


def run(arguments: list[str], home: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """This Python in the project's folder; a failure is shown with what it said."""
    variables = {**os.environ, "MLOPS_HOME": str(home), **environment}
    finished = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    return finished
