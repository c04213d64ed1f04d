"""A product file has one import line, and importing the package stays light."""

import json
import subprocess
import sys

import pytest

import mlops_assets

HEAVY = ("narwhals", "polars", "numpy", "dagster", "mlflow", "sklearn", "lightgbm", "pyarrow", "msgspec")


@pytest.mark.parametrize("name", mlops_assets.__all__)
def test_every_public_name_is_there(name: str):
    assert getattr(mlops_assets, name) is not None
    assert name in dir(mlops_assets)


def test_importing_the_package_loads_nothing_else():
    # what `python` itself loads is not counted
    asked = "import json, sys; before = set(sys.modules); import mlops_assets; print(json.dumps(sorted(set(sys.modules) - before)))"

    loaded = json.loads(subprocess.run([sys.executable, "-c", asked], capture_output=True, check=True).stdout)

    assert not {name.partition(".")[0] for name in loaded} & set(HEAVY)
    assert [name for name in loaded if name.startswith("mlops_assets")] == ["mlops_assets"]


def test_a_product_file_of_public_names_loads_no_heavy_module():
    of_dagster = {"ModelProductComponent"}
    names = ", ".join(name for name in mlops_assets.__all__ if name not in of_dagster)
    asked = f"import json, sys; from mlops_assets import {names}; print(json.dumps(sorted(sys.modules)))"

    loaded = json.loads(subprocess.run([sys.executable, "-c", asked], capture_output=True, check=True).stdout)

    assert not set(loaded) & {"polars", "sklearn", "mlflow", "lightgbm", "dagster", "pyarrow"}


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'mlops_assets' has no attribute 'Colum'"):
        _ = mlops_assets.Colum
