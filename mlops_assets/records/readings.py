"""Records of the monitoring pipeline: the drift, performance and staleness readings of a period."""

from enum import StrEnum
from typing import ClassVar

import msgspec

from mlops_assets.records.record import Record


class DriftState(StrEnum):
    CONCLUSIVE = "conclusive"
    INCONCLUSIVE = "inconclusive"


class FeatureReading(msgspec.Struct, frozen=True):
    """Percent of rows that moved in one feature, with its interval.

    is_actionable: whether it may trigger an action. read_in: "values", "changes" (from the previous row with the same key)
    or "column" (it is missing or has the wrong type). values_percent: the percent read in the values, whatever `read_in` says.
    smallest_detectable: percent of rows that has to move into one bin to exceed the feature's natural variation.
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
    """The product's reading: the largest of its actionable features, a lower bound of the joint shift.

    percent: None only if inconclusive. feature: the feature with that reading, "" if nothing moved. prediction: the same for
    the distribution of scores, None if it cannot be read; it is shown and triggers no action.
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
    """The drift reading of a period against the training window of the champion, version `model_version`."""

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

    value, low, high, expected: in the metric's unit. loss_*: percent of `expected`, negative if the score improved, None
    without a score. spread_percent: natural spread of the metric between periods. natural_percent: natural spread of the
    loss, given the `periods` pooled and those of the test. is_actionable: the interval excludes zero and the loss exceeds twice
    that spread. unpooled_value: the score of the newest period, without the periods pooled with it. label: drift of the
    outcomes from the training window; it is shown and triggers no action.
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
    """The performance reading of a period for the champion, version `model_version`."""

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

    percent, low, high: None unless conclusive; negative if the champion is better. is_actionable: the interval lies above zero
    and the gain reaches the policy's `stale`. periods: the rows of these were compared. trained_before: the period before
    which the challenger's training rows end.
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
    """What a fresh model of recipe `recipe_version` would gain over the champion, version `model_version`."""

    asset: ClassVar[str] = "staleness"
    schema: ClassVar[int] = 2

    model_version: int
    recipe_version: int
    reading: StalenessReading
