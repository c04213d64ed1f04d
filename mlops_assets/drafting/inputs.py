"""Chooses what a drafted model learns from: columns that are no part of the outcome, and parts of the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import polars as pl

from mlops_assets.drafting.columns import MOST_CATEGORIES, Profile
from mlops_assets.drafting.questions import Remarks, listed
from mlops_assets.drafting.source_text import Declaration
from mlops_assets.drafting.task import is_categorical
from mlops_assets.products.product import DEFAULT_LEAKAGE
from mlops_assets.products.source import Kind

MOST_FEATURES = 100
_FEWEST_NUMBERED = 20  # fewer rows do not show whether a column numbers them
_PREDICTIVE = 0.7  # a column that alone predicts the label so well is reported


def choose_inputs(
    profiles: Sequence[Profile], time: Profile, label: Profile, key: Sequence[Profile], remarks: Remarks
) -> list[Profile]:
    """Columns that may be features; a remark gives the others and the reason."""
    left_out: dict[str, list[str]] = {}
    inputs = []
    parts = _parts(time.values)
    identity = {item.source_name for item in key if item.kind is Kind.INTEGER}
    for item in profiles:
        if item.source_name in (time.source_name, label.source_name) or item.source_name in identity:
            continue
        is_part = item.kind is Kind.INTEGER and (
            item.source_name.lower() in parts or any(_same(item.values, part) for part in parts.values())
        )
        reason = (
            f"a part of the time, which always drifts; features are computed from {time.source_name}"
            if is_part
            else _why_not(item)
        )
        if reason:
            left_out.setdefault(reason, []).append(item.source_name or "''")
        else:
            inputs.append(item)
    for reason, names in left_out.items():
        remarks.warn(f"left out: {listed(names)} ({reason})")
    return inputs


def _why_not(item: Profile) -> str:
    if item.fault:
        return item.fault
    if item.is_constant:
        return "constant"
    if item.kind is Kind.TIMESTAMP:
        return "another timestamp: it may be part of the outcome; a feature can be computed from it"
    if item.kind is Kind.STRING and not is_categorical(item):
        return f"more than {MOST_CATEGORIES} different texts, of which no feature can be made as they are"
    if _is_running_number(item):
        return "a running number, which always drifts"
    if item.nulls > 0.95 * len(item.values):
        return "null in more than 95 % of the rows"
    return ""


def _is_running_number(item: Profile) -> bool:
    """Whether the column numbers the rows, as an id of a database does: whole numbers without duplicates and with few gaps."""
    if (
        item.kind is not Kind.INTEGER
        or item.nulls
        or item.distinct < len(item.values)
        or item.distinct < _FEWEST_NUMBERED
    ):
        return False
    low, high = int(item.values.min()), int(item.values.max())  # type: ignore[arg-type]
    return high - low < 2 * item.distinct


def without_suspects(
    inputs: list[Profile], skills: Mapping[str, float], label: Profile, remarks: Remarks
) -> list[Profile]:
    """The inputs without those that give the label away. skills: how well each column alone predicts it, 0 to 1, by name."""
    suspects = [item for item in inputs if skills.get(item.name, 0.0) > DEFAULT_LEAKAGE]
    if suspects:
        remarks.warn(
            f"left out: {_predict_alone(suspects, skills, label)}, as a part of the outcome does. Put back what a request can carry "
            "before the outcome is known, and raise the gate leakage_probe."
        )
    kept = [item for item in inputs if item not in suspects]
    strong = [item for item in kept if skills.get(item.name, 0.0) > _PREDICTIVE]
    if strong:
        remarks.warn(
            f"{_predict_alone(strong, skills, label)} well: make sure that columns "
            "which predict so well are known before the outcome."
        )
    if len(kept) > MOST_FEATURES:
        most = sorted(kept, key=lambda item: -skills.get(item.name, 0.0))[:MOST_FEATURES]
        remarks.warn(
            f"left out: {len(kept) - MOST_FEATURES:,} of {len(kept):,} columns, which predict less than the other {MOST_FEATURES}. "
            "Name others in the file if you need them."
        )
        kept = [item for item in kept if item in most]
    return kept


def _predict_alone(columns: Sequence[Profile], skills: Mapping[str, float], label: Profile) -> str:
    names = listed([f"{item.source_name} ({skills[item.name]:.2f} of 1)" for item in columns])
    return f"{names} {'alone predicts' if len(columns) == 1 else 'each alone predict'} {label.source_name}"


def calendar_of(events: pl.Series, declared: Declaration, inputs: Sequence[Profile]) -> tuple[str, ...]:
    """Parts of the time that have several values, and whose names no column of a request has."""
    parts = {name: part for name, part in _parts(events).items() if name in ("hour", "weekday", "month")}
    if events.dt.day().n_unique() == 1:
        del parts["weekday"]  # the weekday of the first of a month means nothing
    if not inputs:
        parts["year"] = events.dt.year()
    taken = {item.name for item in (*inputs, declared.time, *declared.key)} | {declared.target.name}
    span = events.dt.date().max() - events.dt.date().min()  # type: ignore[operator]
    whole_year = isinstance(span, timedelta) and span > timedelta(days=730)
    return tuple(
        part
        for part, values in parts.items()
        if values.n_unique() > 1 and part not in taken and (part != "month" or whole_year)
    )


def _parts(moments: pl.Series) -> dict[str, pl.Series]:
    clock = moments.dt
    parts = {"year": clock.year(), "month": clock.month(), "day": clock.day(), "hour": clock.hour()}
    return {**parts, "minute": clock.minute(), "weekday": clock.weekday()}


def _same(values: pl.Series, part: pl.Series) -> bool:
    return bool((values.cast(pl.Int64) == part.cast(pl.Int64)).all())
