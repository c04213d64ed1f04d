"""The labels sensor: stores the labels that are due, and lets the loop measure and decide."""

from collections.abc import Iterator

import dagster as dg

from mlops_assets.products.periods import spelled
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.records.readings import DriftRecord
from mlops_assets.state.workspace import ProductState
from resources.platform import Platform
from sensors.arrivals import periods_to_label
from sensors.attempts import Standing, State
from sensors.new_data import ARRIVAL, unfinished_arrivals
from sensors.runs import in_words, request, standing, under_way, unfinished_periods
from sensors.selections import labelled, only_labels

LABELS, ONLY_LABELS = "labels", "only_labels"


def build_labels_sensor(product: ModelProduct, status: dg.DefaultSensorStatus) -> dg.SensorDefinition:
    """One period at a time, oldest first, because a decision looks back to the previous one. A failed run is requested again as
    the product's `retries` say; then the period waits for a person, or is skipped where the product declares that."""

    @dg.sensor(
        name=f"{product.name}_labels",
        asset_selection=dg.AssetSelection.assets(*labelled(product)),
        minimum_interval_seconds=5,
        default_status=status,
        description=f"Labels of {product.name} are due {spelled(product.label.delay)} after the period.",
    )
    def labels(context: dg.SensorEvaluationContext, platform: Platform) -> dg.SensorResult | dg.SkipReason:
        state, instance = platform.state_of(product), context.instance
        for key, what, latest in unfinished_labels(instance, state):
            if not latest.is_open and product.retries.skips:
                continue
            if latest.state is not State.DUE:
                return dg.SkipReason(in_words(product, key, what, latest))
            # labels follow the predictions that they judge
            for kind in (ARRIVAL, LABELS, ONLY_LABELS):
                if cause := under_way(instance, product, kind):
                    return dg.SkipReason(f"{key} waits for the run of {cause}")
            selection = labelled(product) if what == LABELS else only_labels(product)
            return dg.SensorResult(run_requests=[request(instance, product, key, what, key, selection)])
        return dg.SkipReason(f"no labels are due at {state.clock.now():%Y-%m-%d %H:%M}")

    return labels


def unfinished_labels(instance: dg.DagsterInstance, state: ProductState) -> Iterator[tuple[str, str, Standing]]:
    """Stored periods whose labels are due and not finished, oldest first, with the kind of run and its standing.

    Only periods before the first one whose arrival is unfinished, as such a period has no predictions yet."""
    product = state.product
    now = state.clock.now()
    arriving, _ = next(unfinished_arrivals(instance, state, now), (None, None))
    predicted = set(state.records.keys(DriftRecord))
    decided = set(state.records.keys(DriftDecision))
    only_labelled = set(state.tables.keys("labels")) - predicted
    done = (decided - unfinished_periods(instance, product, LABELS)) | (
        only_labelled - unfinished_periods(instance, product, ONLY_LABELS)
    )
    done -= state.skipped.asked_again()
    stored = {key for key in state.tables.keys("features") if arriving is None or key < arriving}
    for key in periods_to_label(product, now, stored, done):
        what = LABELS if key in predicted else ONLY_LABELS
        latest = standing(instance, state, key, what)
        if latest.state is not State.DONE:
            yield key, what, latest
