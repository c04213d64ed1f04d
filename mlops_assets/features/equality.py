"""Equality of feature values, with a tolerance."""

import polars as pl

TOLERANCE = 1e-9  # relative above 1, because engines may add numbers in different orders


def unequal(recorded: pl.Series, now: pl.Series) -> pl.Series:
    """Whether values differ, (n,). Null equals null, NaN equals NaN, and numbers are equal within the tolerance."""
    same = recorded.eq_missing(now)
    if recorded.dtype.is_float():
        near = (recorded - now).abs() <= TOLERANCE * recorded.abs().clip(lower_bound=1)
        same = same | (near & recorded.is_finite() & now.is_finite()).fill_null(False)
    return ~same
