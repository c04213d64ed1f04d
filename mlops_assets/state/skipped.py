"""Periods that the loop skips, and periods that a person requested again."""

from dataclasses import dataclass
from datetime import UTC, datetime

from mlops_assets.records.data import AskedAgain, SkippedPeriod
from mlops_assets.state.records import Records


@dataclass(frozen=True)
class SkippedPeriods:
    """The skipped periods of one product."""

    records: Records

    def skip(self, period: str, reason: str, by: str) -> None:
        """Let the loop store the period without rows; its failed runs no longer count as attempts."""
        now = datetime.now(UTC)
        self.records.save(period, SkippedPeriod(period, reason, by, now))
        self.records.save(period, AskedAgain(period, by, now))

    def note_gap(self, period: str, reason: str, by: str) -> None:
        """The source has no rows of the period, and the product allows that. The source is read again when it is materialised."""
        self.records.save(period, SkippedPeriod(period, reason, by, datetime.now(UTC)))

    def end_gap(self, period: str) -> None:
        """The source has rows of the period after all."""
        self.records.remove(SkippedPeriod, period)

    def has(self, period: str) -> bool:
        return self.records.has(SkippedPeriod, period)

    def load(self, period: str) -> SkippedPeriod:
        """Raises PartitionMissing: the period is not skipped."""
        return self.records.load(SkippedPeriod, period)

    def ask_again(self, period: str, by: str) -> None:
        """Request the period again: it is no longer skipped, and its failed runs no longer count as attempts."""
        self.records.save(period, AskedAgain(period, by, datetime.now(UTC)))
        self.records.remove(SkippedPeriod, period)

    def keys(self) -> list[str]:
        return self.records.keys(SkippedPeriod)

    def among(self, keys: list[str]) -> list[str]:
        """Those of `keys` that are skipped."""
        skipped = self.keys()
        return [key for key in keys if key in skipped]

    def asked_again(self) -> set[str]:
        """Periods that a person ever requested again or skipped."""
        return set(self.records.keys(AskedAgain))

    def asked_again_at(self, period: str) -> datetime | None:
        return self.records.load(AskedAgain, period).at if self.records.has(AskedAgain, period) else None
