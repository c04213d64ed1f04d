"""A person answered a version that waits: take the answer up, and deploy what was approved."""

import dagster as dg

from mlops_assets.products.product import ModelProduct
from resources.asset_parts import key_of
from resources.platform import Platform
from sensors.selections import answered, request, was_asked


def build_approvals_sensor(product: ModelProduct, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Looks at the partitions whose acceptance waits. An answer that is not genuine, has ended or was given on other
    reports is no answer: the version goes on waiting, and the tick says why."""

    @dg.sensor(
        name=f"{product.name}_approvals",
        asset_selection=dg.AssetSelection.assets(*answered(product)),
        minimum_interval_seconds=5,
        default_status=status,
        description=f"Goes on once a person has answered a version of {product.name} that waits.",
    )
    def approvals(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
        from mlops_assets.testing.acceptance import AcceptanceState
        from mlops_assets.testing.run import accept_partition, open_partitions

        home = platform.open()
        asked, said = [], []
        for key, stored in open_partitions(product, home).items():
            record = accept_partition(product, home, key, platform.approval_key())
            if record.state is AcceptanceState.WAITING:
                said.append(f"version {record.version} {record.reason}")
            what = f"{record.state}-{record.version}"
            if record.state is not stored and not was_asked(context.instance, product, key, what):
                selection = answered(product) if record.accepted else [key_of(product, "acceptance")]
                asked.append(request(context.instance, product, key, what, key, selection))
        requests = [item for item in asked if item]
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else dg.SkipReason("; ".join(said) or "no version waits for an answer"),
        )

    return approvals
