"""Since when the shift lasts that a retraining answers: what the decisions before it say."""

from collections.abc import Sequence

from mlops_assets.records.decisions import DriftDecision
from mlops_assets.state.workspace import ProductState


def onset_before(state: ProductState, key: str) -> str:
    """Since when the shift lasts that a version of partition `key` has to learn; "" without one."""
    product = state.product
    window = [period.key for period in product.period.window_before(key, product.training_window)]
    stored = state.records.keys(DriftDecision, window[0]) if window else []
    return newest_onset(state.records.load_all(DriftDecision, [name for name in stored if name in window]))


def newest_onset(decisions: Sequence[DriftDecision]) -> str:
    """decisions: oldest first. What was found of an earlier champion is past: the one that serves now answered it."""
    for decision in reversed(decisions):
        if decision.model_version != decisions[-1].model_version:
            return ""
        if decision.since:
            return decision.since
    return ""
