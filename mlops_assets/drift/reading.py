"""Drift arithmetic: how far the current window moved from the reference window, in percent of probability mass.

A reading of 6 says that 6 % of the rows of the current window lie where the reference has no such rows. The reference
is kept as bin counts per window, because rows of one day are not independent: a shift has to exceed how much a bin's
share varies between windows by itself (`natural variance`), not the sampling error of independent rows alone.
"""

import math
from collections.abc import Collection, Mapping

import polars as pl

from mlops_assets.drift.binning import Counts, count_bins
from mlops_assets.drift.profile import CATEGORY_SHARE, FeatureProfile, Table, column_fault
from mlops_assets.drift.reference import ChangeProfile, ReferenceProfile, changes_of
from mlops_assets.drift.shares import Shares
from mlops_assets.products.feature_view import FeatureKind, Role
from mlops_assets.records.readings import DriftReading, DriftState, FeatureReading

MOSTLY_RARE_PERCENT = 50.0
BLIND_FROM_PERCENT = 5.0  # a feature whose smallest detectable shift is larger is reported as blind


def measure_drift(
    reference: ReferenceProfile,
    current: Table,
    *,
    min_rows: int,
    unused: Collection[str] = (),
    season: ReferenceProfile | None = None,
) -> DriftReading:
    """Compare the current window with the reference, feature by feature, in one streaming pass over its rows.

    unused: features that the champion hardly uses; they are shown, but trigger no action. season: the same season a year
    before, which replaces the training window for the features it holds. A column that is missing or has the wrong type
    becomes a reading with a note, never an exception."""
    lazy = current.lazy()
    rows = int(lazy.select(pl.len()).collect(engine="streaming").item())
    if rows < max(1, min_rows):
        needed = f": a period has to be {-(-min_rows // rows)} times as long, or min_rows lower" if rows else ""
        return inconclusive(rows, f"{rows} rows, the policy asks for {min_rows}{needed}")
    if reference.windows < 2:
        return inconclusive(rows, "the reference is a single window, so its natural variation is unknown")
    seasonal = (
        {profile.name: profile for profile in season.features} if season is not None and season.windows > 1 else {}
    )
    readings = _read_features(reference, lazy, unused, seasonal)
    actionable = [reading for reading in readings if reading.is_actionable]
    if not actionable:
        return inconclusive(rows, _why_none_is_actionable(reference, readings, rows), readings)
    largest = max(actionable, key=lambda reading: reading.percent)
    if largest.percent == 0:
        undetectable = max(reading.high for reading in actionable)
        reason = _why_nothing_acts(readings)
        return DriftReading(DriftState.CONCLUSIVE, 0.0, 0.0, undetectable, "", readings, rows, reason)
    what = "rows moved" if largest.read_in != "changes" else "rows changed unusually from the row before"
    reason = f"{largest.percent:.1f} % of {what} in {largest.name} ({largest.low:.1f} to {largest.high:.1f})"
    return DriftReading(
        DriftState.CONCLUSIVE, largest.percent, largest.low, largest.high, largest.name, readings, rows, reason
    )


def measure_distribution(profile: FeatureProfile, current: Table, *, min_rows: int) -> FeatureReading | None:
    """Percent of rows that moved in one column that is shown but triggers no action: scores, labels.

    None if it cannot be read: too few rows have a value, or the reference has fewer than two windows."""
    values = current.lazy().select(profile.name).drop_nulls()
    rows = int(values.select(pl.len()).collect(engine="streaming").item())
    if rows < max(1, min_rows) or len(profile.counts) < 2:
        return None
    (counts,) = count_bins([profile], values)
    shares = Shares(profile.counts, profile.exclusive_counts, counts, 1)
    percent, low, high = shares.reading()
    smallest = shares.smallest_detectable()
    note = f"blind below {smallest:.0f} %" if smallest > BLIND_FROM_PERCENT else ""
    return FeatureReading(profile.name, percent, low, high, smallest, profile.name, False, note, "values", percent)


