"""Which decision asked for a retraining, in its own words; monitoring writes it, and lies above this pipeline."""

from collections.abc import Iterator

import msgspec

from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.home import Home


class DecisionFacts(msgspec.Struct, frozen=True):
    """The part of a stored drift decision that says what was decided and why."""

    action: str
    reason: str
    reading: float | None = None
    model_version: int = 0


def decision_in_words(product: ModelProduct, home: Home, period: str) -> Iterator[str]:
    if not home.documents.has(product.name, "drift_decision", period):
        yield f"no drift decision is stored for {period}"
        return
    facts = home.documents.load(product.name, "drift_decision", period, DecisionFacts)
    reading = "no reading" if facts.reading is None else f"reading {facts.reading:.1f} %"
    yield f"decision {facts.action} on version {facts.model_version}, {reading}: {facts.reason}"
