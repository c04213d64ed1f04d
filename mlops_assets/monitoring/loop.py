"""What follows a decision: the rules of the loop between one period and the next, shared by sensors, assets and backtests.

`LoopState` holds what a decision depends on besides its readings, and `Next` what it leads to. Both are values. A Dagster run
or a backtest carries them out and adds no rule of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mlops_assets.monitoring.decision import YEAR
from mlops_assets.products.policy import Action
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.state.ledger import ReworkFlag
from mlops_assets.state.workspace import ProductState


class Step(StrEnum):
    NOTHING = "nothing"
    TRAIN = "train"
    SEND_BACK = "send_back"


@dataclass(frozen=True)
class Next:
    """What is materialised after a decision: `partition` of the retraining or of the rework brief. summary: in words."""

    step: Step
    partition: str
    summary: str


@dataclass(frozen=True)
class LoopState:
    """The history that a decision depends on. decisions: of older periods, oldest first."""

    decisions: Sequence[DriftDecision]
    flags: Sequence[ReworkFlag]

    def retrained_at(self, product: ModelProduct) -> list[datetime]:
        """Times of the decisions to retrain, whether or not the versions passed their gates."""
        return [decided_at(product, item.period) for item in self.decisions if item.action is Action.RETRAIN]

    def awaits_rework(self, product: ModelProduct, now: datetime) -> bool:
        """Whether a rework is unanswered at `now`.

        A decision for rework counts from the time at which it was due, whether or not its flag was raised yet, so that a
        period which is decided late sees every earlier rework."""
        if any(_stands(flag, now) for flag in self.flags):
            return True
        sent_back = [decided_at(product, item.period) for item in self.decisions if item.action is Action.REWORK]
        return any(at < now and not any(_was_open(flag, at) for flag in self.flags) for at in sent_back)


def decided_at(product: ModelProduct, key: str) -> datetime:
    """When the period's labels, and with them its decision, are due."""
    return product.period.at(key).end + product.label.delay


def oldest_relevant_period(product: ModelProduct, key: str, partition: str) -> str:
    """The oldest period whose decision may affect the one of `key`. partition: of the champion.

    The budget counts the retrainings of a year, and the cooldown may be longer. Readings are confirmed by those of the same
    champion, and age counts from its training rows. An older rework only matters through its flag; one that was never flagged
    is ignored."""
    start = product.period.at(key).start - max(YEAR, product.drift.cooldown)
    learned_until = product.period.at(partition).start - product.label.delay
    return product.period.shift(product.period.containing(min(start, learned_until)), -1).key


def state_before(state: ProductState, decisions: Sequence[DriftDecision]) -> LoopState:
    """The history before a period. decisions: of the earlier periods, oldest first."""
    return LoopState(decisions, state.ledger.flags())


def what_follows(product: ModelProduct, decision: DriftDecision) -> Next:
    """The next step. A retraining has the key of the following period; after the product's last period there is none."""
    following = product.period.shift(product.period.at(decision.period), 1)
    summary = f"{decision.period}: {decision.action}"
    if decision.action is Action.REWORK:
        return Next(Step.SEND_BACK, decision.period, summary)
    if decision.action is not Action.RETRAIN:
        return Next(Step.NOTHING, decision.period, summary)
    if not product.period.has(following):
        return Next(Step.NOTHING, decision.period, f"{summary}, but {product.name} has no period {following.key}")
    return Next(Step.TRAIN, following.key, summary)


def send_back(state: ProductState, decision: DriftDecision) -> None:
    """Flag the version for rework from the time of the decision on, unless a flag is open already."""
    at = decided_at(state.product, decision.period)
    state.ledger.flag_for_rework(decision.model_version, at, decision.reason)


def is_answered_after(product: ModelProduct, flag: ReworkFlag, key: str, answer_after: int | None) -> bool:
    """Whether development, which needs `answer_after` periods, answers the flag when period `key` is decided; None: never.

    1: it answers with the partition that follows the period of the rework."""
    if answer_after is None:
        return False
    sent_back = product.period.shift(product.period.at(key), 1 - answer_after)
    return sent_back.end + product.label.delay >= flag.flagged_at


def _stands(flag: ReworkFlag, now: datetime) -> bool:
    return flag.flagged_at < now and (flag.cleared_at is None or flag.cleared_at > now)


def _was_open(flag: ReworkFlag, at: datetime) -> bool:
    """Whether the flag was open at `at` or was raised later."""
    return flag.cleared_at is None or flag.cleared_at >= at
