"""Online store: the newest value per key of every batch view, for features that a request cannot carry.

Three backends by URL: a SQLite file (the default), Redis, Postgres. Only this file decides whether a value is valid at a time,
so no backend can return one that has expired or was not yet known.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec
import polars as pl

from mlops_assets.addresses import is_of_postgres, refuse_unclear
from mlops_assets.errors import DeclarationError
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, FeatureView
from mlops_assets.state.dtypes import microseconds
from mlops_assets.state.online_backend import Backend, StoredValue
from mlops_assets.state.online_outage import Breaker

Value = float | str | None
MISSING, STALE, FOUND = "missing", "stale", "found"


class LookedUp(NamedTuple):
    """Values of one view for one key. state: found, missing (the key is unknown), stale (not valid at the time)."""

    values: Mapping[str, Value]
    state: str


class Lookup(NamedTuple):
    view: FeatureView
    key: Sequence[object]
    at: datetime


class OnlineStore:
    """url: a path (SQLite), redis://host:port/number, or postgresql://user@host:port/database.

    While the store does not answer, every read fails at once."""

    def __init__(self, url: str | Path) -> None:
        self._backend = _backend(str(url))
        self._breaker = Breaker(lambda: self._backend.newest("", ""))

    def write(self, product: str, view: FeatureView, newest: pl.DataFrame) -> int:
        """Store, per key, the row with the newest event; returns how many rows changed.

        newest: the view's key, event_time, created_time and one column per feature, one row per key."""
        encode = msgspec.json.Encoder().encode
        rows = {
            key_text([row[name] for name in view.key]): StoredValue(
                microseconds(row[EVENT_TIME]),
                microseconds(row[CREATED_TIME]),
                encode({name: row[name] for name in view.names}),
            )
            for row in newest.iter_rows(named=True)
        }
        return self._backend.upsert(product, view.name, rows) if rows else 0

    def read(self, product: str, view: FeatureView, key: Sequence[object], at: datetime) -> LookedUp:
        """Values that were known and valid at `at`; every value is None when the key is missing or stale."""
        return self.read_many(product, [Lookup(view, key, at)])[0]

    def read_many(self, product: str, lookups: Sequence[Lookup]) -> list[LookedUp]:
        """`read` of each, in one round trip; a key of several lookups is fetched once. Raises StoreError."""
        keys: dict[tuple[str, str], int] = {}
        numbers = [keys.setdefault((view.name, key_text(key)), len(keys)) for view, key, _ in lookups]
        stored = self._breaker.call(lambda: self._backend.fetch(product, list(keys)))
        values: list[Mapping[str, Value]] = [msgspec.json.decode(row.content) if row else {} for row in stored]
        validities = {name: _Validity(view) for name, view in {view.name: view for view, _, _ in lookups}.items()}
        moments: dict[datetime, int] = {}
        results = []
        for number, (view, _, at) in zip(numbers, lookups, strict=True):
            moment = moments.get(at)
            if moment is None:
                moment = moments[at] = microseconds(at)
            results.append(validities[view.name].of(stored[number], values[number], moment))
        return results

    def freshness(self, product: str, view: FeatureView) -> datetime | None:
        """Event time of the newest value, None before the first write."""
        newest = self._breaker.call(lambda: self._backend.newest(product, view.name))
        return None if newest is None else datetime.fromtimestamp(0, UTC) + timedelta(microseconds=newest)

    def close(self) -> None:
        """Close the connections; the next read or write opens new ones."""
        self._breaker.close()
        self._backend.close()


def key_text(parts: Sequence[object]) -> str:
    """One text per key; equal numbers give equal texts, whatever their type."""
    return "\x1f".join(str(int(part) if isinstance(part, float) and part.is_integer() else part) for part in parts)


class _Validity:
    """Decides whether a stored value of one view is valid at a time."""

    def __init__(self, view: FeatureView) -> None:
        nothing = dict.fromkeys(view.names)
        self._missing, self._stale = LookedUp(nothing, MISSING), LookedUp(nothing, STALE)
        self._lifetime = view.time_to_live // timedelta(microseconds=1) if view.time_to_live else None

    def of(self, stored: StoredValue | None, values: Mapping[str, Value], moment: int) -> LookedUp:
        if stored is None:
            return self._missing
        if stored.created > moment or (self._lifetime is not None and moment - stored.event > self._lifetime):
            return self._stale
        return LookedUp(values, FOUND)


def _backend(url: str) -> Backend:
    """Raises DeclarationError: the kind of store is unknown, or the address is ambiguous."""
    refuse_unclear(url, "the address of the online store")
    if is_of_postgres(url):
        from mlops_assets.state.online_postgres import PostgresBackend

        return PostgresBackend(url)
    scheme, separator, _ = url.partition("://")
    if not separator:
        from mlops_assets.state.online_sqlite import SqliteBackend

        return SqliteBackend(Path(url))
    if scheme in ("redis", "rediss"):
        from mlops_assets.state.online_redis import RedisBackend

        return RedisBackend(url)
    raise DeclarationError(
        f"an online store of kind {scheme!r} does not exist. Give a path for SQLite, redis://… or postgresql://…"
    )
