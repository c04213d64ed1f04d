"""Records of the monitoring pipeline: what was read of a period, as drift, performance and staleness."""

from enum import StrEnum
from typing import ClassVar

import msgspec

from mlops_assets.records.record import Record


class DriftState(StrEnum):
    CONCLUSIVE = "conclusive"
    INCONCLUSIVE = "inconclusive"


class FeatureReading(msgspec.Struct, frozen=True):
    """Percent of rows that moved in one feature, with its interval.

    by: what was read, "values", "changes" (from the row before with the same key) or "column" (it is gone).
    values_percent: the percent read in the values, whatever was acted on. smallest_detectable: percent of rows that has to
    move into one bin to be told from the feature's natural variation, in what is read.
    """

    name: str
    percent: float
    low: float
    high: float
    smallest_detectable: float
    role: str
    is_actionable: bool
    note: str
    read_in: str
    values_percent: float


class DriftReading(msgspec.Struct, frozen=True):
    """The product's reading: the largest among the features that act, a lower bound of the joint shift.

    percent: None only when inconclusive. feature: the one behind it, "" when nothing moved. prediction: the same percent
    of the distribution of scores, None where it cannot be read; it is shown and does not act.
    """

    state: DriftState
    percent: float | None
    low: float | None
    high: float | None
    feature: str
    features: tuple[FeatureReading, ...]
    rows: int
    reason: str
    prediction: FeatureReading | None = None


class DriftRecord(Record, frozen=True):
    """The drift reading of a period and the champion whose training window it was read against."""

    asset: ClassVar[str] = "data_drift"
    schema: ClassVar[int] = 2

    model_version: int
    reading: DriftReading


class PerformanceState(StrEnum):
    CONCLUSIVE = "conclusive"
    INCONCLUSIVE = "inconclusive"
    NO_LABELS = "no_labels"


class PerformanceReading(msgspec.Struct, frozen=True):
    """The champion's score on one window with its interval, and the percent it lost against its test report.

    value, low, high, expected: in the metric's unit. loss_*: percent of `expected`, negative when the score got better;
    None when it does not exist. spread_percent: how much the metric of one period varies by itself. natural_percent: how
    much the loss does, over the `periods` pooled and those of the test. acts: the interval excludes zero and the loss
    exceeds twice that. alone: the score of the newest period by itself. label: percent of rows whose outcome moved from the
    training window, shown and not acted on.
    """

    state: PerformanceState
    metric: str
    value: float | None
    low: float | None
    high: float | None
    expected: float
    loss_percent: float | None
    loss_low: float | None
    loss_high: float | None
    spread_percent: float
    is_actionable: bool
    rows: int
    labelled: int
    reason: str
    periods: int = 1
    natural_percent: float = 0.0
    unpooled_value: float | None = None
    label: FeatureReading | None = None


class PerformanceRecord(Record, frozen=True):
    """The performance reading of a period and the champion it is of."""

    asset: ClassVar[str] = "performance"
    schema: ClassVar[int] = 2

    model_version: int
    reading: PerformanceReading


class StalenessState(StrEnum):
    CONCLUSIVE = "conclusive"
    INCONCLUSIVE = "inconclusive"
    NOT_DUE = "not_due"


class StalenessReading(msgspec.Struct, frozen=True):
    """Percent of the primary metric that a fresh model gains over the champion, with its interval.

    percent, low, high: None unless conclusive; negative where the champion is better. acts: the interval lies above zero
    and the gain reaches the policy's `stale`. periods: those compared on; trained_before: the challenger saw nothing later.
    """

    state: StalenessState
    metric: str
    percent: float | None
    low: float | None
    high: float | None
    is_actionable: bool
    reason: str
    periods: tuple[str, ...] = ()
    rows: int = 0
    champion: float | None = None
    challenger: float | None = None
    trained_before: str = ""


class StalenessRecord(Record, frozen=True):
    """What a fresh model by recipe `recipe_version` would gain over the champion."""

    asset: ClassVar[str] = "staleness"
    schema: ClassVar[int] = 2

    model_version: int
    recipe_version: int
    reading: StalenessReading
