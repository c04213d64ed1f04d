"""Metrics: what is counted, cheap enough for every request, and how Prometheus reads it over all workers."""

import threading
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from serving.slots import SLOTS, Key, Slots

# seconds; from a fifth of a millisecond, which a row in process takes, to what nobody should wait for
BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Amounts(Protocol):
    """Where they are told, for the price of an append: an array, or what keeps nothing."""

    def append(self, amount: float, /) -> None: ...
    def extend(self, amounts: Iterable[float], /) -> None: ...


@dataclass(frozen=True)
class Family:
    """One metric. kind: counter, gauge (shown per worker) or histogram."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()


FAMILIES = {
    family.name: family
    for family in (
        Family("mlops_requests", "counter", "Requests answered.", ("route", "status")),
        Family("mlops_request_seconds", "histogram", "From the first byte to the last.", ("route",)),
        Family("mlops_stage_seconds", "histogram", "Of a prediction, by stage.", ("product", "stage")),
        Family("mlops_predictions", "counter", "Rows answered; shadow: scored, not answered.", ("product", "version", "role")),
        Family("mlops_unknown_categories", "counter", "Rows with a category the version never saw.", ("product", "feature")),
        Family("mlops_online_features", "counter", "Rows without a looked-up value.", ("product", "feature", "state")),
        Family("mlops_refusals", "counter", "Requests refused before a route saw them.", ("reason",)),
        Family("mlops_labels", "counter", "Labels taken.", ("product",)),
        Family("mlops_shadow_dropped", "counter", "Rows the challenger did not see: its queue was full, or it failed.", ("product",)),
        Family("mlops_in_flight", "gauge", "Requests being answered.", ()),
        Family("mlops_queue_rows", "gauge", "Rows waiting to be scored.", ()),
        Family("mlops_log_waiting_rows", "gauge", "Answered rows not on disk yet.", ()),
        Family("mlops_log_dropped_rows", "gauge", "Answered rows lost to a full buffer.", ()),
        Family("mlops_log_writing", "gauge", "1 while the prediction log can be written.", ()),
        Family("mlops_log_sealing", "gauge", "1 while logged rows reach the state.", ()),
        Family("mlops_ready", "gauge", "1 while every champion is open and warm.", ()),
        Family("mlops_ledger_readable", "gauge", "1 while the deployment ledger can be read.", ()),
        Family("mlops_newest_serves", "gauge", "1 unless the newest deployment cannot be taken up.", ("product",)),
        Family("mlops_serving", "gauge", "1 for the version that serves.", ("product", "version")),
        Family("mlops_worker_memory_bytes", "gauge", "Resident memory.", ()),
    )
}  # fmt: skip


@dataclass(frozen=True)
class _Histogram:
    """slot: of the first bucket; one above them and the sum follow."""

    slot: int
    waiting: "array[float]" = field(default_factory=lambda: array("d"))

    def settle(self, numbers: "memoryview[float]") -> None:
        seconds = np.frombuffer(_taken(self.waiting))
        if not len(seconds):
            return
        counts = np.bincount(np.searchsorted(BUCKETS, seconds), minlength=len(BUCKETS) + 1).tolist()
        for slot, value in enumerate((*counts, float(seconds.sum())), self.slot):
            numbers[slot] += value


@dataclass(frozen=True)
class _Counter:
    slot: int
    waiting: "array[float]" = field(default_factory=lambda: array("d"))

    def settle(self, numbers: "memoryview[float]") -> None:
        amount = sum(_taken(self.waiting))
        numbers[self.slot] += amount  # no call between load and store: see `slots.py`


class Metrics:
    """Counts of this worker. Keys are looked up once; then one addition is one store into mapped memory.

    What requests are counted by is only kept until `settle` adds all of it: many at once cost a quarter of one by one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._slots = Slots(folder)
        self._numbers = self._slots.numbers
        self._of: dict[Key, int] = {}
        self._told: dict[Key, _Histogram | _Counter] = {}
        self._settling = threading.Lock()

    def add(self, key: Key, amount: float = 1.0) -> None:
        """key: family, then the values of its labels."""
        slot = self._of.get(key)
        if slot is None:
            slot = self._of[key] = self._slots.slots(key)
        self._numbers[slot] += amount

    def set(self, key: Key, value: float) -> None:
        slot = self._of.get(key)
        if slot is None:
            slot = self._of[key] = self._slots.slots(key)
        self._numbers[slot] = value

    def counter(self, key: Key) -> Amounts:
        """Append to it what to add to this key, for who does so with every request."""
        found = self._told.get(key)
        if found is None:
            found = self._told.setdefault(key, _Counter(self._slots.slots(key)))
        return found.waiting

    def histogram(self, key: Key) -> Amounts:
        """Append seconds to it."""
        found = self._told.get(key)
        if found is None:
            found = self._told.setdefault(key, _Histogram(self._slots.slots(key, len(BUCKETS) + 2)))
        return found.waiting

    def settle(self) -> None:
        """Count what was told, from any thread."""
        with self._settling:
            for each in tuple(self._told.values()):
                each.settle(self._numbers)

    def exposition(self) -> bytes:
        """Prometheus' text: counters and histograms summed over all workers, gauges by worker that lives."""
        # the library takes 80 ms to import, a tenth of the start of a worker
        from serving.exposition import exposition

        self.settle()
        return exposition(self._folder)

    def close(self) -> None:
        self.settle()
        self._numbers = memoryview(bytearray(8 * SLOTS)).cast("d")  # late observations go nowhere
        self._slots.close()


def _taken(waiting: "array[float]") -> "array[float]":
    """What is in it, taken out; others go on appending to it."""
    taken = waiting[:]
    del waiting[: len(taken)]
    return taken
