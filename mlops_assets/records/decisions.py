"""Records of the monitoring pipeline: what was decided of a period, what development was told, what other policies would
have decided."""

from datetime import datetime
from typing import ClassVar

import msgspec

from mlops_assets.products.policy import Action
from mlops_assets.records.record import Record


class DriftDecision(Record, frozen=True):
    """What is done about a period, the reading it rests on, and the sentence that says why.

    percent, low, high: the percent acted on. features: those that caused it. reading: this period's own reading of data
    drift, band: its action before any patience. by_feature: this period's percent of every feature that acts, for the
    next period to compare with. model_loss: percent of the primary metric lost, 0 where the loss does not act, None without
    a conclusive performance reading. fresh_gain: percent that a fresh model would gain, None where it was not measured.
    read_from: data version of every reading it rests on, by asset. alone_loss: percent of the primary metric lost in this
    period alone, None without a score. since: first period of the shift that asks for a retraining or more, "" where none
    does; a retraining learns from it on.
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
    """A slice on which the champion scores worse than in its test. lost_percent: of its score then."""

    feature: str
    category: str
    rows: int
    then: float
    now: float
    lost_percent: float


class ReworkBrief(Record, frozen=True):
    """Why a version goes back to development. since: first of the consecutive periods that asked for a retraining or more.

    slices: where performance fell most. experiments: what the readings suggest to try. links: where to look, by name.
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
    """One period under a plan. action: what was carried out; version: champion when the period ended. outcome: what came of
    it, "" where a new champion or nothing did."""

    period: str
    action: Action
    reading: float | None
    score: float | None
    version: int
    reason: str
    outcome: str = ""


class Backtest(msgspec.Struct, frozen=True):
    """A plan over history. trained: models that were fitted; deployed: those that passed the gates, the first included;
    rolled_back: those that failed their probation.

    fit_seconds: spent on training them; watch_seconds: on the fresh models that staleness compares with. A model that
    another plan had trained already counts with the seconds it took there."""

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