def _why_nothing_acts(readings: tuple[FeatureReading, ...]) -> str:
    """A column that visibly moved is named although it triggers nothing, or its plot would contradict the reason."""
    shown = [item for item in readings if item.role == Role.INPUT.value and item.percent > 0]
    if not shown:
        return "no feature moved"
    most = max(shown, key=lambda item: item.percent)
    return f"no feature that triggers an action moved; {most.percent:.1f} % of rows moved in {most.name} ({most.note})"


def _why_none_is_actionable(reference: ReferenceProfile, readings: tuple[FeatureReading, ...], rows: int) -> str:
    """The reason, and how many rows would be needed: the noise of a share falls with the square root of the rows."""
    text = "no feature can trigger an action: all are seasonal, calendar, unused or blind"
    blind = [
        item for item in readings if item.role == Role.INPUT.value and item.smallest_detectable > BLIND_FROM_PERCENT
    ]
    if not blind:
        return text
    best = min(blind, key=lambda item: item.smallest_detectable)
    factor = (best.smallest_detectable / BLIND_FROM_PERCENT) ** 2
    times = math.ceil(factor * 10) / 10
    return (
        f"{text}. The most sensitive is {best.name}, which detects shifts from {best.smallest_detectable:.1f} % of {rows:,} rows: "
        f"about {rows * factor:,.0f} rows in a window would show {BLIND_FROM_PERCENT:g} %, {times:g} times as many: declare "
        f"longer periods. If the {reference.windows} windows of the training_window differ much from each other, a longer "
        "training_window helps too"
    )


def inconclusive(rows: int, reason: str, features: tuple[FeatureReading, ...] = ()) -> DriftReading:
    return DriftReading(DriftState.INCONCLUSIVE, None, None, None, "", features, rows, reason)


def _read_features(
    reference: ReferenceProfile, current: pl.LazyFrame, unused: Collection[str], seasonal: Mapping[str, FeatureProfile]
) -> tuple[FeatureReading, ...]:
    schema = current.collect_schema()
    faults = {
        profile.name: fault
        for profile in reference.features
        if (fault := column_fault(schema, profile.name, profile.kind)) is not None
    }
    profiles = [seasonal.get(profile.name, profile) for profile in reference.features]
    readable = [profile for profile in profiles if profile.name not in faults]
    tests = len(reference.features) + len(reference.changes)
    names = [profile.name for profile in readable]
    counted = dict(zip(names, count_bins(readable, current), strict=True)) if readable else {}
    counted_changes = _count_changes(reference, current, counted)
    readings = []
    for profile in profiles:
        if profile.name in faults:  # no season explains a broken column, so it triggers an action in every role
            whole, note = (100.0, 100.0, 100.0), f"column {faults[profile.name]}"
            role = profile.role.value
            readings.append(FeatureReading(profile.name, *whole, 0.0, role, True, note, "column", 100.0))
            continue
        values = Shares(profile.counts, profile.exclusive_counts, counted[profile.name], tests)
        changes = None
        if profile.name in counted_changes:
            change, counts = counted_changes[profile.name]
            changes = Shares(change.counts, change.exclusive_counts, counts, tests, is_change=True)
        notes = _notes(profile, values, current)
        if profile.name in seasonal:
            notes.append("against the same season a year before")
        readings.append(_read_feature(profile, values, changes, notes, profile.name in unused))
    return tuple(readings)


def _count_changes(
    reference: ReferenceProfile, current: pl.LazyFrame, readable: Collection[str]
) -> dict[str, tuple[FeatureProfile, Counts]]:
    """Profile and counts of the changes of every feature that the current window holds with its key and order."""
    schema = current.collect_schema()
    by_key: dict[tuple[str, ...], dict[str, ChangeProfile]] = {}
    for change in reference.changes:
        name = change.profile.name
        if name in readable and all(column in schema for column in (*change.key, *reference.order)):
            by_key.setdefault(change.key, {})[name] = change
    counted: dict[str, tuple[FeatureProfile, Counts]] = {}
    for key, by_name in by_key.items():
        kinds = {name: change.is_category for name, change in by_name.items()}
        changes = changes_of(current, key, kinds, reference.order).collect().lazy()
        profiles = [change.profile for change in by_name.values()]
        for profile, counts in zip(profiles, count_bins(profiles, changes), strict=True):
            counts[-1] = 0  # the first row of a key follows no other; values that turn null are read in the values
            if counts.sum():
                counted[profile.name] = (profile, counts)
    return counted


