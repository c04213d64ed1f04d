"""Trailing views: features of what was learned about a key in the last days, hours or minutes."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Never

import narwhals as nw

from mlops_assets.errors import DeclarationError
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, Feature, FeatureView, Step, Tables, Trailing

STEPS: dict[Step, timedelta] = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
COUNT = "row_count"  # beside the sums: how many rows are in them


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
    taken = {*key, CREATED_TIME, EVENT_TIME, COUNT}
    if doubled := sorted(taken.intersection([*sums, *(feature.name for feature in features)])):
        refuse(f"has a sum or a feature called {', '.join(doubled)}, as its key or its clocks are. Rename it.")
    values = []
    for feature in features:
        if feature.expression is None:
            refuse(f"does not say what {feature.name} is. Give it an expression of {_list(sums)} and COUNT.")
        values.append(feature.expression.alias(feature.name))
    lookup = Trailing(rows, key, window, sums, tuple(values), step)
    return FeatureView(
        name, features, key, lookup, time_to_live=time_to_live, lookback=lookback, description=description
    )


def _list(sums: tuple[str, ...]) -> str:
    return f"the sums {', '.join(sums)}" if sums else "no sums"
