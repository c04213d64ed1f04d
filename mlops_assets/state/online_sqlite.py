"""Online store in a SQLite file, WAL mode: one writer beside many readers, in any process of the machine."""

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

from mlops_assets.errors import StoreError
from mlops_assets.state.online_backend import StoredValue
from mlops_assets.state.sqlite_files import ATTEMPTS, PAUSE_SECONDS, FileChanged, Reader, cannot_write, open_to_read

TIMEOUT_SECONDS = 10.0
MEMORY = Path(":memory:")  # belongs to one connection, which therefore writes and reads
Answer = TypeVar("Answer")

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
_KEYS_AT_ONCE = 64  # one statement takes half the time of 64 and reads a consistent state
_NEWEST = "SELECT max(event) FROM online_value WHERE product = ? AND view = ?"


@cache
def _fetch(keys: int) -> str:
    return " UNION ALL ".join([_FETCH] * keys)


class SqliteBackend:
    def __init__(self, path: Path) -> None:
        self._path = path
        # idle connections, for the next thread that needs one
        self._readers: deque[Reader] = deque()
        self._writers: deque[sqlite3.Connection] = deque()

    def upsert(self, product: str, view: str, rows: Mapping[str, StoredValue]) -> int:
        with self._writing() as connection, connection:
            before = connection.total_changes
            connection.executemany(_UPSERT, [(product, view, key, *value) for key, value in rows.items()])
            return connection.total_changes - before

    def fetch(self, product: str, keys: Sequence[tuple[str, str]]) -> list[StoredValue | None]:
        def query(connection: sqlite3.Connection) -> list[StoredValue | None]:
            values: list[StoredValue | None] = [None] * len(keys)
            for start in range(0, len(keys), _KEYS_AT_ONCE):
                batch = keys[start : start + _KEYS_AT_ONCE]
                arguments = [part for number, key in enumerate(batch, start) for part in (number, product, *key)]
                for number, event, created, content in connection.execute(_fetch(len(batch)), arguments):
                    values[number] = StoredValue(event, created, content)
            return values

        values = self._read(query)
        return [None] * len(keys) if values is None else values

    def newest(self, product: str, view: str) -> int | None:
        def query(connection: sqlite3.Connection) -> int | None:
            event: int | None = connection.execute(_NEWEST, (product, view)).fetchone()[0]
            return event

        return self._read(query)

    def close(self) -> None:
        with suppress(IndexError):
            while True:
                self._readers.pop().connection.close()
        with suppress(IndexError):
            while True:
                self._writers.pop().close()

    def _read(self, query: Callable[[sqlite3.Connection], Answer]) -> Answer | None:
        """None before the first write."""
        if self._path == MEMORY:
            with self._writing() as connection:
                return query(connection)
        with self._errors():
            for _ in range(ATTEMPTS):
                try:
                    return self._attempt(query)
                except FileChanged as error:
                    newest = error
                    time.sleep(PAUSE_SECONDS)
            raise newest

    def _attempt(self, query: Callable[[sqlite3.Connection], Answer]) -> Answer | None:
        """Raises FileChanged, other sqlite3.Error, OSError."""
        reader = self._reader()
        if reader is None:
            return None
        try:
            answer = query(reader.connection)
        except BaseException as error:
            is_current = reader.is_current
            reader.connection.close()
            if isinstance(error, sqlite3.DatabaseError) and (not is_current or cannot_write(error)):
                raise FileChanged(str(error)) from error
            raise
        if not reader.is_current:
            reader.connection.close()
            raise FileChanged("the file was written to while it was read")
        self._readers.append(reader)
        return answer

    def _reader(self) -> Reader | None:
        """A read-only connection for the caller's exclusive use; None before the first write."""
        with suppress(IndexError):
            return self._readers.pop()
        if not self._path.exists():
            return None
        reader = open_to_read(self._path, TIMEOUT_SECONDS, of_one_thread=False)
        if reader.has_table("online_value"):
            return reader
        reader.connection.close()
        return None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A connection for the caller's exclusive use."""
        with self._errors():
            try:
                connection = self._writers.pop()
            except IndexError:
                connection = self._open_writer()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
            self._writers.append(connection)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"the online store {self._path} cannot be used: {error}. Check the file and its disk."
            ) from error

    def _open_writer(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=TIMEOUT_SECONDS, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            with connection:
                connection.execute(_TABLE)
        except BaseException:
            connection.close()
            raise
        return connection
