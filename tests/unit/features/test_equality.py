"""Null, NaN and infinity are values like others, and engines may add numbers in another order."""

import polars as pl
import pytest

from mlops_assets.features.equality import TOLERANCE, unequal

INFINITE, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("recorded", "now", "differ"),
    [
        (1.0, 1.0 + TOLERANCE / 2, False),
        (1.0, 1.0 + 2 * TOLERANCE, True),
        (0.0, TOLERANCE / 2, False),  # below 1 the tolerance is absolute
        (1e6, 1e6 * (1 + TOLERANCE / 2), False),
        (1e6, 1e6 * (1 + 2 * TOLERANCE), True),
        (None, None, False),
        (None, 0.0, True),
        (NAN, NAN, False),
        (NAN, 1.0, True),
        (INFINITE, INFINITE, False),
        (INFINITE, -INFINITE, True),
        (INFINITE, 1.0, True),  # although the tolerance of infinity is infinite
        (1.0, INFINITE, True),
    ],
)
def test_numbers_are_equal_within_the_tolerance(recorded: float | None, now: float | None, differ: bool) -> None:
    found = unequal(pl.Series([recorded], dtype=pl.Float64), pl.Series([now], dtype=pl.Float64))

    assert found.to_list() == [differ]


def test_categories_are_equal_exactly() -> None:
    found = unequal(pl.Series(["a", "a", None]), pl.Series(["a", "A", None]))

    assert found.to_list() == [False, True, False]
