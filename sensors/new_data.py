"""A period arrived: materialise it."""

import dagster as dg

from mlops_assets.products.product import ModelProduct
from resources.platform import Platform
from sensors.arrivals import periods_to_ingest
from sensors.selections import MAX_PERIODS_PER_TICK, arrival, first_arrival, request


def build_new_data_sensor(product: ModelProduct, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """The cursor is the last period asked for; run keys hold back what a lost cursor would repeat."""

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
        cursor = context.cursor or ""
        stored = home.offline.keys(f"{product.name}/raw")
        waiting = periods_to_ingest(product, now, stored, cursor)
        if not waiting:
            return dg.SkipReason(f"no new period at {now:%Y-%m-%d %H:%M}; {len(stored)} are stored")
        asked = waiting[:MAX_PERIODS_PER_TICK]
        requests = []
        for key in asked:
            champion = home.ledger.champion_at(product.name, product.period.at(key).end)
            selection = arrival(product) if champion else first_arrival(product)
            requests.append(request(context.instance, product, key, "arrival", key, selection))
        return dg.SensorResult(run_requests=[item for item in requests if item], cursor=asked[-1])

    return new_data
