"""Records of the data pipeline: periods that are skipped, that a person wants to be tried again, or that have not wholly arrived."""

from datetime import datetime
from typing import ClassVar

from mlops_assets.records.record import Record


class SkippedPeriod(Record, frozen=True):
    """A period whose data could not be obtained, so that the loop goes on without it. at: wall clock."""

    asset: ClassVar[str] = "skipped"

    period: str
    reason: str
    by: str
    at: datetime


class AskedAgain(Record, frozen=True):
    """A request to try a period again. at: wall clock; runs that were launched earlier do not count as attempts."""

    asset: ClassVar[str] = "asked_again"

    period: str
    by: str
    at: datetime


class IncompletePeriod(Record, frozen=True):
    """A period whose rows stop before its end, while the source holds no later ones. at: when the source was asked."""

    asset: ClassVar[str] = "incomplete"

    period: str
    reason: str
    at: datetime
