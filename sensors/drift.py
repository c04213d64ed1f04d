"""Carries drift decisions out: a retraining partition, or the brief that sends a model back to development."""

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
    """after: storage id of the newest decision that was read. open: periods whose decision is not carried out yet, with the
    seconds since 1970 at which it was made."""

    after: int = 0
    open: dict[str, float] = {}


def build_drift_sensor(product: ModelProduct, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Reads every decision that was materialised since its cursor (`@asset_sensor` would see only the newest). A decision
    stays open until a run has answered it: a challenger that a gate refuses is an answer, a store that was away is none."""
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
        found = context.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=watched, after_storage_id=cursor.after), limit=100, ascending=True
        ).records
        decided_at = {**cursor.open, **{str(record.partition_key): record.timestamp for record in found}}
        if not decided_at:
            return dg.SkipReason("no new decision")
        requests: list[dg.RunRequest] = []
        said: list[str] = []
        still_open: dict[str, float] = {}
        for period, since in decided_at.items():
            asked, in_short, is_open = _carry_out(context.instance, state, period, since)
            requests += asked
            said.append(in_short)
            if is_open:
                still_open[period] = since
        after = found[-1].storage_id if found else cursor.after
        return dg.SensorResult(
            run_requests=requests,
            cursor=msgspec.json.encode(Cursor(after, still_open)).decode(),
            skip_reason=None if requests else dg.SkipReason("; ".join(said)),
        )

    return drift


def read_cursor(text: str | None) -> Cursor:
    """Earlier releases stored the storage id alone."""
    if not text:
        return Cursor()
    return Cursor(int(text)) if text.isdecimal() else msgspec.json.decode(text, type=Cursor)


def _carry_out(
    instance: dg.DagsterInstance, state: ProductState, period: str, since: float
) -> tuple[list[dg.RunRequest], str, bool]:
    """What to ask for, what to say, and whether the decision stays open."""
    from mlops_assets.monitoring.loop import Step, what_follows

    product = state.product

    try:
        decision = state.records.load(DriftDecision, period)
    except PartitionMissing as error:
        return [], str(error), False  # reported by hand, or removed since: nothing to carry out
    following = what_follows(product, decision)
    if following.step is Step.NOTHING:
        return [], following.summary, False
    what = decision.action.value
    found = standing(instance, state, period, what, since=since, gives_up=True)
    if found.state is not State.DUE:
        return [], in_words(product, period, what, found), found.is_open
    selection = retraining(product) if following.step is Step.TRAIN else [key_of(product, ReworkBrief.asset)]
    return [request(instance, product, period, what, following.partition, selection)], following.summary, True
