"""A period arrived: materialise it."""

import dagster as dg

from mlops_assets.products.product import ModelProduct
from resources.platform import Platform
from sensors.arrivals import periods_to_ingest
from sensors.selections import arrival, first_arrival, remember, remembered, request, under_way, was_asked


def build_new_data_sensor(product: ModelProduct, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """One period at a time, oldest first: its features look back to the period before. Cursor and runs say what was
    asked; a failed run is mended and executed again by people."""

    @dg.sensor(
        name=f"{product.name}_new_data",
        asset_selection=dg.AssetSelection.assets(*arrival(product)),
        minimum_interval_seconds=5,
        default_status=status,
        description=f"Asks the source of {product.name} whether a period is complete, and materialises it.",
    )
    def new_data(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
        home = platform.open()
        now = home.clock.now()
        names = remembered(context.cursor)
        stored = home.offline.keys(f"{product.name}/raw")
        arrived = [key for key in periods_to_ingest(product, now, stored) if key not in names]
        waiting = [key for key in arrived if not was_asked(context.instance, product, key, "arrival")]
        if not waiting:
            return dg.SkipReason(f"no new period at {now:%Y-%m-%d %H:%M}; {len(stored)} are stored")
        if cause := under_way(context.instance, product, "arrival"):
            return dg.SkipReason(f"{len(waiting)} periods wait for the run of {cause}")
        key = waiting[0]
        champion = home.ledger.champion_at(product.name, product.period.at(key).end)
        selection = arrival(product) if champion else first_arrival(product)
        asked = request(context.instance, product, key, "arrival", key, selection)
        return dg.SensorResult(run_requests=[asked] if asked else [], cursor=remember(names, key))

    return new_data
