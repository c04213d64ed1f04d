"""Time partitions of a product: which period a moment belongs to, and how its key is written."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from mlops_assets.errors import DeclarationError


@dataclass(frozen=True, order=True)
class Period:
    """The half-open span `[start, end)`, both UTC; its key is its first day, as in Dagster."""

    start: datetime
    end: datetime

    @property
    def key(self) -> str:
        return self.start.strftime("%Y-%m-%d")


@dataclass(frozen=True)
class Periods:
    """Adjacent periods of equal length from `start` (inclusive) to `end` (exclusive, None: still running)."""

    length: timedelta
    start: datetime
    end: datetime | None = None

    def __post_init__(self) -> None:
        if self.end is not None and (self.end <= self.start or (self.end - self.start) % self.length):
            raise DeclarationError(
                f"periods end {self.end:%Y-%m-%d}, which is not a whole number of {self.length.days} day periods "
                f"after their start {self.start:%Y-%m-%d}. Move the end."
            )

    def at(self, key: str) -> Period:
        """The period with this key.

        Raises DeclarationError: the key is not the first day of a period."""
        try:
            start = datetime.strptime(key, "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            raise DeclarationError(
                f"{key!r} is not a period key. Write its first day, as in {self.first.key}."
            ) from None
        if (start - self.start) % self.length:
            nearest = self.containing(max(start, self.start)).key
            raise DeclarationError(f"no period begins on {key}. The one around it is {nearest}.")
        return Period(start, start + self.length)

    def containing(self, moment: datetime) -> Period:
        start = self.start + ((moment - self.start) // self.length) * self.length
        return Period(start, start + self.length)

    def shift(self, period: Period, by: int) -> Period:
        start = period.start + by * self.length
        return Period(start, start + self.length)

    def has(self, period: Period) -> bool:
        return period.start >= self.start and (self.end is None or period.end <= self.end)

    def window_before(self, key: str, length: timedelta) -> list[Period]:
        """The whole periods in `[start of key - length, start of key)` that exist, oldest first."""
        last = self.at(key)
        count = length // self.length
        return [period for by in range(-count, 0) if self.has(period := self.shift(last, by))]

    def covering(self, window: timedelta) -> int:
        """How many periods it takes to cover `window`."""
        return -(-window // self.length)

    def up_to(self, key: str, count: int) -> list[Period]:
        """The period of `key` and the ones before it, `count` in all, oldest first; fewer at the start of time."""
        last = self.at(key)
        return [period for back in range(count - 1, -1, -1) if self.has(period := self.shift(last, -back))]

    def ended_by(self, now: datetime) -> Iterator[Period]:
        """Every period that is over at `now`, oldest first."""
        period = self.first
        while self.has(period) and period.end <= now:
            yield period
            period = self.shift(period, 1)

    @property
    def first(self) -> Period:
        return Period(self.start, self.start + self.length)


def weekly(start: str, end: str | None = None) -> Periods:
    """Weeks that begin on the weekday of `start`."""
    return Periods(timedelta(weeks=1), _midnight(start), _midnight(end) if end else None)


def daily(start: str, end: str | None = None) -> Periods:
    return Periods(timedelta(days=1), _midnight(start), _midnight(end) if end else None)


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


def days(count: float) -> timedelta:
    return timedelta(days=count)


def weeks(count: float) -> timedelta:
    return timedelta(weeks=count)


def _midnight(day: str) -> datetime:
    try:
        parsed = date.fromisoformat(day)
    except ValueError:
        raise DeclarationError(f"{day!r} is not a day. Write it as 2013-01-07.") from None
    return datetime(parsed.year, parsed.month, parsed.day, tzinfo=UTC)
