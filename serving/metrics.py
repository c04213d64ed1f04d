"""Metrics: what is counted, cheap enough for every request, and how Prometheus reads it over all workers."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serving.slots import SLOTS, Key, Slots

# seconds; from a fifth of a millisecond, which a row in process takes, to what nobody should wait for
BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


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
        Family("mlops_ready", "gauge", "1 while every champion is open and warm.", ()),
        Family("mlops_serving", "gauge", "1 for the version that serves.", ("product", "version")),
        Family("mlops_worker_memory_bytes", "gauge", "Resident memory.", ()),
    )
}  # fmt: skip


class Metrics:
    """Counts of this worker. Keys are looked up once; then one addition is one store into mapped memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._slots = Slots(folder)
        self._numbers = self._slots.numbers
        self._of: dict[Key, int] = {}
        self._histograms: dict[Key, Callable[[float], None]] = {}

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

    def counter(self, key: Key) -> Callable[[float], None]:
        """Adds to this key, for who does so with every request."""
        slot = self._slots.slots(key)

        def add(amount: float) -> None:
            self._numbers[slot] += amount

        return add

    def histogram(self, key: Key) -> Callable[[float], None]:
        """Takes seconds: one slot per bucket, one above them, one for the sum."""
        found = self._histograms.get(key)
        if found is not None:
            return found
        slot = self._slots.slots(key, len(BUCKETS) + 2)
        total = slot + len(BUCKETS) + 1

        def observe(seconds: float) -> None:
            numbers = self._numbers
            numbers[slot + bisect_left(BUCKETS, seconds)] += 1.0
            numbers[total] += seconds

        self._histograms[key] = observe
        return observe

    def exposition(self) -> bytes:
        """Prometheus' text: counters and histograms summed over all workers, gauges by worker that lives."""
        # the library takes 80 ms to import, a tenth of the start of a worker
        from serving.exposition import exposition

        return exposition(self._folder)

    def close(self) -> None:
        self._numbers = memoryview(bytearray(8 * SLOTS)).cast("d")  # late observations go nowhere
        self._slots.close()