def _read_feature(
    profile: FeatureProfile, values: Shares, changes: Shares | None, notes: list[str], is_unused: bool
) -> FeatureReading:
    name, role = profile.name, profile.role.value
    smallest, whole = values.smallest_detectable(), values.reading()
    if values.current[-1] == 1 and not (values.counts[:, -1] == values.window_rows).any():
        nulls = 100 * (1 - float(values.reference[-1]))
        return FeatureReading(name, nulls, nulls, nulls, smallest, role, True, "; ".join(notes), "values", nulls)
    if is_unused:
        notes.append("hardly used by the champion: shown, not acted on")
        return FeatureReading(name, *whole, smallest, role, False, "; ".join(notes), "values", whole[0])
    is_input, is_blind = profile.role is Role.INPUT, smallest > BLIND_FROM_PERCENT
    # neither season nor calendar turns values null, and a blind feature still shows values that are new to it
    actionable_bins = True if is_input and not is_blind else values.outside if is_input else values.null
    actionable, read_in = values.reading(actionable_bins), "values"
    is_actionable = actionable[0] > 0 or (is_input and not is_blind)
    smallest_change = changes.smallest_detectable() if changes is not None else 100.0
    if changes is not None and smallest_change <= BLIND_FROM_PERCENT:
        change = changes.reading()
        if not is_actionable or change[0] > actionable[0]:
            actionable, read_in = change, "changes"
        is_actionable, smallest = True, min(smallest, smallest_change)
    notes += _limits(profile, is_blind, values.smallest_detectable(), smallest_change, is_actionable)
    shown = actionable if is_actionable else whole
    return FeatureReading(name, *shown, smallest, role, is_actionable, "; ".join(notes), read_in, whole[0])


def _limits(
    profile: FeatureProfile, is_blind: bool, smallest: float, smallest_change: float, is_actionable: bool
) -> list[str]:
    """Notes on what triggers no action, and on the smallest shift that can be detected."""
    reads_changes = smallest_change <= BLIND_FROM_PERCENT
    changes = [f"changes from row to row, from {smallest_change:.1f} %"] if reads_changes else []
    if profile.role is not Role.INPUT:
        exceptions = f" except {' and '.join(['nulls', *changes])}" if changes else ""
        return [f"{profile.role.value}: shown, not acted on{exceptions}"]
    if not is_blind:
        return []
    rest = ["nulls", "values new to it", *changes] if is_actionable else []
    return [f"blind below {smallest:.0f} %" + (f" except for {', '.join(rest[:-1])} and {rest[-1]}" if rest else "")]


def _notes(profile: FeatureProfile, shares: Shares, current: pl.LazyFrame) -> list[str]:
    notes = []
    if shares.reference[-1] == 1:
        notes.append("null throughout the reference")
    elif profile.kind is FeatureKind.CATEGORICAL:
        notes += _notes_on_categories(profile, shares)
    elif shares.reference.max() == 1 and profile.minimum == profile.maximum:
        notes.append("constant in the reference")
    if shares.current[-1] == 1:
        notes.append("null throughout the current window")
    elif shares.current.max() == 1 > shares.reference.max() and _is_constant(current, profile.name):
        notes.append("constant in the current window")
    return notes


def _notes_on_categories(profile: FeatureProfile, shares: Shares) -> list[str]:
    if len(profile.categories) + len(profile.rare) == 1:
        return ["constant in the reference"]
    rare = 100 * float(shares.reference[len(profile.categories)])
    if rare < MOSTLY_RARE_PERCENT:
        return []
    return [
        f"{rare:.0f} % of the reference lies in {len(profile.rare):,} categories of less than {CATEGORY_SHARE:.1%} each, which share "
        "one bin: rows that move between them are not detected"
    ]


def _is_constant(rows: pl.LazyFrame, name: str) -> bool:
    return bool(rows.select(pl.col(name).n_unique() == 1).collect(engine="streaming").item())
