"""Feature views: what a feature is called, how it is computed, and for how long its value is valid.

An *on-demand* view is computed from the columns that the row (or the live request) carries. A *batch* view is a table of
values with both clocks: offline it is joined point-in-time, and the online store keeps its newest row per key. Both are
Narwhals expressions, so that Polars and Spark run the same definition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Literal

import narwhals as nw

from mlops_assets.errors import DeclarationError

EVENT_TIME = "event_time"  # column of a lookup table: when the value was true
CREATED_TIME = "created_time"  # column of a lookup table: when it was learned
MANY_CATEGORIES = 1_000  # of a feature; more of them can neither be learned nor watched one by one

Tables = Mapping[str, nw.LazyFrame[Any]]
Lookup = Callable[[Tables], nw.LazyFrame[Any]]
Step = Literal["1m", "1h", "1d"]


@dataclass(frozen=True, eq=False)
class Trailing:
    """The lookup of a trailing view: what it sums, by which key and over how long. `features/trailing.py` builds its table."""

    rows: Callable[[Tables], nw.LazyFrame[Any]]
    key: tuple[str, ...]
    window: timedelta
    sums: tuple[str, ...]
    values: tuple[nw.Expr, ...]
    step: Step


class FeatureKind(StrEnum):
    NUMERIC = "numeric"
    CATEGORICAL = "categorical"


class Role(StrEnum):
    """What a shift of the feature means. Calendar and seasonal features move by design: their drift is shown, and no decision
    rests on it."""

    INPUT = "input"
    CALENDAR = "calendar"
    SEASONAL = "seasonal"


@dataclass(frozen=True)
class Feature:
    """One model input. `expression` is None where a lookup table has the column."""

    name: str
    expression: nw.Expr | None = None
    kind: FeatureKind = FeatureKind.NUMERIC
    unit: str = ""
    description: str = ""
    role: Role = Role.INPUT


@dataclass(frozen=True)
class FeatureView:
    """A group of features with one key and one time to live.

    lookup: None for an on-demand view. For a batch view a function from the source's tables (periods within `lookback` of
        the rows) to a frame with the `key` columns, `event_time`, `created_time` and one column per feature; `trailing_view`
        builds another kind.
    intermediate: named expressions over the request's columns that the features use; computed once, not stored.
    time_to_live: a value is null where its event is older than this at the time of the row's event.
    """

    name: str
    features: tuple[Feature, ...]
    key: tuple[str, ...] = ()
    lookup: Lookup | Trailing | None = None
    time_to_live: timedelta | None = None
    lookback: timedelta = timedelta(0)
    description: str = ""
    intermediate: tuple[tuple[str, nw.Expr], ...] = ()

    def __post_init__(self) -> None:
        if not self.features:
            raise DeclarationError(f"feature view {self.name!r} has no feature. Give it one or leave it out.")
        if self.lookup is None:
            missing = [feature.name for feature in self.features if feature.expression is None]
            if missing or self.key or self.time_to_live:
                raise DeclarationError(
                    f"feature view {self.name!r} has no lookup, so every feature needs an expression "
                    f"(missing: {', '.join(missing) or 'none'}) and key and time_to_live stay empty."
                )
        elif not self.key or self.time_to_live is None or self.time_to_live <= timedelta(0):
            raise DeclarationError(f"batch view {self.name!r} needs a key and a positive time_to_live.")

    @property
    def is_batch(self) -> bool:
        return self.lookup is not None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)


def numbers(*columns: str, unit: str = "", role: Role = Role.INPUT) -> tuple[Feature, ...]:
    """Columns of the request as numeric features; true and false are 1 and 0."""
    return tuple(Feature(name, nw.col(name), unit=unit, role=role) for name in columns)


def categories(*columns: str, role: Role = Role.INPUT) -> tuple[Feature, ...]:
    """Columns of the request as categorical features."""
    return tuple(Feature(name, nw.col(name), FeatureKind.CATEGORICAL, role=role) for name in columns)


def calendar(clock: str, *parts: CalendarPart) -> tuple[Feature, ...]:
    """Parts of a timestamp of the request as features, each with the name of its part. weekday: 1 is Monday.

    They move by design: their drift is shown, and no decision rests on it."""
    return tuple(Feature(part, _CALENDAR[part](nw.col(clock)), role=Role.CALENDAR) for part in parts)


CalendarPart = Literal["hour", "weekday", "month", "year"]
_CALENDAR: Mapping[CalendarPart, Callable[[nw.Expr], nw.Expr]] = {
    "hour": lambda clock: clock.dt.hour(),
    "weekday": lambda clock: (clock.dt.weekday().cast(nw.Int64) + 6) % 7 + 1,  # Sunday is 7 on Polars, 0 on Spark
    "month": lambda clock: clock.dt.month(),
    "year": lambda clock: clock.dt.year(),
}
