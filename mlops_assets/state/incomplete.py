"""Periods that are over and have not wholly arrived."""

from dataclasses import dataclass
from datetime import datetime

from mlops_assets.records.data import IncompletePeriod
from mlops_assets.state.records import Records


@dataclass(frozen=True)
class IncompletePeriods:
    """The incomplete periods of one product."""

    records: Records

    def note(self, period: str, reason: str, now: datetime) -> None:
        """now: when the source was asked."""
        self.records.save(period, IncompletePeriod(period, reason, now))

    def forget(self, period: str) -> None:
        """The period is stored, or it has arrived; nothing happens where it was not noted."""
        self.records.remove(IncompletePeriod, period)

    def has(self, period: str) -> bool:
        return self.records.has(IncompletePeriod, period)

    def load(self, period: str) -> IncompletePeriod:
        """Raises PartitionMissing: the period was not noted."""
        return self.records.load(IncompletePeriod, period)

    def keys(self) -> list[str]:
        return self.records.keys(IncompletePeriod)
