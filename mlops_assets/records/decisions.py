"""Records of the monitoring pipeline: the decision of a period, the rework brief for development, and backtests."""

from datetime import datetime
from typing import ClassVar

import msgspec

from mlops_assets.products.policy import Action
from mlops_assets.records.record import Record


class DriftDecision(Record, frozen=True):
    """The action on a period, the reading it rests on, and the reason in one sentence.

    percent, low, high: the confirmed reading that was acted on. features: those that caused the action. reading: this period's
    own data drift, band: the action that this reading would have without confirmation. by_feature: this period's percent of
    every actionable feature, for later periods to compare with. model_loss: percent of the primary metric lost, 0 if the loss
    is not actionable, None without a conclusive performance reading. fresh_gain: percent that a fresh model would gain, None
    if it was not measured. read_from: data version of every reading it rests on, by asset. unpooled_loss: percent of the
    primary metric lost in this period, without the periods pooled with it; None without a score. since: first period of the
    shift that calls for a retraining or a rework, from which a retraining learns; "" if there is none.
    """

    asset: ClassVar[str] = "drift_decision"
    schema: ClassVar[int] = 2

    period: str
    action: Action
    percent: float | None
    low: float | None
    high: float | None
    features: tuple[str, ...]
    reason: str
    band: Action
    reading: float | None
    by_feature: tuple[tuple[str, float], ...]
    model_version: int
    model_loss: float | None = None
    fresh_gain: float | None = None
    read_from: tuple[tuple[str, str], ...] = ()
    unpooled_loss: float | None = None
    since: str = ""


class Moved(msgspec.Struct, frozen=True):
    feature: str
    percent: float
    low: float
    high: float


class SliceFall(msgspec.Struct, frozen=True):
    """A slice on which the champion scores worse now than then, in its test. lost_percent: of the score in the test."""

    feature: str
    category: str
    rows: int
    then: float
    now: float
    lost_percent: float


class ReworkBrief(Record, frozen=True):
    """Why a version goes back to development. since: first of the consecutive periods whose band was retrain or rework.

    slices: those whose score fell most. experiments: what the readings suggest to try. links: addresses by name.
    """

    asset: ClassVar[str] = "rework_brief"

    product: str
    period: str
    model_version: int
    flagged_at: datetime
    reason: str
    since: str
    moved: tuple[Moved, ...]
    performance: str
    slices: tuple[SliceFall, ...]
    experiments: tuple[str, ...]
    links: tuple[tuple[str, str], ...]


class BacktestPeriod(msgspec.Struct, frozen=True):
    """One period under a plan. action: what was carried out. version: champion when the period ended. outcome: why a training
    failed or was refused, a rollback or an answer of development; "" if there is nothing to report."""

    period: str
    action: Action
    reading: float | None
    score: float | None
    version: int
    reason: str
    outcome: str = ""


class Backtest(msgspec.Struct, frozen=True):
    """A plan replayed over history. trained: number of models that were fitted. deployed: those that passed the gates, the
    first included. rolled_back: those that failed their probation.

    fit_seconds: time spent on training them. watch_seconds: time spent on the fresh models that staleness compares with. A
    model that another plan trained before counts with the seconds it took there."""

    plan: str
    metric: str
    periods: tuple[BacktestPeriod, ...]
    trained: int
    deployed: int
    fit_seconds: float
    watch_seconds: float = 0.0
    rolled_back: int = 0

    @property
    def mean_score(self) -> float:
        scores = [item.score for item in self.periods if item.score is not None]
        return sum(scores) / len(scores) if scores else float("nan")


class BacktestRecord(Record, frozen=True):
    """The plans of a backtest, replayed over the same periods."""

    asset: ClassVar[str] = "backtest"

    plans: tuple[Backtest, ...]
