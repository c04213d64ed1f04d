"""Time partitions of a product: which period a moment belongs to, and how its key is written."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import chain, islice, takewhile

from mlops_assets.errors import DeclarationError
from mlops_assets.products.cron import Schedule

DAY_KEY, MINUTE_KEY = (
    "%Y-%m-%d",
    "%Y-%m-%dT%H%M",
)  # without a colon: keys name files, and run tags separate them by colons
MANY_PARTITIONS = 25_000  # more than this make Dagster's pages slow
_ANCHORS = 60  # where periods differ in length, the largest of this many windows is taken
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

    Keys are days. Where several periods begin on one day, keys are minutes, as in 2013-07-01T1400."""

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
        """The length of every period; None where they differ, as months do."""
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
        """Periods in a day, at least 1: policies count periods, or days where periods are shorter."""
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
            raise DeclarationError(f"no period begins on {key}. The nearest one is {nearest}.")
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

        Where periods differ in length, a period belongs to the window when at least half of it lies inside: a year of 365 days
        always holds twelve months."""
        return [period for period in reversed(self._window_before(self.at(key), length)) if self.has(period)]

    def window_start(self, key: str, length: timedelta) -> datetime:
        """The start of the window before `key`, even where it lies before the product's first period."""
        period = self.at(key)
        return min((each.start for each in self._window_before(period, length)), default=period.start)

    def in_window(self, length: timedelta) -> int:
        """How many periods such a window holds; where they differ in length, at most."""
        if self.length is not None:
            return length // self.length
        return max(len(self._window_before(period, length)) for period in self._first_periods())

    def covering(self, window: timedelta) -> int:
        """How many periods it takes at most to cover `window`, wherever it lies."""
        if self.length is not None:
            return -(-window // self.length)
        return max(len(self._overlapping(period, window)) for period in self._first_periods())

    def with_lookback(self, key: str, window: timedelta) -> list[Period]:
        """The period of `key` and those before it that overlap the `window` before it, oldest first."""
        period = self.at(key)
        return [each for each in (*reversed(self._overlapping(period, window)), period) if self.has(each)]

    def up_to(self, key: str, count: int) -> list[Period]:
        """The period of `key` and the ones before it, `count` in all, oldest first; fewer near the first period."""
        period = self.at(key)
        newest_first = takewhile(self.has, chain([period], self._before(period)))
        return [*islice(newest_first, max(count, 0))][::-1]

    def count(self, first: str, last: str) -> int:
        """How many periods there are from `first` to `last`, both included; 0 or less where `last` is earlier."""
        start, end = self.at(first).start, self.at(last).start
        if self.length is not None:
            return (end - start) // self.length + 1
        if end < start:
            return 2 - self.count(last, first)
        count = 1
        while start < end:
            start, count = self._after(start), count + 1
        return count

    def ended_by(self, now: datetime) -> Iterator[Period]:
        """Every period that is over at `now`, oldest first."""
        period = self.first
        while self.has(period) and period.end <= now:
            yield period
            period = self.shift(period, 1)

    def partitions_by(self, now: datetime) -> int:
        """How many partitions Dagster shows: every period up to the end, or up to `now` where there is no end."""
        last = self.containing(
            (self.end or max(now, self.start)) - (timedelta.resolution if self.end else timedelta(0))
        )
        return self.count(self.first.key, last.key)

    @property
    def first(self) -> Period:
        return self._from(self.start)

    @property
    def _in_the_day(self) -> timedelta:
        """The time at which every period begins, which a key that is a day does not say."""
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

    def _before(self, period: Period) -> Iterator[Period]:
        """All periods before this one, newest first."""
        while True:
            period = self.shift(period, -1)
            yield period

    def _window_before(self, period: Period, length: timedelta) -> list[Period]:
        """The periods of the window before this one, newest first."""
        if self.length is not None:
            return [*islice(self._before(period), length // self.length)]
        start = period.start - length
        return [*takewhile(lambda each: each.start + (each.end - each.start) / 2 >= start, self._before(period))]

    def _overlapping(self, period: Period, window: timedelta) -> list[Period]:
        """The periods that overlap the window before this one, newest first."""
        start = period.start - window
        return [*takewhile(lambda each: each.end > start, self._before(period))]

    def _first_periods(self) -> Iterator[Period]:
        period = self.first
        for _ in range(_ANCHORS):
            yield period
            period = self.shift(period, 1)


def hourly(start: str, end: str | None = None) -> Periods:
    """start, end: a day, or a full hour, as in 2013-01-07T06:00."""
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
    """Periods from each time at which a cron schedule of five fields fires, in UTC, to the next: "0 6 * * 1-5" gives four
    periods of 24 hours, and one from Friday to Monday. start: a time at which it fires, or the day of the first one."""
    times = Schedule(schedule)
    return Periods(times, _first(times, start), _first(times, end) if end else None)


def spelled(span: timedelta) -> str:
    """The span in the largest unit of which it is a whole number.

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
    """Months of average length, 30.4375 days. A window of `count` of them always holds `count` calendar months."""
    return timedelta(days=count * 30.4375)


def _moment(text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise DeclarationError(f"{text!r} is not a day. Write it as 2013-01-07.") from None
    return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _first(schedule: Schedule, text: str) -> datetime:
    """The moment itself. Where `text` is only a day, the first time at which the schedule fires on it, if it does."""
    moment = _moment(text)
    if len(text) > len("2013-01-07"):
        return moment
    fires = schedule.at_or_after(moment)
    return fires if fires.date() == moment.date() else moment


def _written(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}" if moment == moment.replace(hour=0, minute=0) else f"{moment:%Y-%m-%dT%H:%M}"
