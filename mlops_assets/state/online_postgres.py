"""Online store on Postgres: one table, and as many connections as there are reads and writes at a time."""

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
from mlops_assets.state.online_backend import Held
from mlops_assets.state.online_outage import READ_SECONDS

if TYPE_CHECKING:
    import psycopg

Answer = TypeVar("Answer")

CONNECT_SECONDS = 2  # the least that libpq takes
WRITE_SECONDS = 60.0
WATCH_SECONDS = 0.1  # between two looks at how long the reads have been waiting
_TABLE = (
    "CREATE TABLE IF NOT EXISTS mlops_online_value (product text, view text, key text, event bigint NOT NULL,"
    " created bigint NOT NULL, content bytea NOT NULL, PRIMARY KEY (product, view, key))"
)
_UPSERT = (
    "INSERT INTO mlops_online_value AS held SELECT %s, %s, * FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bytea[])"
    " ON CONFLICT (product, view, key) DO UPDATE SET event = excluded.event, created = excluded.created,"
    " content = excluded.content WHERE (excluded.event, excluded.created) > (held.event, held.created)"
)
_FETCH = (
    "SELECT asked.number, event, created, content FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY"
    " AS asked(view, key, number) JOIN mlops_online_value AS held ON held.product = %s"
    " AND held.view = asked.view AND held.key = asked.key"
)
_NEWEST = "SELECT max(event) FROM mlops_online_value WHERE product = %s AND view = %s"


class PostgresBackend:
    """The table is made by the first write: who only reads needs no right to make it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: deque[psycopg.Connection] = deque()
        self._watch = _Watch()

    def upsert(self, product: str, view: str, rows: Mapping[str, Held]) -> int:
        columns = zip(*((key, *held) for key, held in rows.items()), strict=True)
        arguments = [product, view, *map(list, columns)]

        def write(connection: "psycopg.Connection") -> int:
            connection.execute(_TABLE)
            return connection.execute(_UPSERT, arguments).rowcount

        return self._asked(write, WRITE_SECONDS)

    def fetch(self, product: str, wanted: Sequence[tuple[str, str]]) -> list[Held | None]:
        arguments = [[view for view, _ in wanted], [key for _, key in wanted], product]
        found: list[Held | None] = [None] * len(wanted)
        for number, event, created, content in self._rows(_FETCH, arguments):
            found[number - 1] = Held(event, created, bytes(content))
        return found

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

        return self._asked(read, READ_SECONDS)

    def _asked(self, ask: "Callable[[psycopg.Connection], Answer]", seconds: float) -> Answer:
        """Connections that the server closed (a restart) are opened anew, once."""
        import psycopg

        try:
            with suppress(_ServerLeft):
                if (kept := self._kept()) is not None:
                    return self._used(kept, ask, seconds)
            fresh = psycopg.connect(self._url, autocommit=True, connect_timeout=CONNECT_SECONDS)
            return self._used(fresh, ask, seconds)
        except (psycopg.Error, _ServerLeft) as error:
            raise StoreError(
                f"the online store on Postgres at {shown(self._url)} cannot be used: {reason(error, self._url)}. Check "
                "that it is up."
            ) from None

    def _kept(self) -> "psycopg.Connection | None":
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _used(
        self, connection: "psycopg.Connection", ask: "Callable[[psycopg.Connection], Answer]", seconds: float
    ) -> Answer:
        """Raises _ServerLeft: the server closed the connection, and with it probably all that are kept."""
        import psycopg

        is_well = False
        started = time.monotonic()
        try:
            with self._watch.within(seconds, connection):
                answer = ask(connection)
            is_well = True
            return answer
        except psycopg.OperationalError as error:
            if time.monotonic() - started >= seconds:
                raise psycopg.OperationalError(f"no answer within {seconds:g} s") from None
            if not connection.broken:
                raise
            self.close()
            raise _ServerLeft(str(error)) from None
        finally:
            if is_well:
                self._idle.append(connection)
            else:
                connection.close()


class _ServerLeft(Exception):
    """The server closed the connection."""


class _Watch:
    """Cuts connections whose server does not answer in time: libpq itself would wait for ever.

    One thread for all of them, which ends when nobody has been waiting for a while."""

    def __init__(self) -> None:
        self._until: dict[psycopg.Connection, float] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def within(self, seconds: float, connection: "psycopg.Connection") -> Iterator[None]:
        with self._lock:
            self._until[connection] = time.monotonic() + seconds
            if self._thread is None:
                self._thread = threading.Thread(target=self._look, name="online-store-watch", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._until.pop(connection, None)

    def _look(self) -> None:
        last_seen = time.monotonic()
        while True:
            time.sleep(WATCH_SECONDS)
            now = time.monotonic()
            with self._lock:
                for connection in [each for each, until in self._until.items() if until < now]:
                    del self._until[connection]
                    _cut(connection)
                if self._until:
                    last_seen = now
                elif now - last_seen > READ_SECONDS:
                    self._thread = None
                    return


def _cut(connection: "psycopg.Connection") -> None:
    """Whoever waits on it is told that the server is gone. The number stays the connection's own: this is a copy."""
    import psycopg

    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as copy:
        copy.shutdown(socket.SHUT_RDWR)
