"""Online store on Postgres: one table; a connection per thread, made again when the server went away."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from mlops_assets.errors import StoreError
from mlops_assets.stores.online_store import Held

if TYPE_CHECKING:
    import psycopg

Answer = TypeVar("Answer")

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
    def __init__(self, url: str, seconds: int = 3) -> None:
        self._url = url
        self._seconds = seconds
        self._address = url.rsplit("@", 1)[-1]  # without the password
        self._local = threading.local()
        self._opened: list[psycopg.Connection] = []

    def upsert(self, product: str, view: str, rows: Mapping[str, Held]) -> int:
        columns = zip(*((key, *held) for key, held in rows.items()), strict=True)
        arguments = [product, view, *map(list, columns)]
        return self._asked(lambda connection: connection.execute(_UPSERT, arguments).rowcount)

    def fetch(self, product: str, wanted: Sequence[tuple[str, str]]) -> list[Held | None]:
        arguments = [[view for view, _ in wanted], [key for _, key in wanted], product]
        rows = self._asked(lambda connection: connection.execute(_FETCH, arguments).fetchall())
        found: list[Held | None] = [None] * len(wanted)
        for number, event, created, content in rows:
            found[number - 1] = Held(event, created, bytes(content))
        return found

    def newest(self, product: str, view: str) -> int | None:
        row = self._asked(lambda connection: connection.execute(_NEWEST, [product, view]).fetchone())
        return row[0] if row else None

    def close(self) -> None:
        opened, self._opened, self._local = self._opened, [], threading.local()
        for connection in opened:
            connection.close()

    def _asked(self, ask: "Callable[[psycopg.Connection], Answer]") -> Answer:
        """A connection that the server closed (a restart) is opened anew, once."""
        import psycopg

        try:
            if connection := getattr(self._local, "connection", None):
                try:
                    return ask(connection)
                except psycopg.OperationalError:
                    connection.close()
                    self._opened.remove(connection)
            self._local.connection = None
            connection = psycopg.connect(self._url, autocommit=True, connect_timeout=self._seconds)
            self._opened.append(connection)
            connection.execute(_TABLE)
            self._local.connection = connection
            return ask(connection)
        except psycopg.Error as error:
            reason = str(error).strip().splitlines()[0]
            raise StoreError(
                f"the online store on Postgres at {self._address} cannot be used: {reason}. Check that it is up."
            ) from error
