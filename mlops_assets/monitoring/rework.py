"""Rework brief: what development is told when a model is sent back."""

from datetime import datetime

import msgspec

from mlops_assets.monitoring.decision import Decision
from mlops_assets.monitoring.drift import DriftReading
from mlops_assets.monitoring.performance import PerformanceReading


class Moved(msgspec.Struct, frozen=True):
    feature: str
    percent: float
    low: float
    high: float


class ReworkBrief(msgspec.Struct, frozen=True):
    """Why a version goes back to development. since: first of the consecutive periods that asked for a retraining or more."""

    product: str
    period: str
    model_version: int
    flagged_at: datetime
    reason: str
    since: str
    moved: tuple[Moved, ...]
    performance: str

    def as_markdown(self) -> str:
        rows = "\n".join(
            f"| {item.feature} | {item.percent:.1f} | {item.low:.1f} to {item.high:.1f} |" for item in self.moved
        )
        return (
            f"## Rework {self.product}, version {self.model_version}\n\n{self.reason}, since {self.since}.\n\n"
            f"| feature | % of rows moved | interval |\n|---|---|---|\n{rows or '| none | | |'}\n\n"
            f"Performance: {self.performance}.\n\n"
            f"Automatic retraining is off. To clear the flag, materialise `{self.product}/experiment` and "
            f"`{self.product}/recipe`, then the partition after {self.period} from `training_set` to `deployment`."
        )


def write_brief(
    product: str,
    decision: Decision,
    history: list[Decision],
    drift: DriftReading,
    performance: PerformanceReading,
    at: datetime,
) -> ReworkBrief:
    moved = sorted((item for item in drift.features if item.percent > 0), key=lambda item: -item.percent)
    since = decision.period
    for earlier in reversed(history):
        if earlier.band not in ("retrain", "rework"):
            break
        since = earlier.period
    return ReworkBrief(
        product,
        decision.period,
        decision.model_version,
        at,
        decision.reason,
        since,
        tuple(Moved(item.name, item.percent, item.low, item.high) for item in moved),
        performance.reason,
    )
