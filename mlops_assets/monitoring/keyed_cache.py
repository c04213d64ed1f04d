"""A cache that computes each value once, whichever thread asks for it first."""

from collections import defaultdict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class KeyedCache(Generic[K, V]):
    """Values by key. The first thread that asks for a key computes its value, and the others wait. Failures are not cached."""

    def __init__(self) -> None:
        self._values: dict[K, V] = {}
        self._lock_of_key: defaultdict[K, Lock] = defaultdict(Lock)
        self._lock = Lock()

    def __call__(self, key: K, compute: Callable[[], V]) -> V:
        with self._lock:
            lock_of_key = self._lock_of_key[key]
        with lock_of_key:
            if key not in self._values:
                self._values[key] = compute()
            return self._values[key]
