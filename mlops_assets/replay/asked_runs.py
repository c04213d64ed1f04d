"""Runs that a command requests: which assets, for which periods, and how they ended."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dagster as dg

from mlops_assets.errors import DeclarationError, NotArrived, PlatformError, choices
from mlops_assets.monitoring.loop import what_follows
from mlops_assets.products.periods import Period
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.replay.runs import Replay, failure_of
from mlops_assets.state.workspace import ProductState


@dataclass(frozen=True)
class Outcome:
    """One run. partitions: keys, oldest first; none for assets without periods. error: "" where it succeeded."""

    run_id: str
    partitions: tuple[str, ...]
    succeeded: bool
    seconds: float
    materialized: tuple[str, ...]
    error: str

    @property
    def is_too_early(self) -> bool:
        """A period has not arrived: the same run may succeed later."""
        return self.error.startswith(f"{NotArrived.__name__}: ")


@dataclass(frozen=True)
class Decided:
    """A drift decision of a run. step: what follows, as `what_follows` names it; partition: the one that the step is for."""

    period: str
    action: str
    reason: str
    step: str
    partition: str


def keys_of_range(product: ModelProduct, partition: str, now: datetime) -> tuple[str, ...]:
    """The keys of `2013-04-22`, or of `2013-04-22..2013-06-03` with both ends; none for "". now: the time of the wall clock,
    which Dagster uses.

    Raises DeclarationError: these are not periods of the product. Raises NotArrived: they have not begun."""
    if not partition:
        return ()
    first, separator, last = partition.partition("..")
    period, end = product.period.at(first), product.period.at(last if separator else first)
    if end < period:
        raise DeclarationError(f"{partition} ends before it starts. Write the older period first.")
    keys = []
    while period <= end:
        if not product.period.has(period):
            raise DeclarationError(
                f"{product.name} has no period {period.key}. Its first is {product.period.first.key}."
            )
        keys.append(begun(product, period, now).key)
        period = product.period.shift(period, 1)
    return tuple(keys)


def begun(product: ModelProduct, period: Period, now: datetime) -> Period:
    """The period itself. Raises NotArrived: Dagster has no partition of it yet."""
    if period.start > now:
        raise NotArrived(f"the period {period.key} of {product.name} begins at {period.start:%Y-%m-%d %H:%M} UTC.")
    return period


def selection_of(running: Replay, assets: tuple[str, ...], *, has_partition: bool) -> list[dg.AssetKey]:
    """Raises DeclarationError: an asset does not exist, or a period is missing or not applicable."""
    product = running.product
    has_periods = running.partitioned_assets()
    if not assets:
        raise DeclarationError(f"name the assets to materialise. {choices('', has_periods)}")
    for name in assets:
        if name not in has_periods:
            raise DeclarationError(f"{product.name} has no asset {name!r}. {choices(name, has_periods)}")
    by_period = [name for name in assets if has_periods[name]]
    if by_period and not has_partition:
        raise DeclarationError(
            f"{', '.join(by_period)} of {product.name} {_has(by_period)} periods. Name one with --partition "
            f"{product.period.first.key}, or several with --partition FIRST..LAST."
        )
    if has_partition and not by_period:
        raise DeclarationError(
            f"{', '.join(assets)} of {product.name} {_has(assets)} no periods. Leave --partition out."
        )
    return [running.key(name) for name in assets]


def _has(names: Sequence[str]) -> str:
    return "has" if len(names) == 1 else "have"


def partitions_of_runs(
    running: Replay, selection: Sequence[dg.AssetKey], keys: tuple[str, ...]
) -> list[tuple[str, ...]]:
    """The partitions of each run: one run for all where every asset supports it, else one run each, oldest first."""
    if len(keys) < 2 or running.takes_ranges(selection):
        return [keys]
    return [(key,) for key in keys]


def run_once(
    running: Replay,
    selection: Sequence[dg.AssetKey],
    keys: tuple[str, ...],
    ops: Mapping[str, Any] | None = None,
) -> Outcome:
    started = time.perf_counter()
    result = running.materialize_several(selection, keys, {"product": running.product.name}, ops)
    return Outcome(
        result.run_id,
        keys,
        result.success,
        round(time.perf_counter() - started, 2),
        tuple(
            sorted({key.path[-1] for event in result.get_asset_materialization_events() if (key := event.asset_key)})
        ),
        "" if result.success else failure_of(result).replace(f"{PlatformError.__module__}.", ""),
    )


def decisions_of(state: ProductState, outcomes: Sequence[Outcome]) -> list[Decided]:
    """What was decided in these runs, oldest first, and what follows."""
    asset = DriftDecision.asset
    keys = [key for outcome in outcomes if asset in outcome.materialized for key in outcome.partitions]
    decisions = state.records.load_all(DriftDecision, keys)
    following = [what_follows(state.product, decision) for decision in decisions]
    return [
        Decided(item.period, item.action.value, item.reason, what.step.value, what.partition)
        for item, what in zip(decisions, following, strict=True)
    ]
