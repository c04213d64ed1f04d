"""The time column: how it is written, its zone, and whether another column says when the outcome was known."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from mlops_assets.drafting.questions import Ask, Question, Remarks, known_columns, listed
from mlops_assets.errors import DeclarationError
from mlops_assets.products.periods import spelled
from mlops_assets.products.source import EPOCH_MILLISECONDS, EPOCH_SECONDS
from mlops_assets.sources.typed_rows import with_day

# ISO 8601 first, which needs no format; of the others, day before month where dots part them, month first where slashes do
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d(:?\d\d)?)?")
_DAYS = (
    *("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d-%m-%Y", "%Y%m%d"),
    *("%d.%m.%y", "%m/%d/%y", "%d/%m/%y"),
    *("%B %d %Y", "%B %d, %Y", "%d %B %Y", "%d-%B-%Y"),  # %B reads short names of months, too
)
_TIMES = (
    *("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", "T%H:%M", "T%H:%M%#z", " %H:%M%#z"),
    " %H:%M:%S UTC",  # as BigQuery exports them
)
_FORMATS = (*(f"{day}{time}" for day in _DAYS for time in _TIMES), "%Y-%m", "%Y/%m", "%m/%Y", "%B %Y")
_WHOLE_NUMBERS = "%Y%m%d"
_YEARS = "%Y"
_HINTS = re.compile(
    r"(^|[\W_])(time|date|timestamp|datetime|at|ts|when|day|event)($|[\W_])|time|date|stamp", re.IGNORECASE
)
_NAMED_YEAR = re.compile(r"(^|[\W_])(year|yr|season|jahr)($|[\W_])", re.IGNORECASE)
_FIRST_YEAR = 1_000  # a year of two digits is one of today's
_SAMPLE = 2_000
_FIRST = 20  # rows that show how the others are written
_LONGEST = 60  # characters of an example
_IN_TIME = 0.99  # share of the outcomes that are known after the usual wait
_SECONDS, _THOUSAND = (5e8, 4e9), 1_000  # 1985 to 2096


@dataclass(frozen=True)
class Moments:
    """A column of timestamps. format: "" for a timestamp type or ISO 8601. is_naive: it carries no zone. values: as they are
    written, without a zone (UTC where they carry one)."""

    name: str
    format: str
    is_naive: bool
    values: pl.Series


@dataclass(frozen=True)
class Clock:
    """time: when a row happened. zone: of its wall clock, "" where it carries its offset. learned: when its outcome was
    known, None where no column says so."""

    time: Moments
    zone: str
    learned: str | None
    all_moments: tuple[Moments, ...]


def choose_clock(rows: pl.DataFrame, time: str, zone: str, ask: Ask, remarks: Remarks) -> Clock:
    """Raises DeclarationError: no column contains timestamps, or `time` names one that does not."""
    if time and time not in rows.columns:
        raise DeclarationError(f"the table has no column {time!r} for --time. {known_columns(time, rows.columns)}")
    candidates = [
        moments for name in rows.columns if (moments := moments_of(rows[name], is_meant=name == time)) is not None
    ]
    if time and time not in [item.name for item in candidates]:
        if len(broken := _unlike_the_first(rows[time])):
            raise DeclarationError(
                f"--time {time}: {_examples(broken)} cannot be read as {rows[time][0]!r} is. Leave such rows out of the source, or "
                "correct them."
            )
        raise DeclarationError(
            f"--time {time}: it contains {_examples(rows[time])}, which cannot be read as timestamps. Known: ISO 8601, 31.12.2026 14:00, "
            "12/31/2026, seconds or milliseconds since 1970. Write it as one of these."
        )
    candidates = candidates or _less_likely(rows)
    if not candidates:
        raise DeclarationError(
            f"no column of the table says when a row happened: it has {listed(rows.columns)}. Add a timestamp to the source, or make "
            "one of its parts with a view or a script, and name it with --time."
        )
    chosen = next((item for item in candidates if item.name == time), None) or _ask_for_time(candidates, ask, remarks)
    if chosen.values.null_count():
        raise DeclarationError(
            f"{chosen.name} is null in {chosen.values.null_count():,} rows, which then belong to no period. Leave those rows out of the "
            "source, or name another column with --time."
        )
    if chosen.format:
        remarks.assume(f"{chosen.name} is written as {chosen.format}", f"as in {rows[chosen.name][0]!r}")
    zone = _zone(chosen, zone, ask, remarks)
    return Clock(chosen, zone, _learned(chosen, candidates, remarks), tuple(candidates))


def usual_wait(clock: Clock, remarks: Remarks) -> timedelta:
    """The time after which 99 of 100 outcomes are known, rounded up: to hours within a day, else to days; 0 without such a column.

    Labels are read once a period, when it is over and this time has passed: an outcome that is known later would be lost, and
    late outcomes are seldom like the others."""
    learned = next((item for item in clock.all_moments if item.name == clock.learned), None)
    if learned is None:
        return timedelta(0)
    wait = (learned.values - clock.time.values).quantile(_IN_TIME, "higher")
    assert isinstance(wait, timedelta)
    unit = timedelta(hours=1) if wait <= timedelta(days=1) else timedelta(days=1)
    delay = -(-wait // unit) * unit
    if delay:
        remarks.assume(f"labels are read {spelled(delay)} after a row", f"{_IN_TIME:.0%} are known by then")
    return delay


def moments_of(column: pl.Series, *, is_meant: bool = False) -> Moments | None:
    """The column as timestamps; None where it does not contain timestamps.

    is_meant: somebody says that it is, so that numbers may be counts of seconds whatever their name."""
    kind = column.dtype
    if isinstance(kind, pl.Datetime):
        wall = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if kind.time_zone else column
        return Moments(column.name, "", kind.time_zone is None, wall.cast(pl.Datetime("us")))
    if isinstance(kind, pl.Date):
        return Moments(column.name, "", True, column.cast(pl.Datetime("us")))
    if not (isinstance(kind, pl.String) or kind.is_integer()):
        return None
    numbers, may_be_time = column.cast(pl.Int64, strict=False), is_meant or bool(_HINTS.search(column.name))
    moments = _epoch(numbers, column) if may_be_time else None
    if moments is None and kind.is_integer():
        moments = _of_format(column, _WHOLE_NUMBERS) if may_be_time else None
    elif moments is None:
        moments = _written(column)
    return moments or (_of_format(column, _YEARS) if is_meant else None)


def _unlike_the_first(column: pl.Series) -> pl.Series:
    """The values that cannot be read as the first ones are, as the total in the last line of a report; none where those cannot be
    read either."""
    texts = column.drop_nulls()
    first = moments_of(texts[:_FIRST], is_meant=True) if isinstance(texts.dtype, pl.String) else None
    if first is None:
        return texts.clear()
    if not first.format:
        return texts.filter(~texts.str.contains(f"^(?:{_ISO.pattern})$"))
    if first.format in (EPOCH_SECONDS, EPOCH_MILLISECONDS):
        return texts.filter(texts.cast(pl.Int64, strict=False).is_null())
    whole, format = with_day(pl.col(texts.name), first.format)
    return texts.to_frame().filter(whole.str.to_datetime(format, strict=False).is_null()).to_series()


def _examples(values: pl.Series) -> str:
    texts = [repr(value) for value in values.drop_nulls().unique(maintain_order=True)[:3].to_list()]
    return ", ".join(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…" for text in texts)


def _less_likely(rows: pl.DataFrame) -> list[Moments]:
    """Whether these are numbers that may be seconds although the column's name does not say so, or years."""
    whole = [column for column in rows if column.dtype.is_integer() or isinstance(column.dtype, pl.String)]
    epochs = [_epoch(column.cast(pl.Int64, strict=False), column) for column in whole]
    years = [_of_format(column, _YEARS) for column in whole if _NAMED_YEAR.search(column.name)]
    return [item for item in epochs if item is not None] or [item for item in years if item is not None]


