"""The page's blocks are real: files are written as they stand, commands run, arguments declared, and all of it materialised."""

import importlib
import os
import re
import runpy
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import numpy as np
import onnxruntime
import polars as pl
import pytest

import mlops_assets as ml
from mlops_assets import definitions
from mlops_assets.data.checking import check_product
from mlops_assets.features.build import build_features
from mlops_assets.features.validation import validate_product
from mlops_assets.products.catalog import find_products
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.workspace import Workspace
from mlops_assets.training.candidates import make_estimator
from mlops_assets.training.conversion import to_onnx
from resources.asset_parts import key_of
from resources.environments import read_environment

PAGE = (Path(__file__).parents[2] / "docs" / "your_product.md").read_text(encoding="utf-8")
TODAY = datetime(2025, 5, 26, tzinfo=UTC)
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
FILES = {found[1]: text for _, text in BLOCKS if (found := re.match(r"# (\S+\.(?:py|yaml))\n", text))}
ARGUMENTS = [text for _, text in BLOCKS if text not in FILES.values()]
COMMANDS = [shlex.split(line)[1:] for line in re.findall(r"^    (mlops .*)$", PAGE, re.MULTILINE)]
PRODUCT, ROOT = "products/parcel_late.py", Path(__file__).parents[2]
# they are made of the main table where they are left out
DERIVED = ("entity_key", "event_timestamp", "created_timestamp", "request", "owner", "description", "metric")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """One in which the reader has written every file of the page; what is imported from it is forgotten afterwards."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        written = text if name == "make_parcels.py" else text.partition("\n")[2]
        path.write_text(written, encoding="utf-8")
    finders, path_before = list(sys.meta_path), list(sys.path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLOPS_PRODUCTS", raising=False)
    monkeypatch.delenv("MLOPS_PRODUCTS_DIR", raising=False)
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    runpy.run_path("make_parcels.py")
    yield tmp_path
    sys.meta_path[:], sys.path[:] = finders, path_before
    for name in [Path(file).stem for file in FILES]:
        sys.modules.pop(name, None)


def drafted() -> ModelProduct:
    """As every process finds it that is started in this folder."""
    return find_products({}, Path.cwd()).named("parcel_late")


def edited() -> tuple[ModelProduct, list[dict[str, Any]]]:
    """The drafted product with every argument of the page, and what each block declares, in the order of the page."""
    product = drafted()
    names: dict[str, Any] = {**runpy.run_path(PRODUCT)}
    declared = {item.name: getattr(product, item.name) for item in fields(product) if item.init}
    declared = {name: value for name, value in declared.items() if name not in DERIVED}
    blocks = []
    for block in ARGUMENTS:
        before = dict(names)
        exec(block, names)
        changed = {name: value for name, value in names.items() if value is not before.get(name)}
        declared |= {name: value for name, value in changed.items() if name in declared}
        validate_product(ModelProduct(**declared))
        blocks.append(changed)
    return ModelProduct(**declared), blocks


def test_every_block_is_a_file_or_arguments_and_every_command_is_known():
    assert set(FILES) == {
        "make_parcels.py",
        PRODUCT,
        "products/parcel_views.py",
        "products/parcel_estimators.py",
        "products/parcel_assets.py",
        "workspace.yaml",
    }
    assert len(ARGUMENTS) == len(BLOCKS) - len(FILES) == 11
    assert [command[0] for command in COMMANDS] == ["new", "check", "replay", "up", "products"]


def run(*arguments: str) -> str:
    done = subprocess.run([*a_command(), *arguments], capture_output=True, text=True, env=an_environment(), timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def a_command() -> list[str]:
    return [sys.executable, "-m", "mlops_assets.cli.command"]


def an_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_the_commands_draft_the_file_of_the_page_and_serve_its_champion(folder: Path):
    for name in FILES:
        if name.startswith("products/"):
            (folder / name).unlink()
    new, check, replay, up, products = COMMANDS

    run(*new)
    assert (folder / PRODUCT).read_text() == FILES[PRODUCT].partition("\n")[2]
    assert "the first champion needs 14, 14 more" in run(*check)
    assert "parcel_late (binary" in run(*products)
    # how fast a busy machine answers is not what this page is about
    (folder / PRODUCT).write_text((folder / PRODUCT).read_text().replace("latency_p99(250)", "latency_p99(5_000)"))
    assert "first champion is version 1" in run(*replay)
    assert serves(up) == 1


def serves(up: list[str]) -> int:
    """The version that the API names while `mlops up` runs, which Ctrl-C then ends."""
    with subprocess.Popen([*a_command(), *up], stdout=subprocess.PIPE, text=True, env=an_environment()) as process:
        try:
            assert process.stdout is not None
            address = next(line.split()[1] for line in process.stdout if line.startswith("API"))
            # it is named before it answers: eight tries wait for a minute
            with httpx.Client(transport=httpx.HTTPTransport(retries=8), timeout=60) as client:
                answer = client.get(address.replace("/schema", "/v1/models/parcel_late"))
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=120)
    return int(answer.json()["version"]["version"])


@pytest.mark.usefixtures("folder")
def test_the_arguments_declare_a_product_that_the_data_keeps():
    product, _ = edited()

    checked = {item.what: item.seen for item in check_product(product, TODAY, "2025-05-12")}

    assert set(checked) == {"declaration", "source", "contract", "features", "label", "request"}
    assert checked["features"].startswith("40 rows with 7 features")
    assert [candidate.name for candidate in product.candidates] == ["linear", "shallow_tree", "HeavyIsLate"]
    assert len(product.gates) == 8
    assert (product.gaps, product.retries.missing, product.drift.max_age) == ("allow", "skip", ml.weeks(26))


@pytest.mark.usefixtures("folder")
def test_both_sources_read_the_rows_of_a_day():
    parcels = pl.read_parquet("data/parcels/*.parquet")
    texts = parcels.with_columns(pl.col("accepted_at", "reported_at").dt.strftime("%Y-%m-%dT%H:%M:%S%.fZ"))
    texts.write_database("parcels", "sqlite:///parcels.db", engine="adbc")
    _, blocks = edited()
    files, sql = (block["source"] for block in blocks[:2])
    day = ml.daily(start="2025-01-06").at("2025-01-07")

    for source in (files, sql):
        assert source.read("parcels", day).select("parcel").collect()["parcel"].to_list() == list(range(1_000, 1_040))
    assert not files.has_arrived(day, day.end)
    assert files.has_arrived(day, day.end + timedelta(hours=2))


def test_the_periods_have_the_keys_that_the_page_names():
    lines = re.findall(r"^(ml\.\w+\(.*\))  # (\S+)$", PAGE, re.MULTILINE)

    assert len(lines) == 5
    assert [eval(line, {"ml": ml}).first.key for line, _ in lines] == [key for _, key in lines]


@pytest.mark.usefixtures("folder")
def test_the_lookups_give_the_last_arrival_and_the_share_of_the_day_before():
    product, _ = edited()
    periods = [product.period.at(f"2025-01-{day:02}") for day in range(7, 13)]
    days = [product.source.read("parcels", period).collect() for period in periods]
    parcels = pl.concat(days).lazy()
    features = build_features(product, days[-1].lazy(), {"parcels": parcels})

    start, end = datetime(2025, 1, 11, tzinfo=UTC), datetime(2025, 1, 12, tzinfo=UTC)
    reported = parcels.filter(pl.col("depot") == "north", pl.col("reported_at") >= start, pl.col("reported_at") < end)
    by_hand = reported.select((pl.col("hours_taken") > 48).mean()).collect().item()
    found = features.filter(pl.col("depot") == "north")["depot_late_share"].unique().to_list()
    assert found == [pytest.approx(by_hand)]
    first = features.row(0, named=True)
    arrived = parcels.filter(pl.col("depot") == first["depot"], pl.col("reported_at") <= first["accepted_at"])
    assert first["depot_last_hours"] == arrived.sort("accepted_at").last().collect()["hours_taken"].item()
    assert first["weight_over_5"] == max(first["weight"] - 5, 0)


@pytest.mark.usefixtures("folder")
def test_the_own_estimators_become_onnx_that_says_the_same():
    product, _ = edited()
    draw = np.random.default_rng(7)
    matrix = draw.uniform(0, 12, (60, 2)).astype(np.float32)
    matrix[0, 1] = np.nan
    late = (matrix[:, 1] > 5).astype(np.float64)

    for candidate in product.candidates[1:]:
        fitted = make_estimator(candidate, product.task, (), 1, product.declared_estimators)
        fitted.fit(matrix, late)
        session = onnxruntime.InferenceSession(to_onnx(fitted, product.task, 2, candidate.to_onnx))
        (served,) = session.run(None, {session.get_inputs()[0].name: matrix})[-1:]
        assert np.asarray(served) == pytest.approx(fitted.predict_proba(matrix), abs=1e-6)

    rule = fitted  # heavier than 7 kg: 0.9; of the others, those above 5 kg were late
    assert rule.predict_proba(np.array([[0, 7.5]], dtype=np.float32))[0, 1] == pytest.approx(0.9)
    assert rule.usual_ == pytest.approx(np.mean(late[matrix[:, 1] <= 7]))


def materialize(root: Path, assets: list[dg.AssetsDefinition], names: list[str], key: str) -> Any:
    Workspace(root / "home").replay_clock.set(TODAY)
    product = drafted()
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            assets,
            selection=[key_of(product, name) for name in names],
            instance=instance,
            partition_key=key,
            resources=definitions.build_definitions(read_environment(), [product]).resources or {},
        )


def test_the_own_assets_stand_beside_and_in_place_of_the_generated_ones(folder: Path):
    product = drafted()
    own = importlib.import_module("parcel_assets")
    generated = [asset for build in definitions.PIPELINES for asset in build(product)]
    others = [asset for asset in generated if asset.key != own.parcel_features.key]

    dg.Definitions.validate_loadable(own.defs)
    assets = [*others, own.parcel_features, own.depot_load]
    result = materialize(folder, assets, ["raw", "features", "depot_load"], "2025-01-06")

    assert result.success
    week = pl.concat(pl.read_parquet(f"data/parcels/2025-01-{day:02}.parquet") for day in range(6, 13))
    capped = week.with_columns(pl.col("weight").clip(upper_bound=20))
    stored = Workspace(folder / "home").of(product).tables.read("features", ["2025-01-06"])
    assert stored["weight"].to_list() == capped["weight"].to_list()
    (load,) = result.asset_materializations_for_node("parcel_late__depot_load")
    north = capped.filter(pl.col("depot") == "north")["weight"].sum()
    assert load.metadata["north (kg)"].value == pytest.approx(north)


@pytest.mark.slow
def test_dagster_loads_the_own_assets_by_the_workspace_file_of_the_page(folder: Path):
    dagster = Path(sys.executable).with_name("dagster")
    command = [dagster, "definitions", "validate", "-w", "workspace.yaml"]

    done = subprocess.run(command, cwd=folder, env=an_environment(), capture_output=True, text=True, timeout=280)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("folder")
def test_the_generated_file_s_own_features_and_the_replaced_ones_have_the_same_columns():
    product = drafted()

    features = build_features(
        product, product.source.read("parcels", product.period.first), {"parcels": pl.LazyFrame()}
    )

    assert features.columns == ["parcel", "accepted_at", "depot", "weight", "hour", "weekday"]
