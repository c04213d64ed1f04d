"""What Prometheus reads: counters and histograms summed over all workers, gauges by worker that lives."""

import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from serving.metrics import BUCKETS, FAMILIES
from serving.slots import Key, read_slots


def exposition(folder: Path) -> bytes:
    """Prometheus' text. folder: where the workers count."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Workers(folder))
    return generate_latest(registry)


class _Workers(Collector):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        summed: dict[Key, list[float]] = {}
        gauges: dict[Key, list[tuple[int, float]]] = {}
        memory: dict[int, float] = {}
        for pid, key, numbers in read_slots(self._folder):
            family = FAMILIES[key[0]]
            if family.kind == "gauge":
                if pid not in memory:
                    memory[pid] = _memory(pid)
                if memory[pid]:
                    gauges.setdefault(key, []).append((pid, numbers[0]))
            else:
                before = summed.get(key)
                summed[key] = numbers if before is None else [a + b for a, b in zip(before, numbers, strict=True)]
        for pid, size in memory.items():
            if size:
                gauges.setdefault(("mlops_worker_memory_bytes",), []).append((pid, size))
        for family in FAMILIES.values():
            if family.kind == "gauge":
                shown = GaugeMetricFamily(family.name, family.help, labels=(*family.labels, "worker"))
                for key in sorted(gauges):
                    if key[0] == family.name:
                        for pid, value in gauges[key]:
                            shown.add_metric([*key[1:], str(pid)], value)
                yield shown
                continue
            mine = [(list(key[1:]), numbers) for key, numbers in sorted(summed.items()) if key[0] == family.name]
            if family.kind == "counter":
                counter = CounterMetricFamily(family.name, family.help, labels=family.labels)
                for labels, numbers in mine:
                    counter.add_metric(labels, numbers[0])
                yield counter
            else:
                histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
                for labels, numbers in mine:
                    histogram.add_metric(labels, _cumulative(numbers), numbers[-1])
                yield histogram


def _cumulative(numbers: list[float]) -> list[tuple[str, float]]:
    total, buckets = 0.0, []
    for bound, count in zip((*map(str, BUCKETS), "+Inf"), numbers[:-1], strict=True):
        total += count
        buckets.append((bound, total))
    return buckets


def _memory(pid: int) -> float:
    """Resident bytes of a worker, 0 once it has ended."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123 (one read per scrape and worker)
            return int(file.read().split()[1]) * float(os.sysconf("SC_PAGE_SIZE"))
    except OSError:
        return 0.0
