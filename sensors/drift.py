"""The drift sensor: carries out decisions, with a retraining partition or the brief for rework in development."""

import dagster as dg
import msgspec

from mlops_assets.errors import PartitionMissing
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.decisions import DriftDecision, ReworkBrief
from mlops_assets.state.workspace import ProductState
from resources.asset_parts import key_of
from resources.platform import Platform
from sensors.attempts import State
from sensors.runs import in_words, request, standing
from sensors.selections import retraining


class Cursor(msgspec.Struct, frozen=True):
    """after: storage id of the newest decision that was read. open: periods whose decision was not carried out yet, with its
    time in seconds since 1970."""

    after: int = 0
    open: dict[str, float] = {}


def build_drift_sensor(product: ModelProduct, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Reads every decision that was materialised since its cursor (`@asset_sensor` would read only the newest). A decision stays
    open until a run has carried it out: a refused challenger closes it, a store that was unreachable does not."""
    watched = key_of(product, DriftDecision.asset)
    brief = key_of(product, ReworkBrief.asset)

    @dg.sensor(
        name=f"{product.name}_drift",
        asset_selection=dg.AssetSelection.assets(*retraining(product), brief),
        minimum_interval_seconds=5,
        default_status=status,
        description=f"Watches {watched.to_user_string()}: retrain materialises the next partition, rework the brief.",
    )
    def drift(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
        state = platform.state_of(product)
        cursor = read_cursor(context.cursor)
        records = context.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=watched, after_storage_id=cursor.after), limit=100, ascending=True
        ).records
        decided_at = {**cursor.open, **{str(record.partition_key): record.timestamp for record in records}}
        if not decided_at:
            return dg.SkipReason("no new decision")
        requests: list[dg.RunRequest] = []
        reasons: list[str] = []
        still_open: dict[str, float] = {}
        for period, since in decided_at.items():
            requests_of_period, reason, is_open = _carry_out(context.instance, state, period, since)
            requests += requests_of_period
            reasons.append(reason)
            if is_open:
                still_open[period] = since
        after = records[-1].storage_id if records else cursor.after
        return dg.SensorResult(
            run_requests=requests,
            cursor=msgspec.json.encode(Cursor(after, still_open)).decode(),
            skip_reason=None if requests else dg.SkipReason("; ".join(reasons)),
        )

    return drift


def read_cursor(text: str | None) -> Cursor:
    """Earlier releases stored only the storage id."""
    if not text:
        return Cursor()
    return Cursor(int(text)) if text.isdecimal() else msgspec.json.decode(text, type=Cursor)


def _carry_out(
    instance: dg.DagsterInstance, state: ProductState, period: str, since: float
) -> tuple[list[dg.RunRequest], str, bool]:
    """The runs to request, the reason, and whether the decision stays open."""
    from mlops_assets.monitoring.loop import Step, what_follows

    product = state.product

    try:
        decision = state.records.load(DriftDecision, period)
    except PartitionMissing as error:
        return [], str(error), False  # the event was reported by hand, or the decision was removed since
    following = what_follows(product, decision)
    if following.step is Step.NOTHING:
        return [], following.summary, False
    what = decision.action.value
    status = standing(instance, state, period, what, since=since, gives_up=True)
    if status.state is not State.DUE:
        return [], in_words(product, period, what, status), status.is_open
    selection = retraining(product) if following.step is Step.TRAIN else [key_of(product, ReworkBrief.asset)]
    return [request(instance, product, period, what, following.partition, selection)], following.summary, True
