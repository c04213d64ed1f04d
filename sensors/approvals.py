"""A person answered a version that waits: take the answer up, and deploy what was approved."""

import dagster as dg

from mlops_assets.products.product import ModelProduct
from mlops_assets.records.acceptance import AcceptanceRecord, AcceptanceState
from resources.asset_parts import key_of
from resources.platform import Platform
from sensors.attempts import State
from sensors.runs import in_words, request, standing, unfinished_periods
from sensors.selections import answered

ANSWER = "answer"


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
        from mlops_assets.testing.run import accept_partition, open_partitions

        state, instance = platform.state_of(product), context.instance
        requests, said = [], []
        waiting = open_partitions(state)
        # a run that failed after it stored the acceptance leaves an approved version that is not deployed
        interrupted = unfinished_periods(instance, product, ANSWER)
        for key in sorted({*waiting, *interrupted}):
            record = accept_partition(state, key)
            if record.state is AcceptanceState.WAITING:
                said.append(f"version {record.version} {record.reason}")
            if record.state is waiting.get(key) or (key not in waiting and not record.accepted):
                continue
            what = f"{record.state}-{record.version}"
            found = standing(instance, state, key, what, gives_up=True)
            if found.state is not State.DUE:
                said.append(in_words(product, key, what, found))
                continue
            selection = answered(product) if record.accepted else [key_of(product, AcceptanceRecord.asset)]
            requests.append(request(instance, product, key, what, key, selection, kind=ANSWER))
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else dg.SkipReason("; ".join(said) or "no version waits for an answer"),
        )

    return approvals
