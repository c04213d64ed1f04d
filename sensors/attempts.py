"""Whether to request a run again: pure functions of the runs of one cause, the time and the product's retries."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mlops_assets.products.policy import Retries


class State(StrEnum):
    DUE = "due"  # it was never requested, or it failed long enough ago
    UNDER_WAY = "under way"
    WAITS = "waits"  # it failed, and is requested again later
    DONE = "done"
    REFUSED = "refused"  # it failed for a reason that another attempt would not change
    GIVEN_UP = "given up"  # it failed as often as the product declares


@dataclass(frozen=True)
class Attempt:
    """One run. ended_at: None while it has not ended, or while Dagster is about to retry it. is_final: another attempt would
    fail the same way. is_retry: Dagster launched it as a retry, so it and the previous run count as one attempt."""

    ended_at: datetime | None
    succeeded: bool = False
    is_final: bool = False
    is_retry: bool = False


@dataclass(frozen=True)
class Standing:
    """attempts: how often a run was requested. until: when it is requested again, where it waits."""

    state: State
    attempts: int = 0
    until: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether it continues without a person."""
        return self.state in (State.DUE, State.UNDER_WAY, State.WAITS)


def standing_of(attempts: Sequence[Attempt], now: datetime, retries: Retries) -> Standing:
    """attempts: oldest first."""
    if not attempts:
        return Standing(State.DUE)
    newest = attempts[-1]
    count = sum(not attempt.is_retry for attempt in attempts)
    if any(attempt.ended_at is None for attempt in attempts):
        return Standing(State.UNDER_WAY, count)
    assert newest.ended_at is not None
    if newest.succeeded:
        return Standing(State.DONE, count)
    if newest.is_final:
        return Standing(State.REFUSED, count)
    if count >= retries.attempts:
        return Standing(State.GIVEN_UP, count)
    until = newest.ended_at + retries.wait_after(count)
    return Standing(State.DUE if now >= until else State.WAITS, count, until)
