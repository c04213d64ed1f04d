"""A period arrived: materialise it."""

from collections.abc import Iterator
from datetime import datetime

import dagster as dg

from mlops_assets.data.arrived import why_not_arrived
from mlops_assets.products.periods import Period
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.workspace import ProductState
from resources.platform import Platform
from sensors.arrivals import periods_to_ingest
from sensors.attempts import Standing, State
from sensors.runs import in_words, request, standing, under_way, unfinished_periods
from sensors.selections import arrival, first_arrival

ARRIVAL = "arrival"


def build_new_data_sensor(product: ModelProduct, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """One period at a time, oldest first: its features look back to the period before. A failed run is asked for again as
    the product's `retries` say; then the period waits for a person, or is skipped where the product declares that."""

    @dg.sensor(
        name=f"{product.name}_new_data",
        asset_selection=dg.AssetSelection.assets(*arrival(product)),
        minimum_interval_seconds=5,
        default_status=status,
        description=f"Asks the source of {product.name} whether a period is complete, and materialises it.",
    )
    def new_data(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
        state, instance = platform.state_of(product), context.instance
        from mlops_assets.data.cut_off import noted_cut_off

        now = state.clock.now()
        key, latest = next(unfinished_arrivals(instance, state, now), (None, None))
        if key is None or latest is None:
            stored = _stored(state)
            said = f"no new period at {now:%Y-%m-%d %H:%M}; {len(stored)} are stored"
            missing = next((period for period in product.period.ended_by(now) if period.key not in stored), None)
            return dg.SkipReason(f"{said}; {why_not_arrived(product, missing, now)}" if missing else said)
        if not latest.is_open and product.retries.skips and not state.skipped.has(key):
            reason = f"its arrival failed {latest.attempts} times, and {product.name} declares missing='skip'"
            state.skipped.skip(key, reason, "new_data sensor")
            latest = standing(instance, state, key, ARRIVAL)
        if latest.state is not State.DUE:
            return dg.SkipReason(in_words(product, key, ARRIVAL, latest))
        if cause := under_way(instance, product, ARRIVAL):
            return dg.SkipReason(f"{key} waits for the run of {cause}")
        period = product.period.at(key)
        if not state.skipped.has(key) and (incomplete := noted_cut_off(state, period, now)):
            context.log.warning(incomplete)
            return dg.SkipReason(incomplete)
        selection = arrival(product) if is_served(state, period) else first_arrival(product)
        return dg.SensorResult(run_requests=[request(instance, product, key, ARRIVAL, key, selection)])

    return new_data


def is_served(state: ProductState, period: Period) -> bool:
    """Whether a champion served a part of the period. One that was deployed when the period ended served nothing of it."""
    champion = state.ledger.champion_at(period.end)
    return champion is not None and champion.deployed_at < period.end


def unfinished_arrivals(
    instance: dg.DagsterInstance, state: ProductState, now: datetime
) -> Iterator[tuple[str, Standing]]:
    """Periods that arrived and whose arrival has not been carried out whole, oldest first.

    A run may have failed after it stored the features, so a period whose newest run did not succeed is looked at too, and
    one that a person asked for again."""
    product = state.product
    whole = _stored(state) - unfinished_periods(instance, product, ARRIVAL) - state.skipped.asked_again()
    for key in periods_to_ingest(product, now, whole):
        latest = standing(instance, state, key, ARRIVAL)
        if latest.state is not State.DONE:
            yield key, latest


def _stored(state: ProductState) -> set[str]:
    return set(state.tables.keys("features"))
