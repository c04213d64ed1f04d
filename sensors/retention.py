"""The nightly schedule that removes objects older than the product's retention times."""

import dagster as dg

from mlops_assets.inference.assets import RETENTION
from mlops_assets.products.product import ModelProduct
from resources.asset_parts import key_of

NIGHTLY = "30 3 * * *"


def build_retention_schedule(product: ModelProduct, status: dg.DefaultSensorStatus) -> dg.ScheduleDefinition:
    """status: the same as for the product's sensors, because both are parts of the loop."""
    is_running = status is dg.DefaultSensorStatus.RUNNING
    return dg.ScheduleDefinition(
        name=f"{product.name}_retention",
        target=dg.AssetSelection.assets(key_of(product, RETENTION)),
        cron_schedule=NIGHTLY,
        tags={"product": product.name},
        default_status=dg.DefaultScheduleStatus.RUNNING if is_running else dg.DefaultScheduleStatus.STOPPED,
        description=f"Removes expired objects of {product.name} (`keep` of the product, MLOPS_KEEP).",
    )
