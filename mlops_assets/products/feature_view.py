"""Feature views: what a feature is called, how it is computed, and for how long its value holds.

A *request* view is computed from the columns that the row (or the live request) carries itself. A *lookup* view is a
table of values with both clocks, joined point-in-time offline and kept, newest row per key, in the online store.
Both are Narwhals expressions, so that Polars and Spark run the same definition.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

import narwhals as nw

from mlops_assets.errors import DeclarationError

EVENT_TIME = "event_time"  # column of a lookup table: when the value was true
CREATED_TIME = "created_time"  # column of a lookup table: when it was learned

Tables = Mapping[str, nw.LazyFrame[Any]]
Lookup = Callable[[Tables], nw.LazyFrame[Any]]


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
        to a frame with the `key` columns, `event_time`, `created_time` and one column per feature.
    intermediate: named expressions over the request's columns that the features use; computed once, not kept.
    time_to_live: a value whose event is older than this when the row's event happens is null.
    """

    name: str
    features: tuple[Feature, ...]
    key: tuple[str, ...] = ()
    lookup: Lookup | None = None
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

    def fingerprint(self) -> str:
        """Changes when the definition does: names, kinds, key, time to live, and the source text of the lookup with
        the functions and values of its module, or of where it was made, that it uses."""
        lookup = "\n".join(_declared(self.lookup)) if self.lookup else ""
        facts = [self.name, *self.key, str(self.time_to_live), str(self.lookback), lookup]
        facts += [f"{f.name}|{f.kind}|{f.expression!r}" for f in self.features]
        facts += [f"{name}={expression!r}" for name, expression in self.intermediate]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


@runtime_checkable
class Parametrised(Protocol):
    """A lookup that is not a function, but made of what it declares."""

    @property
    def declaration(self) -> tuple[object, ...]: ...


def _declared(lookup: Lookup) -> list[str]:
    parts = lookup.declaration if isinstance(lookup, Parametrised) else (lookup,)
    seen: dict[str, None] = {}
    return [text for part in parts for text in (_sources(part, seen) if callable(part) else [repr(part)])]


def _sources(function: Callable[..., object], seen: dict[str, None]) -> list[str]:
    """Source text of the function, and what it reaches in its own module or was made with, each once."""
    found = [inspect.getsource(function)]
    bare = inspect.unwrap(function)
    held = {name: bare.__globals__.get(name) for name in bare.__code__.co_names}
    for name, used in {**held, **inspect.getclosurevars(bare).nonlocals}.items():
        if name in seen or used is None:
            continue
        seen[name] = None
        if inspect.isfunction(used) and used.__module__ == function.__module__:
            found += _sources(used, seen)
        elif isinstance(used, nw.Expr | int | float | str | tuple | timedelta):
            found.append(f"{name}={used!r}")
    return found
