"""Online store on Postgres: one table, and one connection for each simultaneous read or write."""

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from mlops_assets.addresses import reason, shown
from mlops_assets.errors import StoreError
from mlops_assets.state.online_backend import StoredValue
from mlops_assets.state.online_outage import READ_SECONDS

if TYPE_CHECKING:
    import psycopg

Answer = TypeVar("Answer")

CONNECT_SECONDS = 2  # libpq's minimum
WRITE_SECONDS = 60.0
WATCH_SECONDS = 0.1  # between two checks for reads that take too long
_TABLE = (
    "CREATE TABLE IF NOT EXISTS mlops_online_value (product text, view text, key text, event bigint NOT NULL,"
    " created bigint NOT NULL, content bytea NOT NULL, PRIMARY KEY (product, view, key))"
)
_UPSERT = (
    "INSERT INTO mlops_online_value AS stored SELECT %s, %s, * FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bytea[])"
    " ON CONFLICT (product, view, key) DO UPDATE SET event = excluded.event, created = excluded.created,"
    " content = excluded.content WHERE (excluded.event, excluded.created) > (stored.event, stored.created)"
)
_FETCH = (
    "SELECT requested.number, event, created, content FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY"
    " AS requested(view, key, number) JOIN mlops_online_value AS stored ON stored.product = %s"
    " AND stored.view = requested.view AND stored.key = requested.key"
)
_NEWEST = "SELECT max(event) FROM mlops_online_value WHERE product = %s AND view = %s"


class PostgresBackend:
    """The first write creates the table, so a process that only reads needs no right to create it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: deque[psycopg.Connection] = deque()
        self._watch = _Watch()

    def upsert(self, product: str, view: str, rows: Mapping[str, StoredValue]) -> int:
        columns = zip(*((key, *value) for key, value in rows.items()), strict=True)
        arguments = [product, view, *map(list, columns)]

        def write(connection: "psycopg.Connection") -> int:
            connection.execute(_TABLE)
            return connection.execute(_UPSERT, arguments).rowcount

        return self._call(write, WRITE_SECONDS)

    def fetch(self, product: str, keys: Sequence[tuple[str, str]]) -> list[StoredValue | None]:
        arguments = [[view for view, _ in keys], [key for _, key in keys], product]
        values: list[StoredValue | None] = [None] * len(keys)
        for number, event, created, content in self._rows(_FETCH, arguments):
            values[number - 1] = StoredValue(event, created, bytes(content))
        return values

    def newest(self, product: str, view: str) -> int | None:
        rows = self._rows(_NEWEST, [product, view])
        return rows[0][0] if rows else None

    def close(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _rows(self, query: str, arguments: Sequence[object]) -> "list[psycopg.rows.TupleRow]":
        import psycopg

        def read(connection: "psycopg.Connection") -> "list[psycopg.rows.TupleRow]":
            try:
                return connection.execute(query, arguments).fetchall()
            except psycopg.errors.UndefinedTable:
                return []  # nothing was written yet

        return self._call(read, READ_SECONDS)

    def _call(self, query: "Callable[[psycopg.Connection], Answer]", seconds: float) -> Answer:
        """Runs the query, again on a new connection where the server closed the idle one (after a restart)."""
        import psycopg

        try:
            with suppress(_ConnectionClosed):
                if (idle := self._idle_connection()) is not None:
                    return self._run(idle, query, seconds)
            fresh = psycopg.connect(self._url, autocommit=True, connect_timeout=CONNECT_SECONDS)
            return self._run(fresh, query, seconds)
        except (psycopg.Error, _ConnectionClosed) as error:
            raise StoreError(
                f"the online store on Postgres at {shown(self._url)} cannot be used: {reason(error, self._url)}. Check "
                "that it is up."
            ) from None

    def _idle_connection(self) -> "psycopg.Connection | None":
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _run(
        self, connection: "psycopg.Connection", query: "Callable[[psycopg.Connection], Answer]", seconds: float
    ) -> Answer:
        """Raises _ConnectionClosed: the server closed the connection, and probably all idle ones as well."""
        import psycopg

        is_reusable = False
        started = time.monotonic()
        try:
            with self._watch.within(seconds, connection):
                answer = query(connection)
            is_reusable = True
            return answer
        except psycopg.OperationalError as error:
            if time.monotonic() - started >= seconds:
                raise psycopg.OperationalError(f"no answer within {seconds:g} s") from None
            if not connection.broken:
                raise
            self.close()
            raise _ConnectionClosed(str(error)) from None
        finally:
            if is_reusable:
                self._idle.append(connection)
            else:
                connection.close()


class _ConnectionClosed(Exception):
    """The server closed the connection."""


class _Watch:
    """Closes connections whose server does not answer in time; libpq itself would wait for ever.

    One thread watches all of them, and ends when no query has run for a while."""

    def __init__(self) -> None:
        self._until: dict[psycopg.Connection, float] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def within(self, seconds: float, connection: "psycopg.Connection") -> Iterator[None]:
        with self._lock:
            self._until[connection] = time.monotonic() + seconds
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep_watching, name="online-store-watch", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._until.pop(connection, None)

    def _keep_watching(self) -> None:
        last_query = time.monotonic()
        while True:
            time.sleep(WATCH_SECONDS)
            now = time.monotonic()
            with self._lock:
                for connection in [each for each, until in self._until.items() if until < now]:
                    del self._until[connection]
                    _shut_down(connection)
                if self._until:
                    last_query = now
                elif now - last_query > READ_SECONDS:
                    self._thread = None
                    return


def _shut_down(connection: "psycopg.Connection") -> None:
    """The waiting query fails as if the server had closed the connection. A copy of the file descriptor is used, because the
    connection closes its own."""
    import psycopg

    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)
