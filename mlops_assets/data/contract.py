"""The data contract of a source table: checks every period against it, and names the rows that break it.

Rules run on dataframely, which works on Polars and gives the reasons per row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import polars as pl

from mlops_assets.errors import ContractBroken, close_names
from mlops_assets.products.periods import Period
from mlops_assets.products.source import Column, ForeignKey, Kind, Table
from mlops_assets.state.dtypes import DTYPES

if TYPE_CHECKING:
    import dataframely as dy

EXAMPLES = 5
COLUMNS_SHOWN = 30
LEAST_HISTORY = 3  # fewer periods do not show how many rows are usual
REASON = "reason"  # column of quarantined rows


@dataclass(frozen=True)
class Violation:
    """A rule that rows break: the column (or "key"), the rule in words, how many rows, and some of them."""

    column: str
    rule: str
    rows: int
    examples: tuple[dict[str, object], ...]


@dataclass(frozen=True)
class ContractResult:
    """accepted and quarantined: the period's rows, divided; quarantined ones carry `reason`, every rule they break.

    row_violations are broken by rows, table_violations by the period as a whole."""

    table: Table
    rows: int
    accepted: pl.DataFrame
    quarantined: pl.DataFrame
    row_violations: tuple[Violation, ...]
    table_violations: tuple[Violation, ...]

    @property
    def violations(self) -> tuple[Violation, ...]:
        return (*self.table_violations, *self.row_violations)

    @property
    def quarantined_share(self) -> float:
        return self.quarantined.height / max(1, self.rows)

    @property
    def kept(self) -> bool:
        return not self.table_violations and self.quarantined_share <= self.table.max_quarantined_share

    @property
    def reason(self) -> str:
        """One sentence that names rows and columns."""
        name, limit = self.table.name, self.table.max_quarantined_share
        if not self.violations:
            return f"{self.rows:,} rows keep the contract of {name}"
        broken = "; ".join(f"{item.column}: {item.rows:,} rows break '{item.rule}'" for item in self.violations)
        if not limit or not self.quarantined.height:
            return f"{name}: {broken}"
        shares = f"{self.quarantined.height:,} of {self.rows:,} rows ({self.quarantined_share:.2%}, limit {limit:.2%})"
        verdict = "are quarantined" if self.kept else "would be quarantined, so nothing is stored"
        return f"{name}: {shares} {verdict}: {broken}"


def conform(table: Table, frame: pl.LazyFrame) -> pl.DataFrame:
    """The declared columns in the declared order and types; where the table declares `known_after`, its created timestamp is filled.

    Whole numbers may come as any integer, numbers as any number; nothing else is converted.
    Raises ContractBroken: columns are missing or of the wrong type; all of them are named."""
    schema = frame.collect_schema()
    missing = [column.name for column in table.delivered if column.name not in schema]
    wrong = [
        f"{column.name} is {schema[column.name]}, not {column.kind}"
        for column in table.delivered
        if column.name in schema and not _is_convertible(schema[column.name], column.kind)
    ]
    if missing or wrong:
        facts = [f"missing: {', '.join(missing)}"] if missing else []
        there, more = schema.names()[:COLUMNS_SHOWN], len(schema) - COLUMNS_SHOWN
        others = [name for name in schema if not table.has(name)]
        meant = [f" Is {name!r} called {close[0]!r} there?" for name in missing if (close := close_names(name, others))]
        raise ContractBroken(
            f"{table.name}: {'; '.join(facts + wrong)}. The source has: {', '.join(there) or 'no columns'}"
            f"{f' and {more} more' if more > 0 else ''}.{''.join(meant)} Correct the source, or the table's declaration."
        )
    if table.known_after is not None:
        learned = pl.col(table.event_timestamp) + table.known_after
        frame = frame.with_columns(learned.alias(table.created_timestamp))
    return frame.select(pl.col(column.name).cast(DTYPES[column.kind]) for column in table.columns).collect()


def check_contract(
    table: Table,
    period: Period,
    frame: pl.DataFrame,
    history: Sequence[int] = (),
    referenced: Mapping[str, pl.DataFrame] = MappingProxyType({}),
) -> ContractResult:
    """Check every row of a period of `conform`ed rows, and the period as a whole.

    history: row counts of the last stored periods. referenced: rows of the tables that this one refers to, by name."""
    accepted, failures = _schema(table, period, referenced).filter(frame)
    counts = failures.counts()
    if not counts:
        empty = frame.clear().with_columns(pl.lit("", pl.String).alias(REASON))
        return ContractResult(table, frame.height, accepted, empty, (), _of_the_period(table, period, frame, history))
    details = failures.details()
    words = {name: _in_words(table, period, name) for name in counts}
    violations = []
    for name, rows in counts.items():
        column, rule = words[name]
        broken = details.filter(pl.col(name) == "invalid").select(frame.columns)
        shown = broken.select(list(dict.fromkeys([*table.key, *([column] if table.has(column) else [])])))
        violations.append(Violation(column, rule, rows, tuple(shown.head(EXAMPLES).to_dicts())))
    reasons = [
        pl.when(pl.col(name) == "invalid").then(pl.lit(f"{column}: {rule}")) for name, (column, rule) in words.items()
    ]
    quarantined = details.select(
        *frame.columns, pl.concat_str(reasons, separator="; ", ignore_nulls=True).alias(REASON)
    )
    of_the_period = _of_the_period(table, period, frame, history)
    return ContractResult(table, frame.height, accepted, quarantined, tuple(violations), of_the_period)


def _of_the_period(table: Table, period: Period, frame: pl.DataFrame, history: Sequence[int]) -> tuple[Violation, ...]:
    violations = []
    if frame.height < table.min_rows:
        violations.append(Violation("rows", f"at least {table.min_rows} in {period.key}", frame.height, ()))
    newest = frame[table.event_timestamp].max()
    if table.fresh_within is not None and isinstance(newest, datetime) and newest < period.end - table.fresh_within:
        rule = f"the newest is at most {table.fresh_within} before {period.end:%Y-%m-%d %H:%M}, it is {newest:%Y-%m-%d %H:%M}"
        violations.append(Violation(table.event_timestamp, rule, frame.height, ()))
    if table.rows_within is not None and len(history) >= LEAST_HISTORY:
        usual = median(history)
        least, most = (factor * usual for factor in table.rows_within)
        if not least <= frame.height <= most:
            rule = f"between {least:,.0f} and {most:,.0f}, as the median of {len(history)} periods is {usual:,.0f}"
            violations.append(Violation("rows", rule, frame.height, ()))
    return tuple(violations)


def _schema(table: Table, period: Period, referenced: Mapping[str, pl.DataFrame]) -> type[dy.Schema]:
    import dataframely as dy

    members: dict[str, Any] = {column.name: _dataframely(column, column.name in table.key) for column in table.columns}
    clock = table.event_timestamp

    @dy.rule()
    def in_period(cls: type[dy.Schema]) -> pl.Expr:
        return (pl.col(clock) >= period.start) & (pl.col(clock) < period.end)

    @dy.rule()
    def clocks_in_order(cls: type[dy.Schema]) -> pl.Expr:
        return pl.col(table.created_timestamp) >= pl.col(clock)

    members["in_period"] = in_period
    members["clocks_in_order"] = clocks_in_order
    for number, foreign_key in enumerate(table.foreign_keys):
        if foreign_key.table in referenced:
            members[f"foreign_key_{number}"] = _exists_in(foreign_key, referenced[foreign_key.table])
    return type(f"Contract_{table.name}", (dy.Schema,), members)


def _exists_in(foreign_key: ForeignKey, target: pl.DataFrame) -> Any:
    import dataframely as dy

    targets = target.select(pl.struct(foreign_key.target_columns).alias("key"))["key"].unique().implode()

    @dy.rule()
    def exists(cls: type[dy.Schema]) -> pl.Expr:
        pairs = zip(foreign_key.columns, foreign_key.target_columns, strict=True)
        is_null = pl.any_horizontal(pl.col(name).is_null() for name in foreign_key.columns)
        return is_null | pl.struct(pl.col(name).alias(to) for name, to in pairs).is_in(targets)

    return exists


def _dataframely(column: Column, is_key: bool) -> dy.Column:
    import dataframely as dy

    common: dict[str, Any] = {"nullable": column.nullable and not is_key, "primary_key": is_key}
    limits: dict[str, Any] = {"min": column.minimum, "max": column.maximum}
    match column.kind:
        case Kind.STRING:
            choices = list(column.choices)
            return dy.String(**common, check={"choices": lambda value: value.is_in(choices)} if choices else None)
        case Kind.INTEGER:
            whole: dict[str, Any] = {name: None if value is None else int(value) for name, value in limits.items()}
            return dy.Int64(**common, **whole)
        case Kind.FLOAT:
            return dy.Float64(**common, **limits, allow_nan=False, allow_inf=False)
        case Kind.BOOLEAN:
            return dy.Bool(**{name: value for name, value in common.items() if name != "primary_key"})
        case Kind.TIMESTAMP:
            return dy.Datetime(**common, time_unit="us", time_zone="UTC")


def _in_words(table: Table, period: Period, name: str) -> tuple[str, str]:
    """Column and rule of a dataframely rule name, such as `carrier|check__choices`."""
    column, _, rule = name.partition("|")
    if not rule:
        rules = {
            "primary_key": (", ".join(table.key), "the key is unique"),
            "in_period": (table.event_timestamp, f"lies in [{period.start:%Y-%m-%d}, {period.end:%Y-%m-%d})"),
            "clocks_in_order": (table.created_timestamp, f"is not before {table.event_timestamp}"),
        }
        if column.startswith("foreign_key_"):
            foreign_key = table.foreign_keys[int(column.removeprefix("foreign_key_"))]
            to = ", ".join(foreign_key.target_columns)
            return ", ".join(foreign_key.columns), f"exists in {to} of {foreign_key.table}"
        return rules.get(column, (column, column))
    declared = table.column(column)
    words = {
        "nullability": "is not null",
        "nan": "is not NaN",
        "inf": "is finite",
        "min": f"is at least {declared.minimum} {declared.unit}".strip(),
        "max": f"is at most {declared.maximum} {declared.unit}".strip(),
        "check__choices": f"is one of {', '.join(declared.choices)}",
    }
    return column, words.get(rule, rule)


def _is_convertible(kind: pl.DataType, wanted: Kind) -> bool:
    if wanted is Kind.INTEGER:
        return kind.is_integer()
    if wanted is Kind.FLOAT:
        return kind.is_numeric()
    if wanted is Kind.TIMESTAMP:
        # the zone of a timestamp is never guessed
        return isinstance(kind, pl.Datetime) and kind.time_zone == "UTC"
    return kind == DTYPES[wanted]
