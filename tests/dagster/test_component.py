"""A Dagster user's own project, made and driven by the real `create-dagster` and `dg`, with our component in it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.definitions import PIPELINES
from mlops_assets.products.catalog import VARIABLES
from mlops_assets.state.workspace import Workspace

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# `dg` neither asks the internet for newer releases nor reports home
QUIET = '[cli]\nsuppress_warnings = ["create_dagster_outdated"]\n[cli.telemetry]\nenabled = false\n'
DELAYS = """
from dataclasses import replace

from examples.flights.flight_delay import flight_delay

delays = replace(flight_delay, name="delays")
CATALOG = [delays]
"""
WEEK = "2013-01-07"


class Project:
    """Made by `create-dagster`, with the source folder on the path in place of an installation."""

    def __init__(self, root: Path) -> None:
        self.root, self.config = root / "shop", root / "quiet.toml"
        self.config.write_text(QUIET)
        self.workspace = Workspace(root / "home")

    def run(self, program: str, *arguments: str) -> str:
        environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        done = subprocess.run(
            [str(Path(sys.executable).with_name(program)), *arguments],
            cwd=self.root if self.root.exists() else self.root.parent,
            env={
                **environment,
                "DG_CLI_CONFIG": str(self.config),
                "MLOPS_HOME": str(self.workspace.home),
                "PYTHONPATH": os.pathsep.join([str(self.root / "src"), str(ROOT)]),
                "PYTHONWARNINGS": "ignore",
            },
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    it = Project(tmp_path_factory.mktemp("dg"))
    it.run("create-dagster", "project", "shop", "--no-uv-sync")
    (it.root / "products").mkdir()
    (it.root / "products" / "delays.py").write_text(DELAYS)
    (it.root / "products" / "half.py").write_text(
        "from mlops_assets.products.product import ModelProduct\n\nchurn = (\n"
    )
    it.run("dg", "scaffold", "defs", "mlops_assets.ModelProductComponent", "delays")
    it.run("dg", "scaffold", "defs", "mlops_assets.ModelProductComponent", "churn", "--file", "products/half.py")
    return it


def test_scaffolding_points_to_the_product_file(project: Project):
    written = [project.root / "src" / "shop" / "defs" / name / "defs.yaml" for name in ("delays", "churn")]

    assert [file.read_text().split() for file in written] == [
        ["type:", "mlops_assets.ModelProductComponent", "attributes:", "file:", "products/delays.py"],
        ["type:", "mlops_assets.ModelProductComponent", "attributes:", "file:", "products/half.py"],
    ]


def test_the_project_holds_the_assets_sensors_schedule_and_resources_of_the_product(project: Project):
    listed = json.loads(project.run("dg", "list", "defs", "--json"))

    of_flights = [asset.key.path[-1] for build in PIPELINES for asset in build(flight_delay)]
    assets = {asset["asset_key"]: asset for asset in listed["assets"]}
    assert set(assets) == {*(f"delays/{name}" for name in of_flights), "half/broken"}
    assert assets["half/broken"]["description"] == (
        "products/half.py cannot be used: SyntaxError: '(' was never closed (line 3 of products/half.py)."
    )
    sensors = ("new_data", "labels", "first_champion", "drift", "approvals", "failures", "lost_runs")
    assert {sensor["name"] for sensor in listed["sensors"]} == {f"delays_{name}" for name in sensors}
    assert [schedule["name"] for schedule in listed["schedules"]] == ["delays_retention"]
    assert {resource["name"] for resource in listed["resources"]} >= {"platform", "tracking", "notifier"}


def test_an_asset_of_the_product_is_materialised_by_dg(project: Project):
    project.run("dg", "launch", "--assets", 'key:"delays/raw"', "--partition", WEEK)

    assert project.workspace.of(replace(flight_delay, name="delays")).tables.keys("raw") == [WEEK]
