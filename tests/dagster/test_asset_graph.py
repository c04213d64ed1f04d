"""The asset graph as people see it: reviewed as text, and complete for every product."""

import os
from datetime import datetime
from pathlib import Path

import dagster as dg
import pytest

from examples.flights.catalog import CATALOG
from mlops_assets.definitions import build_definitions
from mlops_assets.products.catalog import product_named
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.workspace import Workspace
from resources.asset_parts import key_of
from tests.dagster.builders import an_environment

SNAPSHOT = Path(__file__).parent / "snapshots" / "asset_graph.txt"
RENEW = "MLOPS_RENEW_SNAPSHOTS=1 .venv/bin/python -m pytest tests/dagster/test_asset_graph.py"

PIPELINES = {
    "data": {"raw", "labels", "features", "online_features"},
    "training": {"experiment", "recipe", "training_set", "model"},
    "testing": {"test_report", "staging_report", "acceptance"},
    "inference": {"deployment", "predictions", "probation", "retention"},
    "monitoring": {"data_drift", "performance", "staleness", "drift_decision", "rework_brief", "backtest"},
}
UNPARTITIONED = {"experiment", "recipe", "backtest", "retention"}


@pytest.fixture(scope="module")
def specs() -> dict[dg.AssetKey, dg.AssetSpec]:
    return specs_of(build_definitions(an_environment(Workspace(Path("/nowhere")))))


def specs_of(definitions: dg.Definitions) -> dict[dg.AssetKey, dg.AssetSpec]:
    return {spec.key: spec for spec in definitions.resolve_all_asset_specs()}


def test_every_asset_is_as_it_was_reviewed():
    definitions = build_definitions(an_environment(Workspace(Path("/nowhere"))))

    graph = describe(definitions)

    if os.environ.get("MLOPS_RENEW_SNAPSHOTS"):
        SNAPSHOT.write_text(graph)
    assert graph == SNAPSHOT.read_text(), f"the asset graph changed. Where that is meant, renew the snapshot: {RENEW}"


@pytest.mark.parametrize("product", CATALOG, ids=lambda product: product.name)
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_product_has_every_asset_of_each_pipeline(
    specs: dict[dg.AssetKey, dg.AssetSpec], product: ModelProduct, pipeline: str
):
    of_pipeline = {
        key.path[-1]
        for key, spec in specs.items()
        if spec.tags["product"] == product.name and spec.tags["pipeline"] == pipeline
    }

    side_tables = {table.name for table in product.source.side_tables} if pipeline == "data" else set()
    assert of_pipeline == PIPELINES[pipeline] | side_tables


@pytest.mark.parametrize("product", CATALOG, ids=lambda product: product.name)
def test_model_assets_and_data_assets_share_the_periods_of_the_product(
    specs: dict[dg.AssetKey, dg.AssetSpec], product: ModelProduct
):
    of_product = [spec for key, spec in specs.items() if key.path[0] == product.name]

    partitioned = [spec for spec in of_product if spec.key.path[-1] not in UNPARTITIONED]
    unpartitioned = [spec for spec in of_product if spec.key.path[-1] in UNPARTITIONED]

    assert len({spec.partitions_def for spec in partitioned}) == 1
    assert [spec.partitions_def for spec in unpartitioned] == [None] * len(UNPARTITIONED)


@pytest.mark.parametrize("product", CATALOG, ids=lambda product: product.name)
def test_partition_keys_are_the_keys_of_the_periods(specs: dict[dg.AssetKey, dg.AssetSpec], product: ModelProduct):
    partitions = specs[key_of(product, "raw")].partitions_def
    assert partitions is not None

    keys = partitions.get_partition_keys()

    # 2013 from its first Monday's week on: 52 weeks
    assert (keys[0], keys[-1], len(keys)) == ("2012-12-31", "2013-12-23", 52)
    assert keys == [period.key for period in product.period.ended_by(product.period.end)]  # type: ignore[arg-type]


@pytest.mark.parametrize("upstream", ["features", "labels"])
def test_a_training_set_is_made_of_the_sixteen_weeks_before_its_key(
    specs: dict[dg.AssetKey, dg.AssetSpec], upstream: str
):
    product = product_named("flight_delay")

    mapped = upstream_keys(specs[key_of(product, "training_set")], key_of(product, upstream), "2013-07-01")

    march = ["2013-03-11", "2013-03-18", "2013-03-25"]
    april = ["2013-04-01", "2013-04-08", "2013-04-15", "2013-04-22", "2013-04-29"]
    may = ["2013-05-06", "2013-05-13", "2013-05-20", "2013-05-27"]
    june = ["2013-06-03", "2013-06-10", "2013-06-17", "2013-06-24"]
    assert mapped == march + april + may + june


