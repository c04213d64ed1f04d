"""What is told of every request while it is answered; the default listens to nothing."""

from typing import Protocol

DECODE, QUEUE, FEATURES, MODEL, LOG = STAGES = ("decode", "queue", "features", "model", "log")


class Observer(Protocol):
    """Called on the event loop, for large batches in a thread: it must be quick and safe for both."""

    def stage(self, product: str, name: str, seconds: float) -> None:
        """One of STAGES took so long: decode and queue per request, the others per batch of requests."""

    def answered(self, product: str, version: int, rows: int, unknown_categories: int, stale_features: int) -> None:
        """Rows were answered; how many of them had a category or a looked-up feature that was not as it should be."""


class NoObserver:
    """Listens to nothing."""

    def stage(self, product: str, name: str, seconds: float) -> None:
        pass

    def answered(self, product: str, version: int, rows: int, unknown_categories: int, stale_features: int) -> None:
        pass
