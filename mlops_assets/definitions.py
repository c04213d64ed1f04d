"""The Dagster code location: every product of the catalog, its assets, its sensors and schedule, and the resources they open."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import dagster as dg

import mlops_assets.own_names  # noqa: F401 (before what imports `resources`)
from mlops_assets.data.assets import build_data_assets
from mlops_assets.inference.assets import build_inference_assets
from mlops_assets.monitoring.assets import build_monitoring_assets
from mlops_assets.products.catalog import Broken, Catalog, catalog
from mlops_assets.products.product import ModelProduct
from mlops_assets.testing.assets import build_testing_assets
from mlops_assets.training.assets import build_training_assets
from resources.environments import Environment, read_environment
from resources.feature_engine import FeatureEngine
from resources.notifier import Notifier
from resources.platform import Platform
from resources.spark import Spark
from resources.tracking import Tracking
from sensors.approvals import build_approvals_sensor
from sensors.drift import build_drift_sensor
from sensors.failures import build_failure_sensor
from sensors.first_champion import build_first_champion_sensor
from sensors.labels import build_labels_sensor
from sensors.lost_runs import build_lost_runs_sensor
from sensors.new_data import build_new_data_sensor
from sensors.retention import build_retention_schedule

PIPELINES = (
    build_data_assets,
    build_training_assets,
    build_testing_assets,
    build_inference_assets,
    build_monitoring_assets,
)
SENSORS = (
    build_new_data_sensor,
    build_labels_sensor,
    build_first_champion_sensor,
    build_drift_sensor,
    build_approvals_sensor,
)

_log = logging.getLogger(__name__)


def build_definitions(
    environment: Environment,
    products: Sequence[ModelProduct] | None = None,
    replacements: Sequence[dg.AssetsDefinition] = (),
) -> dg.Definitions:
    """The definitions of these products in this environment.

    products: default to those of the catalog; its broken products are shown as assets.
    replacements: assets of your own that replace the generated ones of the same key."""
    collected = catalog() if products is None else Catalog(tuple(products))
    return definitions_of(
        collected, environment, resources_of(environment), replacements, executor=dg.in_process_executor
    )


def definitions_of(
    collected: Catalog,
    environment: Environment,
    resources: Mapping[str, dg.ConfigurableResource[Any]],
    replacements: Sequence[dg.AssetsDefinition] = (),
    executor: dg.ExecutorDefinition | None = None,
    prefix: str = "",
) -> dg.Definitions:
    """The definitions of one catalog. prefix: of the names of the sensors that watch all of its runs, for a code location
    with several catalogs."""
    products = collected.products
    for note in (note for product in products for note in product.notes(datetime.now(UTC))):
        _log.warning(note)
    replaced = {key for asset in replacements for key in asset.keys}
    generated = [asset for product in products for build in PIPELINES for asset in build(product)]

    def status(product: str) -> dg.DefaultSensorStatus:
        running = environment.starts_sensors_of(product)
        return dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED

    names = frozenset(product.name for product in products)
    shared_status = dg.DefaultSensorStatus.RUNNING if environment.sensors else dg.DefaultSensorStatus.STOPPED
    return dg.Definitions(
        assets=[
            *replacements,
            *(asset for asset in generated if not asset.keys & replaced),
            *broken_assets(collected.broken),
        ],
        sensors=[
            *(build(product, status(product.name)) for product in products for build in SENSORS),
            *([build_failure_sensor(shared_status, products, f"{prefix}failures")] if products else ()),
            *([build_lost_runs_sensor(shared_status, names, f"{prefix}lost_runs")] if products else ()),
        ],
        schedules=[build_retention_schedule(product, status(product.name)) for product in products],
        resources=resources,
        executor=executor,
    )


def resources_of(environment: Environment) -> dict[str, dg.ConfigurableResource[Any]]:
    """The resources of the assets and sensors, by the names of their parameters."""
    return {
        "platform": Platform.of(environment),
        "tracking": Tracking.of(environment),
        "notifier": Notifier.of(environment),
        "feature_engine": FeatureEngine.of(environment),
        "spark": Spark(master=environment.spark_master),
    }


def broken_assets(broken: Sequence[Broken]) -> Iterator[dg.AssetSpec]:
    """One asset for each product that cannot be used, with the reasons, in place of its assets."""
    sentences_by_name: dict[str, list[str]] = {}
    for each in broken:
        sentence = f"{each.place} cannot be used: {each.sentence}"
        _log.error(sentence)
        sentences_by_name.setdefault(each.name, []).append(sentence)
    for name, sentences in sentences_by_name.items():
        yield dg.AssetSpec(
            [name, "broken"],
            group_name="broken",
            description="\n\n".join(sentences),
            metadata={"reason": dg.MetadataValue.text("\n".join(sentences))},
            kinds={"broken"},
        )


@dg.definitions
@cache  # Dagster calls it several times
def defs() -> dg.Definitions:
    """Built only when Dagster loads this code location, not when a function of this file is imported."""
    return build_definitions(read_environment())
