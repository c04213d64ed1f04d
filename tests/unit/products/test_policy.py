"""The drift bands are total, and a policy that cannot work is refused."""

from datetime import timedelta

import pytest

from mlops_assets.errors import DeclarationError
from mlops_assets.products.policy import Action, DriftPolicy, Serving


@pytest.mark.parametrize(
    ("percent", "action"),
    [
        (0.0, Action.NONE),
        (1.999, Action.NONE),
        (2.0, Action.WATCH),
        (4.999, Action.WATCH),
        (5.0, Action.RETRAIN),
        (10.0, Action.RETRAIN),
        (10.001, Action.REWORK),
        (100.0, Action.REWORK),
    ],
)
def test_every_reading_has_exactly_one_action(percent, action):
    assert DriftPolicy(watch=2, retrain=5, rework=10).band(percent) is action


@pytest.mark.parametrize(
    "bands",
    [
        {"watch": 0},
        {"watch": 5, "retrain": 5},
        {"retrain": 10, "rework": 10},
        {"watch": 6},
        {"rework": 101},
        {"watch": float("nan")},
    ],
)
def test_bands_that_do_not_rise_are_refused(bands):
    with pytest.raises(DeclarationError, match=r"drift bands must rise: 0 < watch"):
        DriftPolicy(**bands)


@pytest.mark.parametrize("wrong", [{"agreeing_periods": 0}, {"min_rows": 0}, {"cooldown": timedelta(days=-1)}])
def test_patience_that_means_nothing_is_refused(wrong):
    with pytest.raises(
        DeclarationError,
        match=r"agreeing_periods .* and min_rows .* must be at least 1, and cooldown .* not be negative",
    ):
        DriftPolicy(**wrong)


def test_a_route_that_lets_no_row_in_is_refused():
    with pytest.raises(DeclarationError, match=r"max_rows \(0\) must be at least 1"):
        Serving(max_rows=0)


def test_rows_cannot_be_asked_after_their_event_only():
    with pytest.raises(DeclarationError, match=r"asked_ahead -1 day, 0:00:00 is negative. Give a time from 0"):
        Serving(asked_ahead=timedelta(days=-1))
