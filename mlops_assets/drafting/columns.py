"""The contract of a column: its name, kind, nulls, a range with a margin, or a small closed set of values."""

from __future__ import annotations

import keyword
import math
import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC

import polars as pl

from mlops_assets.drafting.clock import Moments
from mlops_assets.products.source import Column, Kind
from mlops_assets.sources.typed_rows import BOOLEANS, is_whole

# columns that the platform's own tables have beside those of a product
TAKEN = frozenset(
    {
        *("label", "known_at", "period", "split", "prediction", "predictions", "score", "model_version", "event_time"),
        *(
            "created_time",
            "learned_at",
            "day",
            "window",
            "reason",
            "prediction_id",
            "version",
            "served_at",
            "received_at",
        ),
        *("request_id", "trace_id", "probability", "probabilities", "value", "row_count", "live_score", "live_version"),
        "live_served_at",
    }
)
MOST_CATEGORIES = 100
MOST_CHOICES = 12
_LONGEST_CHOICES = 70  # characters: longer sets take a line for each value, and hide the rest of the file
_ROWS_A_CHOICE = 30  # a set of values is closed if it has at least so many rows for each value
_MARGIN = 0.5  # share of the observed span by which a range is extended on either side
_TRANSLITERATED = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "€": "eur"}
)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_LEADING_ZERO = re.compile(r"[+-]?0\d+")
# a number with a sign of currency, a percent sign, blanks, separated thousands, or the comma of another country
_DECORATED = r"^\s*\p{Sc}?\s*[+-]?(\d+|\d{1,3}([.,' ]\d{3})+)([.,]\d+)?\s*[\p{Sc}%]?\s*$"
_EXAMPLES = 3


@dataclass(frozen=True)
class Profile:
    """A column of the table. kind: None where it cannot be declared, for the reason in `fault`. values: of its kind.

    distinct: number of different values without nulls."""

    source_name: str
    name: str
    kind: Kind | None
    values: pl.Series
    nulls: int
    distinct: int
    fault: str = ""
    format: str = ""

    @property
    def is_constant(self) -> bool:
        return self.distinct <= 1

    @property
    def is_number(self) -> bool:
        return self.kind in (Kind.INTEGER, Kind.FLOAT)


def decimal_mark(rows: pl.DataFrame, separator: str) -> str:
    """The decimal mark of a CSV: a comma where some columns contain numbers with one, and none contains numbers with a point."""
    if separator == ",":
        return "."
    texts = [column.drop_nulls() for column in rows if column.dtype == pl.String]
    has_comma = any(
        len(column) and column.str.contains(r"^\s*[+-]?\d+(,\d+)?\s*$").all() and column.str.contains(r"\d,\d").any()
        for column in texts
    )
    return "," if has_comma else "."


def profile_columns(
    rows: pl.DataFrame, moments: Iterable[Moments], decimal: str, *, is_text: bool = True
) -> list[Profile]:
    """is_text: the format stores numbers as text, too. Elsewhere a text of digits is a code, unless there are too many of them."""
    clocks = {item.name: item for item in moments}
    names = usable_names(rows.columns)
    return [
        _profile(rows[source_name], name, clocks.get(source_name), decimal, is_text)
        for source_name, name in names.items()
    ]


def usable_names(source_names: Iterable[str]) -> dict[str, str]:
    """A name for each column that every client can write and that the platform does not reserve.

    >>> usable_names(["Größe in cm", "class", "label", "2nd", "a b", "a-b"])
    {'Größe in cm': 'groesse_in_cm', 'class': 'class_', 'label': 'label_', '2nd': 'c_2nd', 'a b': 'a_b', 'a-b': 'a_b_2'}
    """
    named: dict[str, str] = {}
    source_names = list(source_names)
    used = {name for name in source_names if _is_usable(name)}
    for source_name in source_names:
        if _is_usable(source_name):
            named[source_name] = source_name
            continue
        plain = unicodedata.normalize("NFKD", source_name.translate(_TRANSLITERATED)).encode("ascii", "ignore").decode()
        base = re.sub(r"\W+", "_", plain).strip("_").lower() or "column"
        base = f"c_{base}" if base[0].isdigit() else base
        base = f"{base}_" if keyword.iskeyword(base) or base in TAKEN else base
        name, number = base, 2
        while name in used:
            name, number = f"{base}_{number}", number + 1
        used.add(name)
        named[source_name] = name
    return named


def declare(profile: Profile, *, is_key: bool = False, is_open: bool = False) -> Column:
    """The contract of the column. is_key: its values grow, as order numbers do. is_open: neither range nor set."""
    assert profile.kind is not None
    source_name = "" if profile.name == profile.source_name else profile.source_name
    low, high = (None, None) if is_open or not profile.is_number else _range(profile)
    return Column(
        profile.name,
        profile.kind,
        nullable=profile.nulls > 0,
        minimum=low,
        maximum=None if is_key else high,
        choices=() if is_open or is_key else _choices(profile),
        source_name=source_name,
        format=profile.format,
    )


def _is_usable(name: str) -> bool:
    plain = name.isidentifier() and name.isascii() and not keyword.iskeyword(name)
    return plain and name not in TAKEN and not name.startswith("_")


