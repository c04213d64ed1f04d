"""Rework brief: why a model is sent back to development, and what the readings suggest to try."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from mlops_assets.data.next_step import how_a_rework_ends
from mlops_assets.records.decisions import DriftDecision, Moved, ReworkBrief, SliceFall
from mlops_assets.records.readings import DriftReading, PerformanceReading, StalenessReading

SHOWN = 5  # slices and features in the brief


def write_brief(
    product: str,
    decision: DriftDecision,
    history: list[DriftDecision],
    drift: DriftReading,
    performance: PerformanceReading,
    at: datetime,
    *,
    staleness: StalenessReading | None = None,
    slices: Sequence[SliceFall] = (),
    candidates: Sequence[str] = (),
    links: Mapping[str, str] | None = None,
) -> ReworkBrief:
    """candidates: names of the product's candidates, the serving one first."""
    moved = sorted((item for item in drift.features if item.percent > 0), key=lambda item: -item.percent)
    since = decision.period
    for earlier in reversed(history):
        if earlier.band not in ("retrain", "rework"):
            break
        since = earlier.period
    worst = sorted(slices, key=lambda item: -item.lost_percent)[:SHOWN]
    features = tuple(Moved(item.name, item.percent, item.low, item.high) for item in moved)
    return ReworkBrief(
        product,
        decision.period,
        decision.model_version,
        at,
        decision.reason,
        since,
        features,
        performance.reason,
        tuple(worst),
        tuple(_suggestions(features, worst, staleness, candidates)),
        tuple((links or {}).items()),
    )


def as_markdown(brief: ReworkBrief) -> str:
    moved = "\n".join(
        f"| {item.feature} | {item.percent:.1f} | {item.low:.1f} to {item.high:.1f} |" for item in brief.moved
    )
    fell = "\n".join(
        f"| {item.feature} = {item.category} | {item.rows:,} | {item.then:.4g} | {item.now:.4g} | {item.lost_percent:.1f} |"
        for item in brief.slices
    )
    parts = [
        f"## Rework {brief.product}, version {brief.model_version}",
        f"{brief.reason}, since {brief.since}.",
        f"| feature | % of rows moved | interval |\n|---|---|---|\n{moved or '| none | | |'}",
        f"Performance: {brief.performance}.",
    ]
    if fell:
        parts.append(f"| slice | rows | in its test | now | % lost |\n|---|---|---|---|---|\n{fell}")
    if brief.experiments:
        parts.append("To try:\n\n" + "\n".join(f"- {item}" for item in brief.experiments))
    parts.append(
        f"Automatic retraining is off until a new recipe clears the flag. {how_a_rework_ends(brief.product)} In Dagster, "
        f"materialise `{brief.product}/experiment` and `{brief.product}/recipe`, then the newest partition from `training_set` to "
        "`deployment`."
    )
    if brief.links:
        parts.append(" · ".join(f"[{name}]({address})" for name, address in brief.links))
    return "\n\n".join(parts)


def _suggestions(
    moved: Sequence[Moved], slices: Sequence[SliceFall], staleness: StalenessReading | None, candidates: Sequence[str]
) -> list[str]:
    """Experiments that the readings suggest, each with its reading."""
    suggestions = [
        f"Leave out `{item.feature}` or make it coarser: {item.percent:.1f} % of its rows moved."
        for item in moved[:SHOWN]
    ]
    suggestions += [
        f"Add features that describe `{item.feature} = {item.category}` better: it lost {item.lost_percent:.1f} %."
        for item in slices
    ]
    if staleness is not None and staleness.percent is not None and staleness.low is not None:
        helps = staleness.low > 0
        verdict = "so newer rows help, whatever else is changed" if helps else "so newer rows by themselves do not help"
        suggestions.append(f"Newer rows: {staleness.reason}, {verdict}.")
    if len(candidates) > 1:
        others = ", ".join(f"`{name}`" for name in candidates[1:])
        suggestions.append(f"Compare `{candidates[0]}`, which serves now, with {others} again on the newest folds.")
    return suggestions
