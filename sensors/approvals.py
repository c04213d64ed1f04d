"""The approvals sensor: stores a person's answer to a waiting version, and deploys approved versions."""

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
    """Checks the partitions whose acceptance waits. An answer that is not genuine, has expired or was given on other reports
    is ignored: the version continues to wait, and the tick says why."""

    @dg.sensor(
        name=f"{product.name}_approvals",
        asset_selection=dg.AssetSelection.assets(*answered(product)),
        minimum_interval_seconds=5,
        default_status=status,
        description=f"Continues once a person has answered a waiting version of {product.name}.",
    )
    def approvals(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
        from mlops_assets.testing.run import accept_partition, open_partitions

        state, instance = platform.state_of(product), context.instance
        requests, reasons = [], []
        waiting = open_partitions(state)
        # after a run that failed once the acceptance was stored, an approved version is not deployed
        interrupted = unfinished_periods(instance, product, ANSWER)
        for key in sorted({*waiting, *interrupted}):
            record = accept_partition(state, key)
            if record.state is AcceptanceState.WAITING:
                reasons.append(f"version {record.version} {record.reason}")
            if record.state is waiting.get(key) or (key not in waiting and not record.accepted):
                continue
            what = f"{record.state}-{record.version}"
            status_of_run = standing(instance, state, key, what, gives_up=True)
            if status_of_run.state is not State.DUE:
                reasons.append(in_words(product, key, what, status_of_run))
                continue
            selection = answered(product) if record.accepted else [key_of(product, AcceptanceRecord.asset)]
            requests.append(request(instance, product, key, what, key, selection, kind=ANSWER))
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else dg.SkipReason("; ".join(reasons) or "no version waits for an answer"),
        )

    return approvals
