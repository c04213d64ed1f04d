"""The data contract: what every period of a source table has to keep, and which rows break it.

Rules run on dataframely, which works on Polars and gives the reasons per row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from mlops_assets.errors import ContractBroken
from mlops_assets.products.periods import Period
from mlops_assets.products.source import Column, Kind, Table
from mlops_assets.stores.dtypes import DTYPES

if TYPE_CHECKING:
    import dataframely as dy

EXAMPLES = 5


@dataclass(frozen=True)
class Violation:
    """A rule that rows break: the column (or "key"), the rule in words, how many rows, and some of them."""

    column: str
    rule: str
    rows: int
    examples: tuple[dict[str, object], ...]


@dataclass(frozen=True)
class ContractResult:
    table: str
    rows: int
    violations: tuple[Violation, ...]

    @property
    def kept(self) -> bool:
        return not self.violations

    @property
    def reason(self) -> str:
        """One sentence that names rows and columns."""
        if self.kept:
            return f"{self.rows:,} rows keep the contract of {self.table}"
        broken = "; ".join(f"{item.column}: {item.rows:,} rows break '{item.rule}'" for item in self.violations)
        return f"{self.table}: {broken}"


def conform(table: Table, frame: pl.LazyFrame) -> pl.DataFrame:
    """The declared columns in the declared order and types.

    Whole numbers may come as any integer, numbers as any number; nothing else is converted.
    Raises ContractBroken: columns are missing or of the wrong type; all of them are named."""
    schema = frame.collect_schema()
    missing = [column.name for column in table.columns if column.name not in schema]
    wrong = [
        f"{column.name} is {schema[column.name]}, not {column.kind}"
        for column in table.columns
        if column.name in schema and not _is_convertible(schema[column.name], column.kind)
    ]
    if missing or wrong:
        facts = [f"missing: {', '.join(missing)}"] if missing else []
        raise ContractBroken(
            f"{table.name}: {'; '.join(facts + wrong)}. The source has: {', '.join(schema.names())}. "
            "Correct the source, or the table's declaration."
        )
    return frame.select(pl.col(column.name).cast(DTYPES[column.kind]) for column in table.columns).collect()


def check_contract(table: Table, period: Period, frame: pl.DataFrame) -> ContractResult:
    """Check every row of a period of `conform`ed rows."""
    violations = []
    if frame.height < table.min_rows:
        violations.append(Violation("rows", f"at least {table.min_rows} in {period.key}", frame.height, ()))
    _, failures = _schema(table, period).filter(frame)
    counts = failures.counts()
    if counts:
        details = failures.details()
        for name, rows in counts.items():
            column, rule = _in_words(table, period, name)
            broken = details.filter(pl.col(name) == "invalid").select(frame.columns)
            shown = broken.select(list(dict.fromkeys([*table.key, *([column] if table.has(column) else [])])))
            violations.append(Violation(column, rule, rows, tuple(shown.head(EXAMPLES).to_dicts())))
    return ContractResult(table.name, frame.height, tuple(violations))


def _schema(table: Table, period: Period) -> type[dy.Schema]:
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
    return type(f"Contract_{table.name}", (dy.Schema,), members)


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
        known = {
            "primary_key": (", ".join(table.key), "the key is unique"),
            "in_period": (table.event_timestamp, f"lies in [{period.start:%Y-%m-%d}, {period.end:%Y-%m-%d})"),
            "clocks_in_order": (table.created_timestamp, f"is not before {table.event_timestamp}"),
        }
        return known.get(column, (column, column))
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
        # a timestamp without zone is not guessed at
        return isinstance(kind, pl.Datetime) and kind.time_zone == "UTC"
    return kind == DTYPES[wanted]
