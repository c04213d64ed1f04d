"""The interface of the online store's backends: SQLite, Redis and Postgres."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol


class StoredValue(NamedTuple):
    """The newest value of a key: both clocks in microseconds since 1970, and the features as JSON."""

    event: int
    created: int
    content: bytes


class Backend(Protocol):
    """Every method raises StoreError: the backend cannot be reached."""

    def upsert(self, product: str, view: str, rows: Mapping[str, StoredValue]) -> int:
        """Store the rows that are newer by (event, created) than the stored ones; returns how many rows changed."""
        ...

    def fetch(self, product: str, keys: Sequence[tuple[str, str]]) -> list[StoredValue | None]:
        """The value of each (view, key), in one round trip."""
        ...

    def newest(self, product: str, view: str) -> int | None:
        """Event time of the newest value, in microseconds."""
        ...

    def close(self) -> None: ...