def _epoch(numbers: pl.Series, column: pl.Series) -> Moments | None:
    if numbers.null_count() > column.null_count():
        return None
    low, high = numbers.min(), numbers.max()
    if not isinstance(low, int) or not isinstance(high, int):
        return None
    for format, factor in ((EPOCH_SECONDS, 1), (EPOCH_MILLISECONDS, _THOUSAND)):
        if _SECONDS[0] * factor <= low and high <= _SECONDS[1] * factor:
            unit = 1_000_000 // factor
            return Moments(column.name, format, False, (numbers * unit).cast(pl.Datetime("us")))
    return None


def _of_format(column: pl.Series, format: str) -> Moments | None:
    values = _parsed(column.cast(pl.String), format)
    return None if values is None or not len(values.drop_nulls()) else Moments(column.name, format, True, values)


def _written(column: pl.Series) -> Moments | None:
    texts = column.drop_nulls()
    if not len(texts):
        return None
    sample = texts.gather_every(max(1, len(texts) // _SAMPLE))
    if all(_ISO.fullmatch(text) for text in sample.to_list()):
        has_offset = bool(_ISO.fullmatch(sample[0])[1 + 1])  # type: ignore[index]
        iso = column.str.replace(" ", "T", literal=True)
        values = _parsed(iso, "%Y-%m-%dT%H:%M:%S%.f%#z" if has_offset else "%Y-%m-%dT%H:%M:%S%.f")
        return None if values is None else Moments(column.name, "", not has_offset, values)
    is_numbers = (
        sample.cast(pl.Float64, strict=False).null_count() == 0
    )  # this spares most columns, of which there may be thousands, the attempts below
    fitting = [
        Moments(column.name, format, not format.endswith(("%#z", "UTC")), values)
        for format in ((_WHOLE_NUMBERS,) if is_numbers else _FORMATS)
        if _parsed(sample, format) is not None and (values := _parsed(column, format)) is not None
    ]
    # 03/04/2026 is ambiguous, but most files are ordered by time
    return max(fitting, key=lambda item: _share_in_order(item.values), default=None)


def _parsed(texts: pl.Series, format: str) -> pl.Series | None:
    whole, whole_format = with_day(pl.col(texts.name), format)
    try:
        values = texts.to_frame().select(whole.str.to_datetime(whole_format, time_unit="us", strict=False)).to_series()
    except pl.exceptions.PolarsError:
        return None
    earliest = values.min()
    if values.null_count() > texts.null_count() or (isinstance(earliest, datetime) and earliest.year < _FIRST_YEAR):
        return None
    return values.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if values.dtype.time_zone else values  # type: ignore[attr-defined]


def _share_in_order(values: pl.Series) -> float:
    steps = values.drop_nulls().diff().drop_nulls()
    return float((steps.dt.total_microseconds() >= 0).mean() or 0.0) if len(steps) else 1.0  # type: ignore[arg-type]


def _ask_for_time(found: list[Moments], ask: Ask, remarks: Remarks) -> Moments:
    whole = [item for item in found if not item.values.null_count()] or found
    ranked = sorted(whole, key=lambda item: -_share_in_order(item.values))
    earliest = min(ranked, key=lambda item: _mean(item.values))
    if len(found) == 1:
        remarks.assume(f"a row happens at {found[0].name}", "it is the only column of timestamps")
        return found[0]
    names = tuple(item.name for item in found)
    why = "of the columns of timestamps it is the earliest, and what comes later may be part of the outcome"
    answer = ask(Question("--time", "Which column says when a row happened?", earliest.name, why, names))
    return next(item for item in found if item.name == answer)


def _mean(values: pl.Series) -> float:
    return float(values.cast(pl.Int64).mean() or 0.0)  # type: ignore[arg-type]


def _zone(chosen: Moments, zone: str, ask: Ask, remarks: Remarks) -> str:
    if not chosen.is_naive:
        return ""
    answer = zone or ask(
        Question(
            "--zone",
            f"{chosen.name} carries no time zone. Which one is it in (such as Europe/Berlin)?",
            "UTC",
            "the values name none",
        )
    )
    _require_zone(answer, chosen.values)
    return answer


def _require_zone(zone: str, values: pl.Series) -> None:
    """Raises DeclarationError: there is no such zone, or some of these times occur never or twice in it."""
    from zoneinfo import ZoneInfo, available_timezones

    try:
        ZoneInfo(zone)
    except (ValueError, OSError, KeyError):
        raise DeclarationError(f"no time zone {zone!r}. {_close_zones(zone, available_timezones())}") from None
    moments = values.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    lost = moments.is_null() & values.is_not_null()
    if lost.any():
        first = values.filter(lost)[0]
        assert isinstance(first, datetime)
        raise DeclarationError(
            f"{zone} has {lost.sum():,} of these times never or twice, such as {first:%Y-%m-%d %H:%M}, because of daylight saving "
            "time. Write offsets from UTC in the source, or give --zone UTC if the times are UTC."
        )


def _close_zones(zone: str, known: set[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(zone, sorted(known), n=1)
    return f"Did you mean {close[0]!r}?" if close else "Name one as Europe/Berlin or America/New_York."


def _learned(time: Moments, found: list[Moments], remarks: Remarks) -> str | None:
    """A column that is never before the event, never null, and has a usual name for the time at which an outcome is known."""
    said = re.compile(r"created|reported|known|learned|recorded|updated|ingested|loaded|arrived", re.IGNORECASE)
    for item in found:
        later = item.values >= time.values
        is_of_its_kind = item.is_naive == time.is_naive
        if (
            item.name != time.name
            and said.search(item.name)
            and is_of_its_kind
            and later.all()
            and not later.null_count()
        ):
            remarks.assume(f"the outcome of a row is known at {item.name}", f"it is never before {time.name}")
            return item.name
    return None
