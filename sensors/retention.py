"""Every night: remove what a product has kept for long enough."""

import dagster as dg

from mlops_assets.inference.assets import RETENTION
from mlops_assets.products.product import ModelProduct
from resources.asset_parts import key_of

NIGHTLY = "30 3 * * *"


def build_retention_schedule(product: ModelProduct, status: dg.DefaultSensorStatus) -> dg.ScheduleDefinition:
    """status: as that of the product's sensors, since both belong to a loop that goes on by itself."""
    is_running = status is dg.DefaultSensorStatus.RUNNING
    return dg.ScheduleDefinition(
        name=f"{product.name}_retention",
        target=dg.AssetSelection.assets(key_of(product, RETENTION)),
        cron_schedule=NIGHTLY,
        tags={"product": product.name},
        default_status=dg.DefaultScheduleStatus.RUNNING if is_running else dg.DefaultScheduleStatus.STOPPED,
        description=f"Removes what {product.name} has kept for long enough (`keep` of the product, MLOPS_KEEP).",
    )
