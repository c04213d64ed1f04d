"""The wheel in a project that is not ours: its own folders `resources`, `sensors` and `serving`, its products, one of them broken."""

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import pytest

from mlops_assets.products.catalog import VARIABLES

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CHURN = """
from dataclasses import replace

import parcels

churn = replace(parcels.parcel_delay, name="churn")
CATALOG = [churn]
"""
BROKEN = "from mlops_assets.products.product import ModelProduct\n\nModelProduct(name='returns')\n"
THEIRS = "raise RuntimeError('this is the folder of the user, and nobody asked for it')\n"
# a process that looks at the code location as Dagster's code server does
LOOKING = """
import json

from dagster import AssetKey
from mlops_assets.definitions import defs

specs = {spec.key.to_user_string(): spec for spec in defs().resolve_all_asset_specs()}
print(json.dumps({
    "groups": sorted({spec.group_name for spec in specs.values()}),
    "broken": specs["returns/broken"].description,
    "raw": [item.file_path for item in specs["churn/raw"].metadata["dagster/code_references"].code_references],
}))
"""
SERVING = """
from serving.app import create_app
from serving.settings import from_environment

paths = [route.path for route in create_app(from_environment()).routes]
print(sorted(path for path in paths if path.endswith("/predict") and "{" not in path))
"""


class Installed:
    """A project with a virtual environment in which only the wheel is installed; what it depends on is looked up in ours."""

    def __init__(self, root: Path) -> None:
        self.root, self.python = root / "project", root / "venv" / "bin" / "python"
        self.site = root / "venv" / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"

    def run(self, *command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """In the project, as somebody who never heard of our repository."""
        environment = {key: value for key, value in os.environ.items() if key not in (*VARIABLES, "PYTHONPATH")}
        return subprocess.run(
            [str(self.python.with_name(command[0])), *command[1:]],
            cwd=self.root,
            env={**environment, "MLOPS_HOME": str(self.root / "home"), "PYTHONWARNINGS": "ignore", **variables},
            capture_output=True,
            text=True,
            timeout=240,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    root = tmp_path_factory.mktemp("installed")
    it = Installed(root)
    quietly([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(root)], cwd=ROOT)
    quietly([sys.executable, "-m", "venv", "--without-pip", str(root / "venv")])
    (wheel,) = root.glob("*.whl")
    quietly([sys.executable, "-m", "pip", "--python", str(it.python), "install", "--no-deps", "--no-index", str(wheel)])
    # not as a folder of packages but as a plain entry of the path, so that our own editable installation is not seen
    (it.site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")

    for name in ("resources", "sensors", "serving"):
        (it.root / name).mkdir(parents=True)
        (it.root / name / "__init__.py").write_text(THEIRS)
    (it.root / "products").mkdir()
    declared = (ROOT / "benchmarks" / "unattended_parts" / "parcel_delay.py").read_text()
    (it.root / "products" / "parcels.py").write_text(declared)
    (it.root / "products" / "churn.py").write_text(CHURN)
    (it.root / "products" / "returns.py").write_text(BROKEN)
    return it


def quietly(command: Sequence[str], cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_is_what_is_tested(installed: Installed):
    done = installed.run(
        "python", "-P", "-c", "import mlops_assets, resources; print(mlops_assets.__file__, resources.__file__)"
    )

    assert done.stdout.split() == [f"{installed.site}/{name}/__init__.py" for name in ("mlops_assets", "resources")]


def test_mlops_products_lists_the_products_of_the_project_and_fails_for_the_broken_one(installed: Installed):
    done = installed.run("mlops", "products")

    assert done.returncode == 1, done.stderr
    assert "churn (binary" in done.stdout
    assert "products/returns.py: TypeError: ModelProduct.__init__() missing" in done.stdout
    assert done.stderr == ""


def test_another_folder_may_be_named(installed: Installed):
    done = installed.run("mlops", "products", "--products", "resources")

    assert done.returncode == 1
    assert (
        f"There is no product. Products are searched in {installed.root}/resources, in MLOPS_PRODUCTS and"
        in done.stdout
    )


@pytest.mark.parametrize("start", [("python", "-m", "mlops_assets.cli.command"), ("mlops",)], ids=["module", "script"])
def test_a_command_does_not_take_the_folders_of_the_project_for_ours(installed: Installed, start: Sequence[str]):
    done = installed.run(*start, "history", "churn")

    assert done.returncode == 1
    assert "there is no state at" in done.stderr  # it came so far with our own `resources`


def test_the_code_location_loads_and_shows_the_broken_product_with_its_sentence(installed: Installed):
    validated = installed.run("python", "-m", "dagster", "definitions", "validate", "-m", "mlops_assets.definitions")
    looked = installed.run("python", "-c", LOOKING)

    assert validated.returncode == 0, validated.stdout + validated.stderr
    assert looked.returncode == 0, looked.stderr
    seen = json.loads(looked.stdout.splitlines()[-1])
    pipelines = ("data", "inference", "monitoring", "testing", "training")
    of_products = [f"{product}_{pipeline}" for product in ("churn", "parcel_delay") for pipeline in pipelines]
    assert seen["groups"] == sorted(["broken", *of_products])
    assert seen["broken"].startswith("products/returns.py cannot be used: TypeError: ModelProduct.__init__() missing")
    assert seen["raw"] == [
        f"{installed.site}/mlops_assets/data/assets.py",
        f"{installed.root}/products/churn.py",
    ]


def test_a_folder_of_pythonpath_hides_none_of_ours(installed: Installed):
    other = installed.root.parent / "other"
    (other / "resources").mkdir(parents=True)
    (other / "resources" / "__init__.py").write_text(THEIRS)

    done = installed.run("mlops", "history", "churn", PYTHONPATH=str(other))

    assert "there is no state at" in done.stderr  # it came so far with our own `resources`


def test_the_api_serves_the_products_that_are_well_and_logs_the_other(installed: Installed):
    done = installed.run("python", "-P", "-c", SERVING)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "['/v1/models/churn/predict', '/v1/models/parcel_delay/predict']"
    assert "products/returns.py is not served: TypeError: ModelProduct.__init__() missing" in done.stderr
