"""Records of the inference pipeline: the probation of a champion."""

from enum import StrEnum
from typing import ClassVar

from mlops_assets.records.record import Record


class ProbationState(StrEnum):
    PASSING = "passing"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    NONE = "none"  # no champion is in probation


class ProbationRecord(Record, frozen=True):
    """The champion in probation beside the former one. gain: the difference of their scores, positive is better. low, high:
    two-sided interval; each end holds with the declared confidence over all periods of the probation together."""

    asset: ClassVar[str] = "probation"

    state: ProbationState
    reason: str
    version: int | None = None
    former: int | None = None
    rows: int = 0
    errors: int = 0
    gain: float | None = None
    low: float | None = None
    high: float | None = None
