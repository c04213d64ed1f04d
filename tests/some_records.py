"""Stored records of which a test needs a few fields."""

from collections.abc import Mapping
from datetime import UTC, datetime

from mlops_assets.records.acceptance import AcceptanceRecord, AcceptanceState


def an_acceptance(
    product: str, version: int, state: AcceptanceState, evidence: Mapping[str, str] | None = None, answers: int = 0
) -> AcceptanceRecord:
    accepted = state is AcceptanceState.ACCEPTED
    at = datetime(2013, 5, 1, tzinfo=UTC)
    return AcceptanceRecord(
        product, version, accepted, "automatic", at, f"it is {state}", (), dict(evidence or {}), state, answers
    )
