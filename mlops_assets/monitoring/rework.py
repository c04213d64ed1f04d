"""Rework brief: what development is told when a model is sent back."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from mlops_assets.monitoring.decision import Decision
from mlops_assets.monitoring.drift import DriftReading
from mlops_assets.monitoring.performance import PerformanceReading
from mlops_assets.monitoring.staleness import StalenessReading

SHOWN = 5  # slices and features that are named


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


class ReworkBrief(msgspec.Struct, frozen=True):
    """Why a version goes back to development. since: first of the consecutive periods that asked for a retraining or more.

    slices: where performance fell most. experiments: what the readings suggest to try. links: where to look, by name.
    """

    product: str
    period: str
    model_version: int
    flagged_at: datetime
    reason: str
    since: str
    moved: tuple[Moved, ...]
    performance: str
    slices: tuple[SliceFall, ...] = ()
    experiments: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()

    def as_markdown(self) -> str:
        moved = "\n".join(
            f"| {item.feature} | {item.percent:.1f} | {item.low:.1f} to {item.high:.1f} |" for item in self.moved
        )
        fell = "\n".join(
            f"| {item.feature} = {item.category} | {item.rows:,} | {item.then:.4g} | {item.now:.4g} | {item.lost_percent:.1f} |"
            for item in self.slices
        )
        parts = [
            f"## Rework {self.product}, version {self.model_version}",
            f"{self.reason}, since {self.since}.",
            f"| feature | % of rows moved | interval |\n|---|---|---|\n{moved or '| none | | |'}",
            f"Performance: {self.performance}.",
        ]
        if fell:
            parts.append(f"| slice | rows | in its test | now | % lost |\n|---|---|---|---|---|\n{fell}")
        if self.experiments:
            parts.append("To try:\n\n" + "\n".join(f"- {item}" for item in self.experiments))
        parts.append(
            f"Automatic retraining is off. To clear the flag, materialise `{self.product}/experiment` and "
            f"`{self.product}/recipe`, then the partition after {self.period} from `training_set` to `deployment`."
        )
        if self.links:
            parts.append(" · ".join(f"[{name}]({address})" for name, address in self.links))
        return "\n\n".join(parts)


def write_brief(
    product: str,
    decision: Decision,
    history: list[Decision],
    drift: DriftReading,
    performance: PerformanceReading,
    at: datetime,
    *,
    staleness: StalenessReading | None = None,
    slices: Sequence[SliceFall] = (),
    candidates: Sequence[str] = (),
    links: Mapping[str, str] | None = None,
) -> ReworkBrief:
    """candidates: what the product may be made of, the present one first."""
    moved = sorted((item for item in drift.features if item.percent > 0), key=lambda item: -item.percent)
    since = decision.period
    for earlier in reversed(history):
        if earlier.band not in ("retrain", "rework"):
            break
        since = earlier.period
    worst = sorted(slices, key=lambda item: -item.lost_percent)[:SHOWN]
    found = tuple(Moved(item.name, item.percent, item.low, item.high) for item in moved)
    return ReworkBrief(
        product,
        decision.period,
        decision.model_version,
        at,
        decision.reason,
        since,
        found,
        performance.reason,
        tuple(worst),
        tuple(_to_try(found, worst, staleness, candidates)),
        tuple((links or {}).items()),
    )


def _to_try(
    moved: Sequence[Moved], slices: Sequence[SliceFall], staleness: StalenessReading | None, candidates: Sequence[str]
) -> list[str]:
    """What the readings suggest, each with the number that suggests it."""
    tried = [
        f"Leave out `{item.feature}` or make it coarser: {item.percent:.1f} % of its rows moved."
        for item in moved[:SHOWN]
    ]
    tried += [
        f"Give the model what tells `{item.feature} = {item.category}` apart: it lost {item.lost_percent:.1f} %."
        for item in slices
    ]
    if staleness is not None and staleness.percent is not None and staleness.low is not None:
        helps = staleness.low > 0
        verdict = "so newer rows help, whatever else is changed" if helps else "so newer rows alone do not help"
        tried.append(f"Newer rows: {staleness.reason}, {verdict}.")
    if len(candidates) > 1:
        others = ", ".join(f"`{name}`" for name in candidates[1:])
        tried.append(f"Compare `{candidates[0]}`, which serves now, with {others} anew on the newest folds.")
    return tried
