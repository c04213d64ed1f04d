"""The decision that asked for a retraining, with its own reason."""

from collections.abc import Iterator

from mlops_assets.records.decisions import DriftDecision
from mlops_assets.state.workspace import ProductState


def decision_in_words(state: ProductState, period: str) -> Iterator[str]:
    if not state.records.has(DriftDecision, period):
        yield f"no drift decision is stored for {period}"
        return
    decision = state.records.load(DriftDecision, period)
    reading = "no reading" if decision.reading is None else f"reading {decision.reading:.1f} %"
    yield f"decision {decision.action} on version {decision.model_version}, {reading}: {decision.reason}"
