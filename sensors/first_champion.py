"""Enough labelled periods are stored and nothing serves: experiment, recipe and the first champion, asked for once."""

import dagster as dg

from mlops_assets.data.next_step import labelled_history
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.data import IncompletePeriod
from mlops_assets.records.training import Leaderboard, Recipe
from mlops_assets.state.workspace import ProductState
from resources.asset_parts import key_of
from resources.platform import Platform
from sensors.attempts import State
from sensors.labels import unfinished_labels
from sensors.new_data import unfinished_arrivals
from sensors.runs import CAUSE, WHAT, in_words, request, standing
from sensors.selections import development, retraining

FIRST_CHAMPION = "first_champion"


def build_first_champion_sensor(product: ModelProduct, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """Waits until what has arrived is stored and labelled, so that the first champion learns from the newest periods. A
    failed gate is an answer: people are told once, and nothing is asked for again until one of them says so."""

    @dg.sensor(
        name=f"{product.name}_{FIRST_CHAMPION}",
        asset_selection=dg.AssetSelection.assets(*development(product), *retraining(product)),
        minimum_interval_seconds=5,
        default_status=status,
        description=f"Trains the first champion of {product.name} once {product.training_periods} periods are labelled.",
    )
    def first_champion(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
        state, instance = platform.state_of(product), context.instance
        if state.ledger.history():
            return dg.SkipReason(f"version {state.ledger.history()[-1].version} serves")
        key = _asked_for(instance, product)
        if not key:
            if awaited := _awaited(instance, state):
                return dg.SkipReason(f"waits for {awaited}")
            key, labelled = labelled_history(state)
            needed = product.training_periods
            if labelled < needed:
                return dg.SkipReason(
                    f"{labelled} of {needed} labelled periods are stored: {needed - labelled} more are needed"
                )
            if not product.period.has(product.period.at(key)):
                return dg.SkipReason(f"{product.name} has no period {key}, so nothing can be trained for it")
        stands = standing(instance, state, key, FIRST_CHAMPION, gives_up=True)
        if stands.state is State.REFUSED:
            again = f"Change the product, then `mlops retry {product.name} {key}`."
            return dg.SkipReason(f"{in_words(product, key, FIRST_CHAMPION, stands)}. {again}")
        if stands.state is not State.DUE:
            return dg.SkipReason(in_words(product, key, FIRST_CHAMPION, stands))
        selection = [*development(product), *retraining(product)]
        run_request = request(instance, product, key, FIRST_CHAMPION, key, selection)
        ops = {
            "__".join(key_of(product, Leaderboard.asset).path): {"config": {"as_of": key}},
            "__".join(key_of(product, Recipe.asset).path): {"config": {"by": "first_champion sensor"}},
        }
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(
                    run_key=run_request.run_key,
                    partition_key=key,
                    asset_selection=selection,
                    tags=run_request.tags,
                    run_config={"ops": ops},
                )
            ]
        )

    return first_champion


def _awaited(instance: dg.DagsterInstance, state: ProductState) -> str:
    """What is to be stored before; "" where nothing is."""
    arriving = next((key for key, _ in unfinished_arrivals(instance, state, state.clock.now())), "")
    # of one that is incomplete nobody knows whether more will come
    if arriving and not state.records.has(IncompletePeriod, arriving):
        return f"the arrival of {arriving}"
    passed_over = state.product.retries.skips
    open_labels = (key for key, _, found in unfinished_labels(instance, state) if found.is_open or not passed_over)
    unlabelled = next(open_labels, "")
    return f"the labels of {unlabelled}" if unlabelled else ""


def _asked_for(instance: dg.DagsterInstance, product: ModelProduct) -> str:
    """The partition that a first champion was requested for already; "" where none was."""
    runs = instance.get_runs(dg.RunsFilter(tags={"product": product.name, WHAT: FIRST_CHAMPION}), limit=1)
    return runs[0].tags[CAUSE].split(":")[1] if runs else ""
