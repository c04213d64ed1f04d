"""Where a product's rows come from, and the contract that every period of them must satisfy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from mlops_assets.errors import DeclarationError

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl

    from mlops_assets.products.periods import Period


EPOCH_SECONDS, EPOCH_MILLISECONDS = "epoch seconds", "epoch milliseconds"  # formats of timestamps that are numbers
LEARNED_AT = "learned_at"  # the created timestamp of a table that names none and declares `known_after`


class Kind(StrEnum):
    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"  # UTC, microseconds


@dataclass(frozen=True)
class Column:
    """One column of a source table and the contract of its values.

    `minimum` and `maximum` are inclusive and in `unit`; `choices` is the closed set of categories (empty: open);
    `example` is shown on the API's OpenAPI page.
    source_name: the column's name in the source, where that is not a usable name here, such as "class" or "size in cm".
    format: how the source writes a timestamp that is neither of a timestamp type nor ISO 8601, such as "%d.%m.%Y %H:%M", or
        "%Y-%m" and "%Y" for the first day of a month or year, or `EPOCH_SECONDS` or `EPOCH_MILLISECONDS`.
    """

    name: str
    kind: Kind
    unit: str = ""
    description: str = ""
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    example: str | int | float | None = None
    source_name: str = ""
    format: str = ""

    def __post_init__(self) -> None:
        if self.format and self.kind is not Kind.TIMESTAMP:
            raise DeclarationError(
                f"column {self.name!r} has a format but is {self.kind}. Only timestamps have formats."
            )
        if self.choices and self.kind is not Kind.STRING:
            raise DeclarationError(f"column {self.name!r} has choices but is {self.kind}. Only strings have choices.")
        if None not in (self.minimum, self.maximum) and self.minimum > self.maximum:  # type: ignore[operator]
            raise DeclarationError(f"column {self.name!r}: minimum {self.minimum} is above maximum {self.maximum}.")

    @property
    def delivered_as(self) -> str:
        """Its name in the source."""
        return self.source_name or self.name


@dataclass(frozen=True)
class ForeignKey:
    """The values of `columns` must exist in another table of the source, in the same period; a row with a null refers to none.

    to: the columns of that table, in the same order; empty: they have the same names."""

    columns: tuple[str, ...]
    table: str
    to: tuple[str, ...] = ()

    @property
    def target_columns(self) -> tuple[str, ...]:
        return self.to or self.columns


@dataclass(frozen=True)
class Table:
    """A table of a source: its columns, its unique key, its two clocks, and the contract of a whole period.

    max_quarantined_share: up to this share of a period's rows may break the contract; they are stored in quarantine with
        their reasons, apart from the others. Above it the period fails. 0: every row must satisfy the contract.
    fresh_within: the newest event must not be older than this when the period ends.
    rows_within: least and most rows, as multiples of the median of the last periods.
    known_after: for sources that do not say when a row was learned. The platform then fills `created_timestamp`, which the
        source does not deliver, with the event timestamp plus this.
    key: () for a single series, in which the event timestamp identifies a row.
    created_timestamp: "" where the source has no such column: rows count as learned when they happen or, with `known_after`,
        at the time in the column `learned_at` that the platform adds.
    """

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    event_timestamp: str = ""
    created_timestamp: str = ""
    description: str = ""
    min_rows: int = 1
    max_quarantined_share: float = 0.0
    fresh_within: timedelta | None = None
    rows_within: tuple[float, float] | None = None
    foreign_keys: tuple[ForeignKey, ...] = ()
    known_after: timedelta | None = None

    def __post_init__(self) -> None:
        if not self.event_timestamp:
            raise DeclarationError(
                f"table {self.name!r}: event_timestamp is empty. Name the column that says when a row happened."
            )
        if not self.key:
            object.__setattr__(self, "key", (self.event_timestamp,))
        if not self.created_timestamp:
            self._set_created_timestamp()
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise DeclarationError(f"table {self.name!r} declares a column twice: {sorted(names)}.")
        for needed in (*self.key, self.event_timestamp, self.created_timestamp):
            if needed not in names:
                raise DeclarationError(f"table {self.name!r} needs column {needed!r}. It has: {', '.join(names)}.")

        flags = [column.name for column in self.columns if column.name in self.key and column.kind is Kind.BOOLEAN]
        if flags:
            raise DeclarationError(
                f"table {self.name!r}: {', '.join(flags)} is boolean and cannot identify rows. Leave it out of the key."
            )

        if self.known_after is not None and (
            self.known_after <= timedelta(0) or self.created_timestamp == self.event_timestamp
        ):
            raise DeclarationError(
                f"table {self.name!r}: known_after={self.known_after} is added to the event timestamp to fill created_timestamp "
                f"({self.created_timestamp!r}). Give a positive time, and a created_timestamp other than the event_timestamp."
            )

        if self.min_rows < 0:
            raise DeclarationError(f"table {self.name!r}: min_rows is {self.min_rows}. Give 0 or more.")
        if not 0 <= self.max_quarantined_share < 1:
            raise DeclarationError(
                f"table {self.name!r}: max_quarantined_share is {self.max_quarantined_share}. Give a share from 0 to below 1."
            )
        for foreign_key in self.foreign_keys:
            unknown = [name for name in foreign_key.columns if name not in names]
            if unknown or len(foreign_key.target_columns) != len(foreign_key.columns):
                raise DeclarationError(
                    f"table {self.name!r} refers to {foreign_key.table!r} by {', '.join(foreign_key.columns)}, to "
                    f"{', '.join(foreign_key.target_columns)}. It has: {', '.join(names)}. Name as many columns on both sides."
                )

    def _set_created_timestamp(self) -> None:
        if self.known_after is None:
            object.__setattr__(self, "created_timestamp", self.event_timestamp)
            return
        learned_at = Column(LEARNED_AT, Kind.TIMESTAMP, "UTC", f"the event plus {self.known_after}")
        object.__setattr__(self, "created_timestamp", LEARNED_AT)
        if not self.has(LEARNED_AT):  # `dataclasses.replace` passes it on
            object.__setattr__(self, "columns", (*self.columns, learned_at))

    @property
    def delivered(self) -> tuple[Column, ...]:
        """The columns that the source delivers."""
        filled = None if self.known_after is None else self.created_timestamp
        return tuple(column for column in self.columns if column.name != filled)

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def has(self, name: str) -> bool:
        return any(column.name == name for column in self.columns)


@runtime_checkable
class Source(Protocol):
    """Reads one period of one table, lazily.

    `main` has one row per entity; features look values up in `side_tables` (hourly weather, for example). A row belongs
    to the period that contains its event timestamp.
    """

    @property
    def main(self) -> Table: ...

    @property
    def side_tables(self) -> tuple[Table, ...]: ...

    def read(self, table: str, period: Period) -> pl.LazyFrame:
        """Rows of `table` in `period`. Raises SourceError: the source cannot be read."""
        ...

    def has_arrived(self, period: Period, now: datetime) -> bool:
        """Whether the whole period can be read at `now`."""
        ...


def tables_by_name(source: Source) -> dict[str, Table]:
    """Every table of a source, the main one first."""
    return {table.name: table for table in (source.main, *source.side_tables)}