def test_features_are_made_of_their_own_week_and_the_nine_days_before(specs: dict[dg.AssetKey, dg.AssetSpec]):
    product = product_named("flight_delay")

    mapped = upstream_keys(specs[key_of(product, "features")], key_of(product, "raw"), "2013-07-01")

    assert mapped == ["2013-06-17", "2013-06-24", "2013-07-01"]


def test_the_first_week_needs_no_week_before_it(specs: dict[dg.AssetKey, dg.AssetSpec]):
    product = product_named("flight_delay")

    mapped = upstream_keys(specs[key_of(product, "features")], key_of(product, "raw"), "2012-12-31")

    assert mapped == ["2012-12-31"]


def test_monitoring_never_leads_back_to_training_by_an_edge(specs: dict[dg.AssetKey, dg.AssetSpec]):
    monitoring = {key for key, spec in specs.items() if spec.tags["pipeline"] == "monitoring"}

    readers = {key for key, spec in specs.items() if any(dep.asset_key in monitoring for dep in spec.deps)}

    assert readers <= monitoring


def upstream_keys(spec: dg.AssetSpec, upstream: dg.AssetKey, key: str) -> list[str]:
    """Partition keys of `upstream` that the real mapping of `spec` leads to."""
    mapping = next(dep.partition_mapping for dep in spec.deps if dep.asset_key == upstream)
    assert spec.partitions_def is not None
    assert mapping is not None
    found = mapping.get_upstream_mapped_partitions_result_for_partitions(
        spec.partitions_def.subset_with_partition_keys([key]),
        spec.partitions_def,
        spec.partitions_def,
        current_time=datetime(2014, 6, 1),
    )
    return sorted(found.partitions_subset.get_partition_keys())


def describe(definitions: dg.Definitions) -> str:
    """Every asset, one block each, in the order of keys."""
    specs = specs_of(definitions)
    checks: dict[dg.AssetKey, list[str]] = {}
    for definition in definitions.resolve_asset_graph().assets_defs:
        for check in definition.check_specs:
            checks.setdefault(check.asset_key, []).append(check.name + (" (blocking)" if check.blocking else ""))
    return "\n".join(_block(specs[key], sorted(checks.get(key, []))) for key in sorted(specs))


def _block(spec: dg.AssetSpec, checks: list[str]) -> str:
    references = spec.metadata["dagster/code_references"].code_references
    files = [f"{item.label} {Path(item.file_path).relative_to(Path.cwd())}" for item in references]
    first_line = (spec.description or "").strip().splitlines()
    lines = [
        spec.key.to_user_string(),
        f"  {first_line[0] if first_line else 'NO DESCRIPTION'}",
        f"  group: {spec.group_name}",
        f"  kinds: {', '.join(sorted(spec.kinds)) or 'NONE'}",
        f"  owners: {', '.join(spec.owners) or 'NONE'}",
        f"  tags: {', '.join(f'{k}={v}' for k, v in sorted(spec.tags.items()) if not k.startswith('dagster/kind'))}",
        f"  partitions: {_partitions(spec.partitions_def)}",
        *(f"  from {dep.asset_key.to_user_string()}{_mapping(dep)}" for dep in sorted(spec.deps, key=_key_of_dep)),
        *(f"  check: {name}" for name in checks),
        *(f"  code: {name}" for name in files),
    ]
    return "\n".join(lines) + "\n"


def _key_of_dep(dep: dg.AssetDep) -> dg.AssetKey:
    return dep.asset_key


def _partitions(partitions: dg.PartitionsDefinition | None) -> str:
    if partitions is None:
        return "none"
    keys = partitions.get_partition_keys()
    return f"{type(partitions).__name__}, {len(keys)} from {keys[0]} to {keys[-1]}"


def _mapping(dep: dg.AssetDep) -> str:
    if dep.partition_mapping is None:
        return ""
    assert isinstance(dep.partition_mapping, dg.TimeWindowPartitionMapping)
    return f", partitions {dep.partition_mapping.start_offset:+d} to {dep.partition_mapping.end_offset:+d}"
