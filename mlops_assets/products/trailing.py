"""Trailing views: features from sums over the last days, hours or minutes of a key."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Never

import narwhals as nw

from mlops_assets.errors import DeclarationError
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, Feature, FeatureView, Step, Tables, Trailing

STEPS: dict[Step, timedelta] = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
COUNT = "row_count"  # the column with the number of rows in the sums


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
    """A batch view of sums over the rows of a key that were learned in the `window` before the end of its newest `step`.

    features: row-wise expressions of the sums and of COUNT, the number of rows in them.
    rows: from the source's tables to the rows that are summed: the `key` columns, `created_time` (when the row was learned)
        and the numeric columns of `sums`, in which a null adds nothing. A row counts from the end of the step in which it was
        learned.
    Sums of integers are exact; others have the rounding of a running sum, as in an SQL window.
    Raises DeclarationError.
    """

    def refuse(why: str) -> Never:
        raise DeclarationError(f"trailing view {name!r} {why}")

    if step not in STEPS:
        refuse(f"has the step {step!r}. Choose one of {', '.join(STEPS)}.")
    if window <= timedelta(0) or window % STEPS[step]:
        refuse(
            f"has a window of {window}, which is not a positive number of whole steps of {step}. Change one of them."
        )
    if lookback < window:
        refuse(
            f"has a lookback of {lookback}, shorter than its window of {window}. Make it at least as long, and longer where rows "
            "arrive late."
        )
    reserved = {*key, CREATED_TIME, EVENT_TIME, COUNT}
    if clashing := sorted(reserved.intersection([*sums, *(feature.name for feature in features)])):
        refuse(
            f"has a sum or a feature called {', '.join(clashing)}, the name of its key, a clock or the count. Rename it."
        )
    values = []
    for feature in features:
        if feature.expression is None:
            refuse(f"has no expression for {feature.name}. Give it an expression of {_list(sums)} and COUNT.")
        values.append(feature.expression.alias(feature.name))
    lookup = Trailing(rows, key, window, sums, tuple(values), step)
    return FeatureView(
        name, features, key, lookup, time_to_live=time_to_live, lookback=lookback, description=description
    )


def _list(sums: tuple[str, ...]) -> str:
    return f"the sums {', '.join(sums)}" if sums else "no sums"
