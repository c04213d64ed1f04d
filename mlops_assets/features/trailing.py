"""The table of a trailing view, on any engine: one row per key and step in which new rows became known."""

from datetime import timedelta
from typing import Any

import narwhals as nw

from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, Tables, Trailing
from mlops_assets.products.trailing import COUNT


def trailing_table(trailing: Trailing, tables: Tables) -> nw.LazyFrame[Any]:
    """Key, both clocks and features. A null adds nothing to a sum, and rows without a key are left out.

    A step's rows are added to a running sum at the end of the step and subtracted `window` later. So the work grows with the
    number of steps; joining steps with steps would make it grow with the square.
    """
    key, sums = trailing.key, (COUNT, *trailing.sums)
    entering = (
        trailing.rows(tables)
        .select(*key, CREATED_TIME, *(nw.col(name).cast(nw.Float64).fill_null(0.0) for name in trailing.sums))
        .drop_nulls([*key, CREATED_TIME])
        .with_columns(nw.col(CREATED_TIME).dt.truncate(trailing.step))
        .group_by(*key, CREATED_TIME)
        .agg(nw.len().cast(nw.Float64).alias(COUNT), *(nw.col(name).sum() for name in trailing.sums))
        .with_columns(nw.col(CREATED_TIME).dt.offset_by(trailing.step), nw.lit(True).alias("_enters"))
    )
    leaving = entering.with_columns(
        # one second before the full step, so that at each step the old rows are subtracted before the new ones are added
        nw.col(CREATED_TIME).dt.offset_by(f"{trailing.window // timedelta(seconds=1) - 1}s"),
        *(-nw.col(name) for name in sums),
        nw.lit(False).alias("_enters"),
    )
    return (
        nw.concat([entering, leaving])
        .with_columns(*(nw.col(name).cum_sum().over(*key, order_by=CREATED_TIME) for name in sums))
        .filter(nw.col("_enters"))
        .select(*key, CREATED_TIME, nw.col(CREATED_TIME).alias(EVENT_TIME), *trailing.values)
    )
