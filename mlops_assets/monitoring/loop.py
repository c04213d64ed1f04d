"""What follows a decision: the rules of the loop between one period and the next, for sensors, assets and backtests alike.

Everything that a decision depends on besides its readings is in `LoopState`, and everything that a decision leads to is a
`Next`. Both are values; who carries them out, a run of Dagster or a backtest on a shadow home, adds no rule of its own.
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
    """What is materialised after a decision: `partition` of the retraining, or of the rework brief. said: in words."""

    step: Step
    partition: str
    said: str


@dataclass(frozen=True)
class LoopState:
    """What the loop remembers when a period is decided. decisions: of older periods, oldest first."""

    decisions: Sequence[DriftDecision]
    flags: Sequence[ReworkFlag]

    def retrained_at(self, product: ModelProduct) -> list[datetime]:
        """When a retraining was asked for; whether it passed its gates is no matter."""
        return [decided_at(product, item.period) for item in self.decisions if item.action is Action.RETRAIN]

    def awaits_rework(self, product: ModelProduct, now: datetime) -> bool:
        """Whether development has not answered yet, at `now`.

        A decision for rework counts from the time at which it was due, whether or not its flag was raised yet: a period
        that is decided late, by a catch-up, sees what came before it."""
        if any(_stands(flag, now) for flag in self.flags):
            return True
        sent_back = [decided_at(product, item.period) for item in self.decisions if item.action is Action.REWORK]
        return any(at < now and not any(_was_open(flag, at) for flag in self.flags) for at in sent_back)


def decided_at(product: ModelProduct, key: str) -> datetime:
    """When the period's labels are due, and with them its decision."""
    return product.period.at(key).end + product.label.delay


def remembered_since(product: ModelProduct, key: str, partition: str) -> str:
    """The oldest period whose decision may change the one about `key`. partition: of the champion.

    The budget counts the retrainings of a year, the cooldown may be longer. What confirms a reading was read of the same
    champion, and age counts from the rows that it learned from. A rework is answered by its flag; one that was decided before
    and never flagged is forgotten."""
    start = product.period.at(key).start - max(YEAR, product.drift.cooldown)
    learned_until = product.period.at(partition).start - product.label.delay
    return product.period.shift(product.period.containing(min(start, learned_until)), -1).key


def state_before(state: ProductState, decisions: Sequence[DriftDecision]) -> LoopState:
    """decisions: those of the periods before, oldest first."""
    return LoopState(decisions, state.ledger.flags())


def what_follows(product: ModelProduct, decision: DriftDecision) -> Next:
    """A retraining has the key of the following period, and there is none after the product's last one."""
    following = product.period.shift(product.period.at(decision.period), 1)
    said = f"{decision.period}: {decision.action}"
    if decision.action is Action.REWORK:
        return Next(Step.SEND_BACK, decision.period, said)
    if decision.action is not Action.RETRAIN:
        return Next(Step.NOTHING, decision.period, said)
    if not product.period.has(following):
        return Next(Step.NOTHING, decision.period, f"{said}, but {product.name} has no period {following.key}")
    return Next(Step.TRAIN, following.key, said)


def send_back(state: ProductState, decision: DriftDecision) -> None:
    """Flag the version for rework, from the time on at which that was decided; an open flag is not doubled."""
    at = decided_at(state.product, decision.period)
    state.ledger.flag_for_rework(decision.model_version, at, decision.reason)


def is_answered_after(product: ModelProduct, flag: ReworkFlag, key: str, answer_after: int | None) -> bool:
    """Whether a team that needs `answer_after` periods answers the flag once period `key` is decided; None: never.

    1: with the partition that follows the period which was sent back."""
    if answer_after is None:
        return False
    sent_back = product.period.shift(product.period.at(key), 1 - answer_after)
    return sent_back.end + product.label.delay >= flag.flagged_at


def _stands(flag: ReworkFlag, now: datetime) -> bool:
    return flag.flagged_at < now and (flag.cleared_at is None or flag.cleared_at > now)


def _was_open(flag: ReworkFlag, at: datetime) -> bool:
    """Whether the flag stood at `at` or was raised later."""
    return flag.cleared_at is None or flag.cleared_at >= at
