"""The labels of a predicted period are due: measure and decide."""

import dagster as dg

from mlops_assets.products.product import ModelProduct
from resources.platform import Platform
from sensors.arrivals import periods_to_label
from sensors.selections import labelled, only_labels, remember, remembered, request, under_way, was_asked


def build_labels_sensor(product: ModelProduct, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """One period at a time, oldest first. It is done once its decision is stored; a failed run is mended and executed
    again by people."""

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
        names = remembered(context.cursor)
        waiting = []
        for key in periods_to_label(product, now, raw, done):
            what = "labels" if key in predicted else "only_labels"
            if f"{key}:{what}" not in names and not was_asked(context.instance, product, key, what):
                waiting.append((key, what))
        if not waiting:
            return dg.SkipReason(f"no labels are due at {now:%Y-%m-%d %H:%M}")
        # a decision looks back to the one before, and labels come after the predictions they judge
        for kind in ("arrival", "labels", "only_labels"):
            if cause := under_way(context.instance, product, kind):
                return dg.SkipReason(f"{len(waiting)} periods wait for the run of {cause}")
        key, what = waiting[0]
        selection = labelled(product) if what == "labels" else only_labels(product)
        asked = request(context.instance, product, key, what, key, selection)
        return dg.SensorResult(run_requests=[asked] if asked else [], cursor=remember(names, f"{key}:{what}"))

    return labels
