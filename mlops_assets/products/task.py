"""Kinds of prediction, and the metrics that exist for each."""

from dataclasses import dataclass
from enum import StrEnum

OPERATING_THRESHOLD = 0.5  # a binary prediction is class 1 from this probability on


class Task(StrEnum):
    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


@dataclass(frozen=True)
class Metric:
    """A score: its name, which tasks have it, whether more is better, and its unit ("label" is the label's unit)."""

    name: str
    tasks: frozenset[Task]
    more_is_better: bool
    unit: str = ""

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is better: a larger value times the sign is a better one."""
        return 1 if self.more_is_better else -1

    def gain(self, new: float, old: float) -> float:
        """How much better `new` is than `old`, in the metric's unit; negative when worse."""
        return new - old if self.more_is_better else old - new


_CLASSES = frozenset({Task.BINARY, Task.MULTICLASS})
METRICS = {
    metric.name: metric
    for metric in (
        Metric("roc_auc", _CLASSES, more_is_better=True),
        Metric("average_precision", frozenset({Task.BINARY}), more_is_better=True),
        Metric("accuracy", _CLASSES, more_is_better=True),
        Metric("log_loss", _CLASSES, more_is_better=False),
        Metric("brier", frozenset({Task.BINARY}), more_is_better=False),
        Metric("mae", frozenset({Task.REGRESSION}), more_is_better=False, unit="label"),
        Metric("rmse", frozenset({Task.REGRESSION}), more_is_better=False, unit="label"),
        Metric("r2", frozenset({Task.REGRESSION}), more_is_better=True),
    )
}


def metrics_of(task: Task) -> tuple[str, ...]:
    return tuple(name for name, metric in METRICS.items() if task in metric.tasks)
