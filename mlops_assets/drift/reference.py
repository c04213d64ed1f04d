"""The reference of drift readings: profiles of every input's values, and of how looked-up values change from row to row.

A looked-up value (the weather, a recent rate) wanders from week to week, so the shares of its values say little. Consecutive
rows of one key, however, share the value or nearly so: the *changes* are steady where the values are not, whatever the season.
Rows whose value came from elsewhere show up as unusual changes.
"""

from collections.abc import Mapping, Sequence

import msgspec
import polars as pl

from mlops_assets.drift.profile import FeatureProfile, Table, Windows, build_profiles, windows_of
from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.products.feature_view import Feature, FeatureKind, FeatureView, Role

FLOOR_WINDOWS = 2


class ChangeProfile(msgspec.Struct, frozen=True):
    """Profile of a feature's change from the row before with the same `key`; its name is the feature's."""

    key: tuple[str, ...]
    is_category: bool
    profile: FeatureProfile


class ReferenceProfile(msgspec.Struct, frozen=True):
    """The reference window as counts: all that is needed to measure drift without its rows; a JSON document.

    order: columns that sort the rows by time. label, score: profiles of the outcomes, and of the predictions of a model of
    the same recipe for periods it was not fitted on; None if there were none.
    """

    features: tuple[FeatureProfile, ...]
    rows: int
    windows: int
    changes: tuple[ChangeProfile, ...] = ()
    order: tuple[str, ...] = ()
    label: FeatureProfile | None = None
    score: FeatureProfile | None = None


def build_reference(
    rows: Table | Windows,
    inputs: Sequence[Feature],
    window: pl.Series | str = "",
    *,
    lookups: Sequence[FeatureView] = (),
    order: Sequence[str] = (),
) -> ReferenceProfile:
    """Profile of the rows a model was trained on.

    rows: a table with its `window` ((rows,) the key of each row, or the column that holds it), or one table per window.
    lookups: views whose features are also profiled by their changes from row to row, sorted by `order`.
    Raises ContractBroken if a column is missing or has the wrong type, NothingToLearnFrom if there are no rows."""
    windows = rows if isinstance(rows, Mapping) else windows_of(rows, window)
    if not windows:
        raise NothingToLearnFrom("the reference has 0 rows. Give the rows that the champion was trained on.")
    profiles = build_profiles(windows, inputs)
    counts = profiles[0].counts if profiles else ()
    changes: list[ChangeProfile] = []
    present = set(next(iter(windows.values())).collect_schema().names())
    for view in lookups:
        followed = [
            feature for feature in view.features if feature.role is not Role.CALENDAR and feature.name in present
        ]
        if followed and order and present.issuperset((*view.key, *order)):
            changes += _profile_changes(windows, view, followed, order)
    return ReferenceProfile(
        profiles, sum(sum(row) for row in counts), len(counts), changes=tuple(changes), order=tuple(order)
    )


def changes_of(rows: pl.LazyFrame, key: Sequence[str], names: Mapping[str, bool], order: Sequence[str]) -> pl.LazyFrame:
    """Change of every named column from the previous row with the same key; null for the first row of a key and beside nulls.

    names: column to whether it is a category. The change of a category is 0 or 1."""
    steps = []
    for name, is_category in names.items():
        value = pl.col(name) if is_category else pl.col(name).cast(pl.Float64).fill_nan(None)
        before = value.shift(1).over(list(key))
        step = (value != before).cast(pl.Float64) if is_category else value - before
        steps.append(step.alias(f"{name}|change"))
    changes = rows.select(list(dict.fromkeys([*order, *key, *names]))).sort(list(order)).select(steps)
    return changes.rename({f"{name}|change": name for name in names})


def _profile_changes(
    windows: Windows, view: FeatureView, followed: Sequence[Feature], order: Sequence[str]
) -> list[ChangeProfile]:
    kinds = {feature.name: feature.kind is FeatureKind.CATEGORICAL for feature in followed}
    changes = pl.collect_all([changes_of(rows, view.key, kinds, order) for rows in windows.values()])
    profiles = []
    for feature in followed:
        parts = [part.select(feature.name).drop_nulls() for part in changes]
        by_window = {key: part.lazy() for key, part in zip(windows, parts, strict=True) if part.height}
        if len(by_window) < FLOOR_WINDOWS:
            continue  # hardly any row follows another one of its key, so there are no changes to compare with
        (profile,) = build_profiles(by_window, [Feature(feature.name, role=feature.role)])
        profiles.append(ChangeProfile(view.key, kinds[feature.name], profile))
    return profiles