def _profile(column: pl.Series, name: str, moments: Moments | None, decimal: str, is_text: bool) -> Profile:
    nulls = column.null_count()
    if not column.name:
        return Profile(column.name, name, None, column, nulls, _distinct(column), "it has no name in the header")
    if moments is not None:
        times = moments.values
        return Profile(column.name, name, Kind.TIMESTAMP, times, nulls, _distinct(times), format=moments.format)
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    kind, values, fault = _kind_of(column, decimal)
    if isinstance(column.dtype, pl.String) and not is_text and not fault and _distinct(column) <= MOST_CATEGORIES:
        kind, values = Kind.STRING, column
    if kind is Kind.FLOAT and values.dtype.is_float():
        values = values.fill_nan(None)
        nulls = values.null_count()
        if values.cast(pl.Float32).is_infinite().any():
            fault = "it contains infinite values, or numbers beyond 3.4e38, with which no model can compute"
    if nulls == len(column):
        fault = "every value is null"
    return Profile(column.name, name, None if fault else kind, values, nulls, _distinct(values), fault)


def _distinct(values: pl.Series) -> int:
    try:
        return values.drop_nulls().n_unique()
    except pl.exceptions.PolarsError:  # values of such a type cannot be compared
        return len(values)


def _kind_of(column: pl.Series, decimal: str) -> tuple[Kind | None, pl.Series, str]:
    kind = column.dtype
    if is_whole(kind):
        whole = column.cast(pl.Int64, strict=False)
        is_too_large = whole.null_count() > column.null_count()
        return (
            Kind.INTEGER,
            whole,
            "it contains numbers above 2^63, which fit no integer; write them as texts" if is_too_large else "",
        )
    if kind.is_numeric():
        return Kind.FLOAT, column.cast(pl.Float64), ""
    if isinstance(kind, pl.Boolean):
        return Kind.BOOLEAN, column, ""
    if isinstance(kind, pl.String):
        return _kind_of_texts(column, decimal)
    return None, column, "every value is null" if isinstance(kind, pl.Null) else f"{kind} is no kind of a column"


def _kind_of_texts(column: pl.Series, decimal: str) -> tuple[Kind | None, pl.Series, str]:
    texts = column.drop_nulls()
    if not len(texts):
        return Kind.STRING, column, "every value is null"
    if texts.is_in(list(BOOLEANS)).all():
        return Kind.BOOLEAN, column.replace_strict(BOOLEANS, default=None, return_dtype=pl.Boolean), ""
    if texts.str.contains(f"^{_LEADING_ZERO.pattern}$").any():
        return Kind.STRING, column, ""  # a code such as 00123
    whole = column.cast(pl.Int64, strict=False)
    if whole.null_count() == column.null_count():
        return Kind.INTEGER, whole, ""
    written = column if decimal == "." else column.str.replace(decimal, ".", literal=True)
    numbers = written.cast(pl.Float64, strict=False)
    lost = int(numbers.null_count() - column.null_count())
    if not lost:
        return Kind.FLOAT, numbers, ""
    if lost < len(texts) / 2:
        odd = texts.filter(numbers.filter(column.is_not_null()).is_null()).unique(maintain_order=True)
        examples = ", ".join(repr(text) for text in odd[:_EXAMPLES].to_list())
        return (
            Kind.STRING,
            column,
            f"it contains texts and numbers ({lost:,} texts, such as {examples}); correct them, or empty them if they mean null",
        )
    if texts.str.contains(_DECORATED).all():
        return Kind.STRING, column, f"it contains numbers written as {texts[0]!r}; write them plainly, as 1234.5"
    return Kind.STRING, column, ""


def _range(profile: Profile) -> tuple[float | None, float | None]:
    """The observed range, extended by half its span on either side, but never across 0."""
    low, high = profile.values.min(), profile.values.max()
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    margin = _MARGIN * (high - low) or max(1.0, abs(high))
    least, most = _outward(low - margin, math.floor), _outward(high + margin, math.ceil)
    if profile.kind is Kind.INTEGER:  # 1.5 says of whole numbers what 1 says
        least, most = math.ceil(least), math.floor(most)
    return (max(0, least) if low >= 0 else least), (min(0, most) if high <= 0 else most)


def _outward(value: float, rounding: object) -> float:
    """Rounded to two digits, so that the range grows."""
    assert callable(rounding)
    exponent = math.floor(math.log10(abs(value))) - 1 if value else 0
    rounded = (
        rounding(value / 10**exponent) * 10**exponent
        if exponent >= 0
        else rounding(value * 10**-exponent) / 10**-exponent
    )
    return int(rounded) if float(rounded).is_integer() else float(rounded)


def _choices(profile: Profile) -> tuple[str, ...]:
    is_small = profile.distinct <= MOST_CHOICES and len(profile.values) >= _ROWS_A_CHOICE * max(1, profile.distinct)
    if profile.kind is not Kind.STRING or not is_small:
        return ()
    values = tuple(profile.values.drop_nulls().unique().sort().to_list())
    return values if sum(len(value) + len('"", ') for value in values) <= _LONGEST_CHOICES else ()


def names_of(profiles: Collection[Profile]) -> list[str]:
    return [profile.source_name for profile in profiles]


def utc(values: pl.Series, zone: str) -> pl.Series:
    """Timestamps without a zone, converted from `zone` to UTC."""
    return values.dt.replace_time_zone(zone or UTC.tzname(None)).dt.convert_time_zone("UTC")
