"""When two values of a feature count as the same."""

import polars as pl

TOLERANCE = 1e-9  # relative above 1: engines may add the same numbers in another order


def unequal(recorded: pl.Series, now: pl.Series) -> pl.Series:
    """Where they differ, (n,). Null equals null, NaN equals NaN, and numbers are equal within the tolerance."""
    same = recorded.eq_missing(now)
    if recorded.dtype.is_float():
        near = (recorded - now).abs() <= TOLERANCE * recorded.abs().clip(lower_bound=1)
        same = same | (near & recorded.is_finite() & now.is_finite()).fill_null(False)
    return ~same
