"""When a cron schedule of five fields fires, in UTC: the starts of periods, as Dagster counts them."""

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from mlops_assets.errors import DeclarationError

_DAY = timedelta(days=1)
_LONGEST_WAIT = 366 * 8 + 1  # days: a 29 February may be eight years away
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True)
class Schedule:
    """`minute hour day-of-month month day-of-week`, each as `*`, `1`, `1-5`, `*/15`, `1,3`; months and weekdays also by name.

    Where both kinds of day are restricted, either of them is enough, as in every cron.
    Raises DeclarationError: the expression is not such a schedule."""

    expression: str
    times: tuple[time, ...] = field(init=False, repr=False, compare=False)
    _days: frozenset[int] = field(init=False, repr=False, compare=False)
    _months: frozenset[int] = field(init=False, repr=False, compare=False)
    _weekdays: frozenset[int] = field(init=False, repr=False, compare=False)
    _either_day_fires: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = self.expression.split()
        if len(parts) != len(_FIELDS):
            raise DeclarationError(
                f"{self.expression!r} is not a cron schedule of five fields. Write minute, hour, day of month, month and day of week, "
                "as in '0 6 * * 1-5'."
            )
        minutes, hours, days, months, weekdays = (
            _values(self.expression, part, *kind) for part, kind in zip(parts, _FIELDS, strict=True)
        )
        fields = {
            "times": tuple(time(hour, minute) for hour in sorted(hours) for minute in sorted(minutes)),
            "_days": days,
            "_months": months,
            "_weekdays": frozenset(day % 7 for day in weekdays),
            "_either_day_fires": not parts[2].startswith("*") and not parts[4].startswith("*"),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def at_or_after(self, moment: datetime) -> datetime:
        moment = moment.astimezone(UTC)
        day, place = moment.date(), bisect_left(self.times, moment.time())
        for _ in range(_LONGEST_WAIT):
            if self._fires_on(day) and place < len(self.times):
                return datetime.combine(day, self.times[place], UTC)
            day, place = day + _DAY, 0
        raise self._never_fires()

    def at_or_before(self, moment: datetime) -> datetime:
        moment = moment.astimezone(UTC)
        day, place = moment.date(), bisect_right(self.times, moment.time()) - 1
        for _ in range(_LONGEST_WAIT):
            if self._fires_on(day) and place >= 0:
                return datetime.combine(day, self.times[place], UTC)
            day, place = day - _DAY, len(self.times) - 1
        raise self._never_fires()

    def _fires_on(self, day: date) -> bool:
        matches = (day.day in self._days, day.isoweekday() % 7 in self._weekdays)
        return day.month in self._months and (any(matches) if self._either_day_fires else all(matches))

    def _never_fires(self) -> DeclarationError:
        return DeclarationError(f"the cron schedule {self.expression!r} names a day that never comes. Correct it.")


def _values(expression: str, part: str, field: str, least: int, most: int, names: tuple[str, ...]) -> frozenset[int]:
    values: set[int] = set()
    for item in part.lower().split(","):
        parsed = re.fullmatch(r"(\*|(\w+)(?:-(\w+))?)(?:/(\d+))?", item)
        ends = [_number(text, names, least) for text in (parsed[2], parsed[3]) if text] if parsed else []
        first, last = (least, most) if not ends else (ends[0], ends[-1])
        if parsed and parsed[4] and len(ends) == 1:
            last = most  # 5/15 means from 5 to the end
        step = int(parsed[4] or 1) if parsed else 0
        if first is None or last is None or step < 1 or not least <= first <= last <= most:
            raise DeclarationError(
                f"the cron schedule {expression!r} has {item!r} as {field}. Give numbers from {least} to {most}"
                f"{' or names' if names else ''}, as *, 1, 1-5, */15 or 1,3."
            )
        values.update(range(first, last + 1, step))
    return frozenset(values)


def _number(text: str, names: tuple[str, ...], least: int) -> int | None:
    if text in names:
        return names.index(text) + least
    return int(text) if text.isdecimal() else None
