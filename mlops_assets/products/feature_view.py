"""Feature views: what a feature is called, how it is computed, and for how long its value holds.

A *request* view is computed from the columns that the row (or the live request) carries itself. A *lookup* view is a
table of values with both clocks, joined point-in-time offline and kept, newest row per key, in the online store.
Both are Narwhals expressions, so that Polars and Spark run the same definition.
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
    """The lookup of a trailing view: what it sums, by which key and over how long. `features/trailing.py` makes its table."""

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
    """What a shift of the feature means: calendar and seasonal features move by design, so they are shown, not acted on."""

    INPUT = "input"
    CALENDAR = "calendar"
    SEASONAL = "seasonal"


@dataclass(frozen=True)
class Feature:
    """One model input. `expression` is None where a lookup table delivers the column."""

    name: str
    expression: nw.Expr | None = None
    kind: FeatureKind = FeatureKind.NUMERIC
    unit: str = ""
    description: str = ""
    role: Role = Role.INPUT


@dataclass(frozen=True)
class FeatureView:
    """A group of features with one key and one time to live.

    lookup: None for a request view, else a function from the source's tables (periods within `lookback` of the rows)
        to a frame with the `key` columns, `event_time`, `created_time` and one column per feature; or what `trailing_view`
        makes.
    intermediate: named expressions over the request's columns that the features use; computed once, not kept.
    time_to_live: a value whose event is older than this when the row's event happens is null.
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
            bare = [feature.name for feature in self.features if feature.expression is None]
            if bare or self.key or self.time_to_live:
                raise DeclarationError(
                    f"feature view {self.name!r} has no lookup, so every feature needs an expression "
                    f"(missing: {', '.join(bare) or 'none'}) and key and time_to_live stay empty."
                )
        elif not self.key or self.time_to_live is None or self.time_to_live <= timedelta(0):
            raise DeclarationError(f"lookup view {self.name!r} needs a key and a positive time_to_live.")

    @property
    def is_lookup(self) -> bool:
        return self.lookup is not None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)


def numbers(*columns: str, unit: str = "", role: Role = Role.INPUT) -> tuple[Feature, ...]:
    """Numeric features that are columns of the request as they are; true and false are 1 and 0."""
    return tuple(Feature(name, nw.col(name), unit=unit, role=role) for name in columns)


def categories(*columns: str, role: Role = Role.INPUT) -> tuple[Feature, ...]:
    """Categorical features that are columns of the request as they are."""
    return tuple(Feature(name, nw.col(name), FeatureKind.CATEGORICAL, role=role) for name in columns)


def calendar(clock: str, *parts: CalendarPart) -> tuple[Feature, ...]:
    """Features that are parts of a timestamp of the request, each by the name of its part.

    They move by design, so that their drift is shown and not acted on. weekday: 1 is Monday."""
    return tuple(Feature(part, _CALENDAR[part](nw.col(clock)), role=Role.CALENDAR) for part in parts)


CalendarPart = Literal["hour", "weekday", "month", "year"]
_CALENDAR: Mapping[CalendarPart, Callable[[nw.Expr], nw.Expr]] = {
    "hour": lambda clock: clock.dt.hour(),
    "weekday": lambda clock: (clock.dt.weekday().cast(nw.Int64) + 6) % 7 + 1,  # Sunday is 7 on Polars, 0 on Spark
    "month": lambda clock: clock.dt.month(),
    "year": lambda clock: clock.dt.year(),
}
