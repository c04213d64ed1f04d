"""Trailing views: features of what was learned about a key in the last days, hours or minutes."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Never

import narwhals as nw

from mlops_assets.errors import DeclarationError
from mlops_assets.products.expressions import columns_of, is_by_row
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, Feature, FeatureView, Tables

Step = Literal["1m", "1h", "1d"]
STEPS: dict[Step, timedelta] = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
COUNT = "row_count"  # beside the sums: how many rows are in them


@dataclass(frozen=True, eq=False)
class Trailing:
    """The lookup of a trailing view, on any engine: per key a value for each step in which something was learned.

    A step's rows enter a running sum when the step is over and leave it `window` later, so the work grows with the
    steps and not, as in a join of steps with steps, with their square. `data/trailing_sums.py` does the same faster for
    rows in memory.
    """

    rows: Callable[[Tables], nw.LazyFrame[Any]]
    key: tuple[str, ...]
    window: timedelta
    sums: tuple[str, ...]
    values: tuple[nw.Expr, ...]
    step: Step

    @property
    def declaration(self) -> tuple[object, ...]:
        return tuple(vars(self).values())

    def addends(self, tables: Tables) -> nw.LazyFrame[Any]:
        """The rows that are summed: key, created_time, addends as float. A null adds nothing."""
        return (
            self.rows(tables)
            .select(*self.key, CREATED_TIME, *(nw.col(name).cast(nw.Float64).fill_null(0.0) for name in self.sums))
            .drop_nulls(CREATED_TIME)
        )

    def __call__(self, tables: Tables) -> nw.LazyFrame[Any]:
        names = (COUNT, *self.sums)
        entering = (
            self.addends(tables)
            .drop_nulls(list(self.key))  # nobody's
            .with_columns(nw.col(CREATED_TIME).dt.truncate(self.step).dt.offset_by(self.step))
            .group_by(*self.key, CREATED_TIME)
            .agg(nw.len().cast(nw.Float64).alias(COUNT), *(nw.col(name).sum() for name in self.sums))
            .with_columns(nw.lit(True).alias("_enters"))
        )
        leaving = entering.with_columns(
            # a second before the full step: what leaves comes before what enters, whose row has both in its sum
            nw.col(CREATED_TIME).dt.offset_by(f"{self.window // timedelta(seconds=1) - 1}s"),
            *(-nw.col(name) for name in names),
            nw.lit(False).alias("_enters"),
        )
        return (
            nw.concat([entering, leaving])
            .with_columns(*(nw.col(name).cum_sum().over(*self.key, order_by=CREATED_TIME) for name in names))
            .filter(nw.col("_enters"))
            .select(*self.key, nw.col(CREATED_TIME), nw.col(CREATED_TIME).alias(EVENT_TIME), *self.values)
        )


def trailing_view(
    name: str,
    features: tuple[Feature, ...],
    *,
    rows: Callable[[Tables], nw.LazyFrame[Any]],
    key: tuple[str, ...],
    window: timedelta,
    sums: tuple[str, ...] = (),
    step: Step = "1h",
    time_to_live: timedelta,
    lookback: timedelta,
    description: str = "",
) -> FeatureView:
    """A lookup view of what was learned about a key in the `window` up to the last full `step` that brought something.

    features: expressions of the sums, and of COUNT, the number of rows in them, each row by itself.
    rows: from the source's tables to what is summed: the `key` columns, `created_time` (when the row was learned) and
        the columns of `sums`, numbers of which a null adds nothing. What is learned in a step counts when it is over.
    Sums of whole numbers are exact; others carry the rounding of a running sum, as in a window of SQL.
    Raises DeclarationError.
    """

    def refuse(why: str) -> Never:
        raise DeclarationError(f"trailing view {name!r} {why}")

    if step not in STEPS:
        refuse(f"has the step {step!r}. Choose one of {', '.join(STEPS)}.")
    if window <= timedelta(0) or window % STEPS[step]:
        refuse(
            f"has a window of {window}, which is not a positive number of whole steps of {step}. Change either of them."
        )
    if lookback < window:
        refuse(
            f"looks back {lookback}, less than its window of {window}. Let it look back as far, and over late reports."
        )
    if not inspect.isfunction(rows):
        refuse("has rows that are no plain function, so nobody can see when they change. Write them as one.")
    taken = {*key, CREATED_TIME, EVENT_TIME, COUNT}
    if doubled := sorted(taken.intersection([*sums, *(feature.name for feature in features)])):
        refuse(f"has a sum or a feature called {', '.join(doubled)}, as its key or its clocks are. Rename it.")
    values = []
    for feature in features:
        if feature.expression is None:
            refuse(f"does not say what {feature.name} is. Give it an expression of {_list(sums)} and COUNT.")
        if not is_by_row(feature.expression):
            refuse(f"makes {feature.name} of other rows too. Sum them, and let the expression be of one row's sums.")
        if unknown := sorted(columns_of(feature.expression) - {*sums, COUNT}):
            refuse(
                f"makes {feature.name} of {', '.join(unknown)}, which it does not sum. It has {_list(sums)} and COUNT."
            )
        values.append(feature.expression.alias(feature.name))
    lookup = Trailing(rows, key, window, sums, tuple(values), step)
    return FeatureView(
        name, features, key, lookup, time_to_live=time_to_live, lookback=lookback, description=description
    )


def _list(sums: tuple[str, ...]) -> str:
    return f"the sums {', '.join(sums)}" if sums else "no sums"
