"""The search for the worst slices: it finds what is broken, says how many it looked at, and calls noise noise."""

from datetime import date, timedelta

import numpy as np
import polars as pl

from mlops_assets.testing.slices import MIN_SLICE_ROWS, worst_slices
from tests.unit.training.builders import a_product, a_regression

DAYS = 10
PER_DAY = 120


def a_window(seed: int = 3) -> tuple[pl.DataFrame, pl.Series]:
    """Ten days of 120 rides each from three origins."""
    draw = np.random.default_rng(seed)
    count = DAYS * PER_DAY
    days = pl.Series([date(2020, 1, 1) + timedelta(days=number // PER_DAY) for number in range(count)])
    return pl.DataFrame(
        {"origin": draw.choice(["EWR", "JFK", "LGA"], count), "distance": draw.gamma(2, 3, count)}
    ), days


def found(rows: pl.DataFrame, days: pl.Series, labels, scores, product=None):
    return worst_slices(product or a_product(), rows, labels, scores, days, ["distance", "origin"])


def test_the_slice_where_the_model_is_blind_comes_first_beyond_noise():
    rows, days = a_window()
    draw = np.random.default_rng(1)
    labels = draw.integers(0, 2, rows.height).astype(float)
    blind = (rows["origin"] == "JFK").to_numpy()
    scores = np.where(blind, draw.random(rows.height), 0.2 + 0.6 * labels)

    worst, _ = found(rows, days, labels, scores)

    assert worst[0].description == "origin = JFK"
    assert worst[0].rows == blind.sum()
    assert worst[0].gap > 0.1
    assert worst[0].p_adjusted is not None
    assert worst[0].p_adjusted < 0.01
    assert 0 < (worst[0].low or 0) < worst[0].gap


def test_where_no_slice_is_worse_the_search_mostly_says_noise():
    alarms = 0
    for seed in range(20):
        rows, days = a_window(seed)
        draw = np.random.default_rng(100 + seed)
        labels = draw.integers(0, 2, rows.height).astype(float)
        scores = draw.normal(labels, 1)
        worst, _ = found(rows, days, labels, scores)
        alarms += any(item.p_adjusted is not None and item.p_adjusted < 0.05 for item in worst)

    # at 5 % a search, 20 searches give more than 4 false alarms in 1 of 400 cases
    assert alarms <= 4


def test_every_category_quartile_and_pair_with_enough_rows_is_counted():
    _, days = a_window()
    count = DAYS * PER_DAY
    rows = pl.DataFrame({"origin": ["EWR", "JFK", "LGA"] * (count // 3), "distance": np.arange(count, dtype=float)})
    labels = np.tile([0.0, 0.0, 0.0, 1.0, 1.0, 1.0], count // 6)

    _, looked_at = found(rows, days, labels, np.linspace(0, 1, count))
    _, with_one_row_less = found(rows[1:], days[1:], labels[1:], np.linspace(0, 1, count)[1:])

    # 3 origins, 4 quarters of 300 rows, 12 pairs of 100 rows; without the first row one pair has 99
    assert MIN_SLICE_ROWS == 100
    assert (looked_at, with_one_row_less) == (19, 18)


def test_a_slice_seen_on_two_days_has_a_gap_and_no_chance():
    rows, days = a_window()
    on_two_days = (days <= date(2020, 1, 2)).to_numpy()
    rows = rows.with_columns(origin=pl.when(pl.Series(on_two_days)).then(pl.lit("JFK")).otherwise(pl.lit("EWR")))
    labels = np.random.default_rng(1).integers(0, 2, rows.height).astype(float)
    scores = np.where(on_two_days, 1 - labels, labels)

    worst, _ = found(rows, days, labels, scores)

    (jfk,) = [item for item in worst if item.description == "origin = JFK"]
    assert (jfk.p_adjusted, jfk.low) == (None, None)


def test_small_slices_and_those_with_one_outcome_are_not_looked_at():
    rows, days = a_window()
    labels = (rows["origin"] == "JFK").cast(pl.Float64).to_numpy()
    few = rows.head(MIN_SLICE_ROWS - 1)

    assert found(few, days.head(few.height), labels[: few.height], labels[: few.height]) == ((), 0)
    _, looked_at = found(rows, days, labels, labels)
    assert looked_at == 4  # the quarters of the distance: each origin has one outcome, and so has each pair with it


def test_an_error_is_worse_where_it_is_larger():
    rows, days = a_window()
    truth = np.zeros(rows.height)
    off = np.where((rows["origin"] == "LGA").to_numpy(), 5.0, 1.0) + np.random.default_rng(2).normal(
        0, 0.1, rows.height
    )

    worst, _ = found(rows, days, truth, off, a_regression())

    assert worst[0].description.startswith("origin = LGA")
    assert (worst[0].metric, worst[0].gap > 2) == ("mae", True)
