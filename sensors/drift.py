"""Carries drift decisions out: a retraining partition, or the brief that sends a model back to development."""

import dagster as dg

from mlops_assets.errors import PartitionMissing
from mlops_assets.products.policy import Action
from mlops_assets.products.product import ModelProduct
from resources.asset_parts import key_of
from resources.platform import Platform
from sensors.selections import request, retraining


def build_drift_sensor(product: ModelProduct, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Reads every decision that was materialised since its cursor (`@asset_sensor` would see only the newest)."""
    watched = key_of(product, "drift_decision")
    brief = key_of(product, "rework_brief")

    @dg.sensor(
        name=f"{product.name}_drift",
        asset_selection=dg.AssetSelection.assets(*retraining(product), brief),
        minimum_interval_seconds=5,
        default_status=status,
        description=f"Watches {watched.to_user_string()}: retrain materialises the next partition, rework the brief.",
    )
    def drift(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
        from mlops_assets.monitoring.decision import Decision

        home = platform.open()
        after = int(context.cursor) if context.cursor else 0
        found = context.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=watched, after_storage_id=after), limit=100, ascending=True
        ).records
        if not found:
            return dg.SkipReason("no new decision")
        requests: list[dg.RunRequest | None] = []
        said = []
        decided_at = {str(record.partition_key): record.timestamp for record in found}
        for period, since in decided_at.items():
            try:
                decision = home.documents.load(product.name, "drift_decision", period, Decision)
            except PartitionMissing as error:
                said.append(str(error))  # reported by hand, or removed since: nothing to carry out
                continue
            following = product.period.shift(product.period.at(period), 1)
            if decision.action is Action.RETRAIN and not product.period.has(following):
                said.append(f"{period}: retrain, but {product.name} has no period {following.key}")
                continue
            said.append(f"{period}: {decision.action}")
            if decision.action is Action.RETRAIN:
                selection = retraining(product)
                requests.append(
                    request(context.instance, product, period, "retrain", following.key, selection, since=since)
                )
            elif decision.action is Action.REWORK:
                requests.append(request(context.instance, product, period, "rework", period, [brief], since=since))
        asked = [item for item in requests if item]
        cursor = str(found[-1].storage_id)
        return dg.SensorResult(
            run_requests=asked, cursor=cursor, skip_reason=None if asked else dg.SkipReason("; ".join(said))
        )

    return drift
