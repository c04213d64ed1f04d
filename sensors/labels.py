"""The labels of a predicted period are due: measure and decide."""

from itertools import takewhile

import dagster as dg

from mlops_assets.products.product import ModelProduct
from resources.platform import Platform
from sensors.arrivals import periods_to_label
from sensors.selections import MAX_PERIODS_PER_TICK, is_arriving, labelled, only_labels, request, was_asked

REMEMBERED = 100  # periods in the cursor; older ones are known by their runs


def build_labels_sensor(product: ModelProduct, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """A period is done once its decision is stored; a failed run is mended and executed again by people."""

    @dg.sensor(
        name=f"{product.name}_labels",
        asset_selection=dg.AssetSelection.assets(*labelled(product)),
        minimum_interval_seconds=5,
        default_status=status,
        description=f"Labels of {product.name} are due {product.label.delay.days} days after the period.",
    )
    def labels(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
        home = platform.open()
        now = home.clock.now()
        predicted = set(home.documents.keys(product.name, "data_drift"))
        done = set(home.documents.keys(product.name, "drift_decision"))
        done |= set(home.offline.keys(f"{product.name}/labels")) - predicted
        raw = set(home.offline.keys(f"{product.name}/raw"))
        # the cursor names periods, not the last one: a period whose rows were mended by hand comes back later
        remembered = [key for key in (context.cursor or "").split(",") if key]
        due = [key for key in periods_to_label(product, now, raw, done) if key not in remembered]
        waiting = [key for key in due if not was_asked(context.instance, product, key, "labels")]
        if not waiting:
            return dg.SkipReason(f"no labels are due at {now:%Y-%m-%d %H:%M}")
        # a daemon that catches up finds periods whose labels are due before they are predicted
        asked = list(takewhile(lambda key: not is_arriving(context.instance, product, key), waiting))
        asked = asked[:MAX_PERIODS_PER_TICK]
        if not asked:
            return dg.SkipReason(f"{waiting[0]} is still being predicted")
        requests = [
            request(
                context.instance,
                product,
                key,
                "labels",
                key,
                labelled(product) if key in predicted else only_labels(product),
            )
            for key in asked
        ]
        cursor = ",".join([*remembered, *asked][-REMEMBERED:])
        return dg.SensorResult(run_requests=[item for item in requests if item], cursor=cursor)

    return labels
