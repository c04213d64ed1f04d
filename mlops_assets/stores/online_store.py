"""Online store: the newest value per key of every lookup view, for what a request cannot carry itself."""

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl

from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, FeatureView

Value = float | str | None


@dataclass(frozen=True)
class LookedUp:
    """Values of one view for one key. `state`: found, missing (no such key), stale (older than its time to live)."""

    values: Mapping[str, Value]
    state: str


class OnlineStore:
    """SQLite in WAL mode: one writer beside many readers, in any process of the machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()

    def write(self, product: str, view: FeatureView, newest: pl.DataFrame) -> int:
        """Keep, per key, the row with the newest event; returns how many rows changed.

        newest: view's key, event_time, created_time and one column per feature, one row per key."""
        rows = [
            (
                _key([row[name] for name in view.key]),
                row[EVENT_TIME].timestamp(),
                row[CREATED_TIME].timestamp(),
                msgspec.json.encode({name: row[name] for name in view.names}),
            )
            for row in newest.iter_rows(named=True)
        ]
        with self._connection() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS value (product TEXT, view TEXT, key TEXT, event_time REAL, created_time REAL,"
                " content BLOB, PRIMARY KEY (product, view, key)) WITHOUT ROWID"
            )
            before = connection.total_changes
            connection.executemany(
                "INSERT INTO value VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET event_time = excluded.event_time,"
                " created_time = excluded.created_time, content = excluded.content"
                " WHERE (excluded.event_time, excluded.created_time) > (value.event_time, value.created_time)",
                [(product, view.name, *row) for row in rows],
            )
            return connection.total_changes - before

    def read(self, product: str, view: FeatureView, key: Sequence[object], at: datetime) -> LookedUp:
        """Values that were known and alive at `at`; every value is None when the key is missing or stale."""
        nothing = dict.fromkeys(view.names)
        with self._connection() as connection:
            try:
                row = connection.execute(
                    "SELECT event_time, created_time, content FROM value WHERE product = ? AND view = ? AND key = ?",
                    (product, view.name, _key(key)),
                ).fetchone()
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                row = None
        if row is None:
            return LookedUp(nothing, "missing")
        event = datetime.fromtimestamp(row[0], UTC)
        created = datetime.fromtimestamp(row[1], UTC)
        if created > at or at - event > (view.time_to_live or timedelta.max):
            return LookedUp(nothing, "stale")
        return LookedUp(msgspec.json.decode(row[2]), "found")

    def freshness(self, product: str, view: FeatureView) -> datetime | None:
        """Event time of the newest value, None before the first write."""
        with self._connection() as connection:
            try:
                newest = connection.execute(
                    "SELECT max(event_time) FROM value WHERE product = ? AND view = ?", (product, view.name)
                ).fetchone()[0]
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                return None
        return datetime.fromtimestamp(newest, UTC) if newest is not None else None

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=10)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            self._local.connection = connection
        with connection:
            yield connection


def _key(parts: Sequence[object]) -> str:
    """One text per key; numbers that are equal read equal, however they are typed."""
    return "\x1f".join(str(int(part) if isinstance(part, float) and part.is_integer() else part) for part in parts)
