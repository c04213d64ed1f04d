"""Makes each thing once, whoever asks first."""

from collections import defaultdict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Once(Generic[K, V]):
    """Values by key, each made by the first thread that asks for it; the others wait. A failure is not kept."""

    def __init__(self) -> None:
        self._values: dict[K, V] = {}
        self._making: defaultdict[K, Lock] = defaultdict(Lock)
        self._lock = Lock()

    def __call__(self, key: K, make: Callable[[], V]) -> V:
        with self._lock:
            making = self._making[key]
        with making:
            if key not in self._values:
                self._values[key] = make()
            return self._values[key]
