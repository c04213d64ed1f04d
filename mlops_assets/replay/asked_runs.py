"""Runs that a command asks for: which assets, over which periods, and how they ended."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from mlops_assets.errors import DeclarationError, choices
from mlops_assets.products.product import ModelProduct
from mlops_assets.replay.runs import Replay, failure_of


@dataclass(frozen=True)
class Outcome:
    """One run. partitions: keys, oldest first; none of assets that are not kept by period. error: "" where it succeeded."""

    run_id: str
    partitions: tuple[str, ...]
    succeeded: bool
    seconds: float
    materialized: tuple[str, ...]
    error: str


def keys_of_range(product: ModelProduct, partition: str) -> tuple[str, ...]:
    """`2013-04-22`, or `2013-04-22..2013-06-03` with both ends; none for "".

    Raises DeclarationError: no such periods."""
    if not partition:
        return ()
    first, separator, last = partition.partition("..")
    period, end = product.period.at(first), product.period.at(last if separator else first)
    if end < period:
        raise DeclarationError(f"{partition} ends before it begins. Write the older period first.")
    keys = []
    while period <= end:
        if not product.period.has(period):
            raise DeclarationError(
                f"{product.name} has no period {period.key}. Its first is {product.period.first.key}."
            )
        keys.append(period.key)
        period = product.period.shift(period, 1)
    return tuple(keys)


def selection_of(running: Replay, assets: tuple[str, ...], *, has_partition: bool) -> list[dg.AssetKey]:
    """Raises DeclarationError: an asset does not exist, or a period is missing or too much."""
    product = running.product
    known = running.partitioned_assets()
    if not assets:
        raise DeclarationError(f"name the assets to materialise. {choices('', known)}")
    for name in assets:
        if name not in known:
            raise DeclarationError(f"{product.name} has no asset {name!r}. {choices(name, known)}")
    by_period = [name for name in assets if known[name]]
    if by_period and not has_partition:
        raise DeclarationError(
            f"{', '.join(by_period)} of {product.name} are kept by period. Name one with --partition {product.period.first.key}, "
            "or several with --partition FIRST..LAST."
        )
    if has_partition and not by_period:
        raise DeclarationError(f"{', '.join(assets)} of {product.name} are not kept by period. Leave --partition out.")
    return [running.key(name) for name in assets]


def partitions_of_runs(
    running: Replay, selection: Sequence[dg.AssetKey], keys: tuple[str, ...]
) -> list[tuple[str, ...]]:
    """The partitions of each run: all in one where every asset can, else one after the other, as later ones look back."""
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
        "" if result.success else failure_of(result),
    )
