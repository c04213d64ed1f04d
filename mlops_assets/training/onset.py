"""When the shift began that a retraining has to learn, according to the decisions before it."""

from collections.abc import Sequence

from mlops_assets.records.decisions import DriftDecision
from mlops_assets.state.workspace import ProductState


def onset_before(state: ProductState, key: str) -> str:
    """First period of the shift that a version of partition `key` has to learn; "" if there is none."""
    product = state.product
    window = [period.key for period in product.period.window_before(key, product.training_window)]
    stored = state.records.keys(DriftDecision, window[0]) if window else []
    return newest_onset(state.records.load_all(DriftDecision, [name for name in stored if name in window]))


def newest_onset(decisions: Sequence[DriftDecision]) -> str:
    """decisions: oldest first. Shifts that were found under an earlier champion do not count, as the present one learned them."""
    for decision in reversed(decisions):
        if decision.model_version != decisions[-1].model_version:
            return ""
        if decision.since:
            return decision.since
    return ""
