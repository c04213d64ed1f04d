"""The tutorial's code blocks are real: written to a folder as they stand, imported, and materialised."""

import importlib
import re
import runpy
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from mlops_assets import definitions
from mlops_assets.definitions import PIPELINES
from mlops_assets.errors import SourceError
from mlops_assets.features.build import build_features
from mlops_assets.products.candidates import Candidate
from mlops_assets.products.catalog import find_products
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from mlops_assets.state.workspace import Workspace
from mlops_assets.training.candidates import make_estimator
from mlops_assets.training.conversion import to_onnx
from resources.asset_parts import key_of
from resources.environments import read_environment

PAGE = Path(__file__).parents[2] / "docs" / "your_product.md"
TODAY = datetime(2026, 2, 9, tzinfo=UTC)
TUTORIAL = ("parcel_late", "parcel_views", "parcel_estimators", "parcel_assets")


def blocks() -> dict[str, str]:
    """Every Python block of the page by the path in its first line."""
    found = re.findall(
        r"^```python\n# (\S+\.py)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return dict(found)


@pytest.fixture
def tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder where the reader has followed the page; what is imported from it is forgotten afterwards."""
    for name, text in blocks().items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    finders = list(sys.meta_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    runpy.run_path("make_parcels.py")
    yield tmp_path
    sys.meta_path[:] = finders
    for name in TUTORIAL:
        sys.modules.pop(name, None)


def parcel_late() -> ModelProduct:
    """As every process finds it that is started in this folder."""
    return find_products({}, Path.cwd()).named("parcel_late")


def materialize(
    root: Path, assets: list[dg.AssetsDefinition], product: ModelProduct, names: list[str], key: str
) -> Any:
    Workspace(root / "home").replay_clock.set(TODAY)
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            assets,
            selection=[key_of(product, name) for name in names],
            instance=instance,
            partition_key=key,
            resources=definitions.build_definitions(read_environment(), [product]).resources or {},
        )


def stored_features(root: Path, product: ModelProduct) -> pl.DataFrame:
    return Workspace(root / "home").of(product).tables.read("features", ["2026-01-05"])


def data_assets(product: ModelProduct) -> list[dg.AssetsDefinition]:
    return PIPELINES[0](product)


def test_every_block_of_the_page_names_its_file():
    assert set(blocks()) == {
        "make_parcels.py",
        "products/parcel_late.py",
        "products/parcel_views.py",
        "products/parcel_estimators.py",
        "products/parcel_assets.py",
    }


@pytest.mark.usefixtures("tutorial")
def test_the_source_reads_one_period_and_says_which_file_is_missing():
    product = parcel_late()

    day, later = product.period.at("2026-01-05"), product.period.at("2026-03-01")

    assert product.source.read("parcels", day).collect().height == 80
    assert product.source.has_arrived(day, day.end)
    assert not product.source.has_arrived(day, day.end - timedelta(seconds=1))
    assert not product.source.has_arrived(later, later.end)
    with pytest.raises(SourceError, match=r"2026-03-01\.parquet is missing"):
        product.source.read("parcels", later)


@pytest.mark.usefixtures("tutorial")
def test_the_product_gets_the_assets_of_all_five_pipelines():
    product = parcel_late()

    names = {asset.key.path[-1] for build in PIPELINES for asset in build(product)}

    assert names == {
        *("raw", "labels", "features", "online_features"),
        *("experiment", "recipe", "training_set", "model"),
        *("test_report", "staging_report", "acceptance"),
        *("deployment", "predictions", "probation", "retention"),
        *("data_drift", "performance", "staleness", "drift_decision", "rework_brief", "backtest"),
    }


def test_a_period_is_materialised_through_the_data_pipeline(tutorial: Path):
    product = parcel_late()

    names = ["raw", "labels", "features", "online_features"]
    result = materialize(tutorial, data_assets(product), product, names, "2026-01-05")

    assert result.success
    features = stored_features(tutorial, product)
    assert features.columns == ["parcel", "accepted_at", "depot", "weight"]
    assert features.height == 80


@pytest.mark.usefixtures("tutorial")
def test_the_lookups_give_the_last_arrival_and_the_share_of_the_day_before():
    product = parcel_late()
    views = importlib.import_module("parcel_views")
    product = replace(product, features=(*product.features, views.depot_last, views.depot_lately))
    periods = [product.period.at(f"2026-01-{day:02}") for day in range(5, 11)]
    rows = product.source.read("parcels", periods[-1])
    parcels = pl.concat([product.source.read("parcels", period) for period in periods])
    features = build_features(product, rows, {"parcels": parcels})

    start, end = datetime(2026, 1, 9, tzinfo=UTC), datetime(2026, 1, 10, tzinfo=UTC)
    reported = parcels.filter(pl.col("depot") == "north", pl.col("reported_at") >= start, pl.col("reported_at") < end)
    by_hand = reported.select((pl.col("hours_taken") > 48).mean()).collect().item()
    found = features.filter(pl.col("depot") == "north")["depot_late_share"].unique().to_list()
    assert found == [pytest.approx(by_hand)]
    first = features.row(0, named=True)
    arrived = parcels.filter(
        pl.col("depot") == first["depot"],
        pl.col("reported_at") <= first["accepted_at"],
        pl.col("hours_taken").is_not_null(),
    )
    newest = arrived.sort("accepted_at").last().collect()
    assert first["depot_last_hours"] == newest["hours_taken"].item()


@pytest.mark.usefixtures("tutorial")
def test_the_own_estimator_is_made_by_its_name_and_becomes_onnx():
    parcel_late()  # from then on the folder is searched
    name = re.search(r'Candidate\("tree", "([\w.]+:\w+)"', PAGE.read_text(encoding="utf-8"))
    assert name is not None
    draw = np.random.default_rng(7)
    matrix = draw.normal(size=(50, 2)).astype(np.float32)

    tree = make_estimator(Candidate("tree", name[1], {"max_depth": 2}), Task.BINARY, (), 1, [name[1]])
    tree.fit(matrix, (matrix[:, 0] > 0).astype(np.float64))

    assert tree[-1].get_depth() <= 2  # type: ignore[index]
    assert len(to_onnx(tree, Task.BINARY, 2)) > 0


def test_a_generated_asset_is_replaced_as_the_page_says(tutorial: Path):
    product, own = parcel_late(), importlib.import_module("parcel_assets")
    assert "build_definitions(read_environment(), replacements=[parcel_features])" in PAGE.read_text(encoding="utf-8")

    replaced = definitions.build_definitions(read_environment(), [product], replacements=[own.parcel_features])

    dg.Definitions.validate_loadable(replaced)
    assets = [own.parcel_features, *(asset for asset in data_assets(product) if asset.key != own.parcel_features.key)]
    result = materialize(tutorial, assets, product, ["raw", "features"], "2026-01-05")
    assert result.success
    assert stored_features(tutorial, product)["weight"].max() <= 20
