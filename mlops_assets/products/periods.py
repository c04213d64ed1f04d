"""Time partitions of a product: which period a moment belongs to, and how its key is written."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from mlops_assets.errors import DeclarationError
from mlops_assets.products.cron import Schedule

DAY_KEY, MINUTE_KEY = "%Y-%m-%d", "%Y-%m-%dT%H%M"  # no colon: keys name files, and stand between colons in run tags
MANY_PARTITIONS = 25_000  # more of them make Dagster's pages slow
_ANCHORS = 60  # periods in a row of which the longest window is taken, where they differ in length
_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)


@dataclass(frozen=True, order=True)
class Period:
    """The half-open span `[start, end)`, both UTC; its key is its start, as in Dagster."""

    start: datetime
    end: datetime
    key_format: str = DAY_KEY

    @property
    def key(self) -> str:
        return self.start.strftime(self.key_format)


@dataclass(frozen=True)
class Periods:
    """Adjacent periods from `start` (inclusive) to `end` (exclusive, None: still running), each from one time at which the cron
    schedule fires to the next, in UTC. Use hourly(), daily(), weekly(), monthly() or cron().

    Keys are days; where several periods begin on one day, minutes, as in 2013-07-01T1400."""

    schedule: Schedule
    start: datetime
    end: datetime | None = None

    def __post_init__(self) -> None:
        if self._start_of(self.start) != self.start:
            nearest = self.schedule.at_or_after(self.start)
            raise DeclarationError(
                f"periods start {_written(self.start)}, when {self.schedule.expression!r} does not fire. Start them "
                f"{_written(nearest)}."
            )
        if self.end is not None and (self.end <= self.start or self._start_of(self.end) != self.end):
            raise DeclarationError(
                f"periods end {_written(self.end)}, which is not a whole number of periods ({self.in_words}) "
                f"after their start {_written(self.start)}. Move the end."
            )

    @cached_property
    def length(self) -> timedelta | None:
        """Of every period; None where they differ, as months do."""
        schedule = self.schedule.expression
        lengths = ((r"\d+( \*){4}", _HOUR), (r"\d+ \d+( \*){3}", _DAY), (r"\d+ \d+ \* \* \d", 7 * _DAY))
        return next((length for pattern, length in lengths if re.fullmatch(pattern, schedule)), None)

    @property
    def key_format(self) -> str:
        return DAY_KEY if len(self.schedule.times) == 1 else MINUTE_KEY

    @property
    def in_words(self) -> str:
        named = {_HOUR: "hours", _DAY: "days", 7 * _DAY: "weeks"}.get(self.length or timedelta(0))
        return named or f"cron {self.schedule.expression!r}"

    @cached_property
    def a_day(self) -> int:
        """Periods that make a day, at least 1: what policies count is periods, or days where those are shorter."""
        return max(1, self.covering(_DAY))

    def at(self, key: str) -> Period:
        """The period with this key.

        Raises DeclarationError: the key is not that of a period."""
        try:
            written = datetime.strptime(key, self.key_format).replace(tzinfo=UTC)
        except ValueError:
            raise DeclarationError(
                f"{key!r} is not a period key. Write its {'first day' if self.key_format == DAY_KEY else 'start'}, as in "
                f"{self.first.key}."
            ) from None
        # the key may be shorter than the moment: a period of 6:00 has the day as its key
        start = (
            self.schedule.at_or_after(written) if self.length is None else self._start_of(written + self._in_the_day)
        )
        if start.strftime(self.key_format) != key:
            nearest = self.containing(max(written, self.start)).key
            raise DeclarationError(f"no period begins on {key}. The one around it is {nearest}.")
        return self._from(start)

    def containing(self, moment: datetime) -> Period:
        return self._from(self._start_of(moment))

    def shift(self, period: Period, by: int) -> Period:
        if self.length is not None:
            return self._from(period.start + by * self.length)
        start = period.start
        for _ in range(abs(by)):
            start = self._after(start) if by > 0 else self._start_of(start - timedelta.resolution)
        return self._from(start)

    def has(self, period: Period) -> bool:
        return period.start >= self.start and (self.end is None or period.end <= self.end)

    def window_before(self, key: str, length: timedelta) -> list[Period]:
        """The periods in `[start of key - length, start of key)` that exist, oldest first.

        Where periods differ in length, one belongs to it when half of it or more does: a year of 365 days holds twelve months,
        whichever they are."""
        return [period for period in reversed(self._back(self.at(key), length)) if self.has(period)]

    def window_start(self, key: str, length: timedelta) -> datetime:
        """When the first period of the window before `key` begins, whether or not the product had begun by then."""
        period = self.at(key)
        return min((each.start for each in self._back(period, length)), default=period.start)

    def in_window(self, length: timedelta) -> int:
        """How many periods such a window holds; the most, where they differ in length."""
        if self.length is not None:
            return length // self.length
        return max(len(self._back(period, length)) for period in self._some())

    def covering(self, window: timedelta) -> int:
        """How many periods it takes to cover `window`, wherever it lies."""
        if self.length is not None:
            return -(-window // self.length)
        return max(len(self._reaching_back(period, window)) for period in self._some())

    def with_lookback(self, key: str, window: timedelta) -> list[Period]:
        """The period of `key` and those before it that hold a part of the `window` before it, oldest first."""
        period = self.at(key)
        if self.length is not None:
            return self.up_to(key, self.covering(window) + 1)
        return [each for each in (*reversed(self._reaching_back(period, window)), period) if self.has(each)]

    def up_to(self, key: str, count: int) -> list[Period]:
        """The period of `key` and the ones before it, `count` in all, oldest first; fewer at the start of time."""
        found: list[Period] = []
        period = self.at(key)
        while len(found) < count and self.has(period):
            found.append(period)
            period = self.shift(period, -1)
        return found[::-1]

    def count(self, first: str, last: str) -> int:
        """How many periods there are from `first` to `last`, both of them counted; 0 or less where `last` comes earlier."""
        start, end = self.at(first).start, self.at(last).start
        if self.length is not None:
            return (end - start) // self.length + 1
        if end < start:
            return 2 - self.count(last, first)
        found = 1
        while start < end:
            start, found = self._after(start), found + 1
        return found

    def ended_by(self, now: datetime) -> Iterator[Period]:
        """Every period that is over at `now`, oldest first."""
        period = self.first
        while self.has(period) and period.end <= now:
            yield period
            period = self.shift(period, 1)

    def partitions_by(self, now: datetime) -> int:
        """How many partitions Dagster has of it: every period up to the end, or up to `now` where there is none."""
        last = self.containing(
            (self.end or max(now, self.start)) - (timedelta.resolution if self.end else timedelta(0))
        )
        return self.count(self.first.key, last.key)

    @property
    def first(self) -> Period:
        return self._from(self.start)

    @property
    def _in_the_day(self) -> timedelta:
        """What a key of days leaves out: the time at which every period begins."""
        if self.key_format == MINUTE_KEY:
            return timedelta(0)
        (only,) = self.schedule.times
        return timedelta(hours=only.hour, minutes=only.minute)

    def _from(self, start: datetime) -> Period:
        return Period(start, self._after(start), self.key_format)

    def _after(self, start: datetime) -> datetime:
        return (
            start + self.length if self.length is not None else self.schedule.at_or_after(start + timedelta.resolution)
        )

    def _start_of(self, moment: datetime) -> datetime:
        return self.schedule.at_or_before(moment)

    def _back(self, period: Period, length: timedelta) -> list[Period]:
        """Periods of the window before this one, newest first."""
        if self.length is not None:
            return [self.shift(period, -by) for by in range(1, length // self.length + 1)]
        begins, found, before = period.start - length, [], self.shift(period, -1)
        while before.start + (before.end - before.start) / 2 >= begins:
            found.append(before)
            before = self.shift(before, -1)
        return found

    def _reaching_back(self, period: Period, window: timedelta) -> list[Period]:
        """Periods that hold a part of the window before this one, newest first."""
        begins, found, before = period.start - window, [], self.shift(period, -1)
        while before.end > begins:
            found.append(before)
            before = self.shift(before, -1)
        return found

    def _some(self) -> Iterator[Period]:
        period = self.first
        for _ in range(_ANCHORS):
            yield period
            period = self.shift(period, 1)


def hourly(start: str, end: str | None = None) -> Periods:
    """start, end: a day, or a full hour of one as in 2013-01-07T06:00."""
    return cron("0 * * * *", start, end)


def daily(start: str, end: str | None = None) -> Periods:
    return cron("0 0 * * *", start, end)


def weekly(start: str, end: str | None = None) -> Periods:
    """Weeks that begin on the weekday of `start`."""
    return cron(f"0 0 * * {_moment(start).isoweekday() % 7}", start, end)


def monthly(start: str, end: str | None = None) -> Periods:
    """Calendar months; `start` is the first day of one."""
    return cron("0 0 1 * *", start, end)


def cron(schedule: str, start: str, end: str | None = None) -> Periods:
    """Periods from each time at which a cron schedule of five fields fires, in UTC, to the next: "0 6 * * 1-5" makes four of 24
    hours, and one from Friday to Monday. start: a time at which it fires, or the day of the first one."""
    times = Schedule(schedule)
    return Periods(times, _first(times, start), _first(times, end) if end else None)


def spelled(span: timedelta) -> str:
    """In the largest unit of which it is a whole number.

    >>> spelled(timedelta(weeks=2)), spelled(timedelta(hours=36)), spelled(timedelta(minutes=30)), spelled(timedelta(days=1))
    ('14 days', '36 hours', '30 minutes', '1 day')
    """
    for name, unit in (("day", _DAY), ("hour", _HOUR), ("minute", timedelta(minutes=1))):
        if not span % unit:
            return f"{span // unit} {name}{'' if span == unit else 's'}"
    return str(span)


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


def days(count: float) -> timedelta:
    return timedelta(days=count)


def weeks(count: float) -> timedelta:
    return timedelta(weeks=count)


def months(count: float) -> timedelta:
    """So many months of usual length, 30.4375 days; a window of them holds as many whole months, whichever they are."""
    return timedelta(days=count * 30.4375)


def _moment(text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise DeclarationError(f"{text!r} is not a day. Write it as 2013-01-07.") from None
    return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _first(schedule: Schedule, text: str) -> datetime:
    """The moment itself, or the first time at which the schedule fires on that day, where it does."""
    moment = _moment(text)
    if len(text) > len("2013-01-07"):
        return moment
    fires = schedule.at_or_after(moment)
    return fires if fires.date() == moment.date() else moment


def _written(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}" if moment == moment.replace(hour=0, minute=0) else f"{moment:%Y-%m-%dT%H:%M}"
