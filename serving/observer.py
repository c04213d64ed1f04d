"""What is told of every request while it is answered; counting it is somebody else's business."""

from collections.abc import Callable, Iterable
from typing import Protocol

from serving.metrics import Metrics
from serving.schemas import RowWarning

DECODE, QUEUE, FEATURES, MODEL, LOG = STAGES = ("decode", "queue", "features", "model", "log")
EXPLAIN = "explain"


class Observer(Protocol):
    """Called on the event loop, for large batches in a thread: it must be quick and safe for both."""

    def stage(self, product: str, name: str) -> Callable[[float], None]:
        """Told how many seconds one of STAGES, or EXPLAIN, took: decode and queue of every request, the others of every
        batch of requests."""

    def answered(
        self, product: str, version: int, role: str, rows: int, warnings: Iterable[tuple[RowWarning, ...]]
    ) -> None:
        """Rows were scored. role: champion, canary or shadow. warnings: of the rows that have some."""


class NoObserver:
    """Listens to nothing."""

    def stage(self, product: str, name: str) -> Callable[[float], None]:
        return lambda _: None

    def answered(
        self, product: str, version: int, role: str, rows: int, warnings: Iterable[tuple[RowWarning, ...]]
    ) -> None: ...


class MetricsObserver:
    """Counts into the metrics of this worker."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def stage(self, product: str, name: str) -> Callable[[float], None]:
        return self._metrics.histogram(("mlops_stage_seconds", product, name))

    def answered(
        self, product: str, version: int, role: str, rows: int, warnings: Iterable[tuple[RowWarning, ...]]
    ) -> None:
        self._metrics.add(("mlops_predictions", product, str(version), role), rows)
        for of_row in warnings:
            for warning in of_row:
                for feature in warning.features:
                    if warning.reason == "unknown category":
                        self._metrics.add(("mlops_unknown_categories", product, feature))
                    else:
                        self._metrics.add(("mlops_online_features", product, feature, warning.reason))
