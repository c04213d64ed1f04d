"""What is told of every request while it is answered; counting it is somebody else's business."""

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from serving.metrics import Amounts, Metrics
from serving.schemas import RowWarning

DECODE, QUEUE, FEATURES, MODEL, LOG = STAGES = ("decode", "queue", "features", "model", "log")
EXPLAIN = "explain"


class Observer(Protocol):
    """Called on the event loop, for large batches in a thread: it must be quick and safe for both."""

    def stage(self, product: str, name: str) -> Amounts:
        """Told how long one of STAGES, or EXPLAIN, took: decode and queue of every request, the others of every batch of
        requests."""

    def answers(self, product: str, version: int, role: str) -> Amounts:
        """Told how many rows were scored. role: champion, canary or shadow."""

    def warned(self, product: str, warnings: Iterable[tuple[RowWarning, ...]]) -> None:
        """warnings: of the rows that have some."""


class NoObserver:
    """Listens to nothing."""

    def stage(self, product: str, name: str) -> Amounts:
        return deque(maxlen=0)

    def answers(self, product: str, version: int, role: str) -> Amounts:
        return deque(maxlen=0)

    def warned(self, product: str, warnings: Iterable[tuple[RowWarning, ...]]) -> None: ...


class MetricsObserver:
    """Counts into the metrics of this worker."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def stage(self, product: str, name: str) -> Amounts:
        return self._metrics.histogram(("mlops_stage_seconds", product, name))

    def answers(self, product: str, version: int, role: str) -> Amounts:
        return self._metrics.counter(("mlops_predictions", product, str(version), role))

    def warned(self, product: str, warnings: Iterable[tuple[RowWarning, ...]]) -> None:
        for of_row in warnings:
            for warning in of_row:
                for feature in warning.features:
                    if warning.reason == "unknown category":
                        self._metrics.add(("mlops_unknown_categories", product, feature))
                    else:
                        self._metrics.add(("mlops_online_features", product, feature, warning.reason))
