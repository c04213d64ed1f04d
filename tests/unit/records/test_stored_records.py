"""Records: each kind belongs to one asset, and to know them loads none of the libraries that make them."""

import json
import pkgutil
import subprocess
import sys
from importlib import import_module

from mlops_assets import records
from mlops_assets.records.record import Record

HEAVY = ("numpy", "polars", "narwhals", "sklearn", "mlflow", "dagster")
MODULES = [f"{records.__name__}.{module.name}" for module in pkgutil.iter_modules(records.__path__)]


def every_kind() -> list[type[Record]]:
    for name in MODULES:
        import_module(name)
    return [kind for kind in Record.__subclasses__() if kind.__module__ in MODULES]  # tests declare others


def test_each_kind_of_record_has_an_asset_of_its_own():
    assets = [kind.asset for kind in every_kind()]

    assert len(assets) == 21
    assert len(set(assets)) == len(assets)


def test_no_field_of_a_record_is_called_schema_or_asset():
    """`schema` is written beside the fields, and would replace one of that name."""
    named = {kind.__name__ for kind in every_kind() if {"schema", "asset"} & set(kind.__struct_fields__)}

    assert named == set()


def test_records_load_without_the_libraries_of_the_pipelines():
    code = (
        f"import json, sys, {', '.join(MODULES)}; print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    )

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert json.loads(loaded.stdout) == []
