"""What a program that holds online values has to offer: SQLite, Redis and Postgres do."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol


class Held(NamedTuple):
    """What is kept of a key: both clocks in microseconds since 1970, and the values as JSON."""

    event: int
    created: int
    content: bytes


class Backend(Protocol):
    """Raises StoreError: it cannot be reached."""

    def upsert(self, product: str, view: str, rows: Mapping[str, Held]) -> int:
        """Keep what is newer by (event, created) than what is held; returns how many rows changed."""
        ...

    def fetch(self, product: str, wanted: Sequence[tuple[str, str]]) -> list[Held | None]:
        """What is held of each (view, key), in one round trip."""
        ...

    def newest(self, product: str, view: str) -> int | None:
        """Event time of the newest value, in microseconds."""
        ...

    def close(self) -> None: ...
