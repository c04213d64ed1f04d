"""Online store in a SQLite file, WAL mode: one writer beside many readers, in any process of the machine."""

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from mlops_assets.errors import StoreError
from mlops_assets.stores.online_store import Held

_TABLE = (
    "CREATE TABLE IF NOT EXISTS online_value (product TEXT, view TEXT, key TEXT, event INTEGER, created INTEGER,"
    " content BLOB, PRIMARY KEY (product, view, key)) WITHOUT ROWID"
)
_UPSERT = (
    "INSERT INTO online_value VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET event = excluded.event,"
    " created = excluded.created, content = excluded.content"
    " WHERE (excluded.event, excluded.created) > (online_value.event, online_value.created)"
)
_FETCH = "SELECT ?, event, created, content FROM online_value WHERE product = ? AND view = ? AND key = ?"
_KEYS_AT_ONCE = 64  # one statement costs half of as many, and sees one moment
_NEWEST = "SELECT max(event) FROM online_value WHERE product = ? AND view = ?"


@cache
def _fetch(keys: int) -> str:
    return " UNION ALL ".join([_FETCH] * keys)


class SqliteBackend:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []

    def upsert(self, product: str, view: str, rows: Mapping[str, Held]) -> int:
        with self._connection() as connection, connection:
            before = connection.total_changes
            connection.executemany(_UPSERT, [(product, view, key, *held) for key, held in rows.items()])
            return connection.total_changes - before

    def fetch(self, product: str, wanted: Sequence[tuple[str, str]]) -> list[Held | None]:
        found: list[Held | None] = [None] * len(wanted)
        with self._connection() as connection:
            for start in range(0, len(wanted), _KEYS_AT_ONCE):
                some = wanted[start : start + _KEYS_AT_ONCE]
                asked = [part for number, place in enumerate(some, start) for part in (number, product, *place)]
                for number, event, created, content in connection.execute(_fetch(len(some)), asked):
                    found[number] = Held(event, created, content)
        return found

    def newest(self, product: str, view: str) -> int | None:
        with self._connection() as connection:
            newest: int | None = connection.execute(_NEWEST, (product, view)).fetchone()[0]
        return newest

    def close(self) -> None:
        opened, self._opened, self._local = self._opened, [], threading.local()
        for connection in opened:
            connection.close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
            if connection is None:
                # one per thread, but `close` may come from another
                self._path.parent.mkdir(parents=True, exist_ok=True)
                connection = sqlite3.connect(self._path, timeout=10, check_same_thread=False)
                self._opened.append(connection)
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
                with connection:
                    connection.execute(_TABLE)
                self._local.connection = connection
            yield connection
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"the online store {self._path} cannot be used: {error}. Check the file and its disk."
            ) from error
