"""The split of a training set, worked by hand at its three boundaries."""

from datetime import datetime, timedelta

import polars as pl
import pytest

from mlops_assets.data.labels import KNOWN_AT, LABEL
from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.products.periods import weekly
from mlops_assets.training.split import (
    EMBARGO,
    FIT,
    MIN_FIT_ROWS,
    MIN_TEST_ROWS,
    PERIOD,
    SPLIT,
    TEST,
    build_training_set,
    period_of,
)
from tests.unit.training.builders import a_product, a_regression, january

CUTOFF = january(9)  # of eight days, the test window is the 7th and the 8th
TEST_START = january(7)
A_SECOND = timedelta(seconds=1)
UTC_TIME = pl.Datetime("us", "UTC")


def filler(fit: int = MIN_FIT_ROWS, test: int = MIN_TEST_ROWS) -> list[tuple[datetime, datetime, float | None]]:
    """As many rows as are asked for: (asked at, known at, label), of both outcomes."""
    early = [(january(2), january(3), float(number % 2)) for number in range(fit)]
    late = [(january(7, 12), january(8, 12), float(number % 2)) for number in range(test)]
    return [*early, *late]


def split(rows, product=None, cutoff=CUTOFF) -> pl.DataFrame:
    """The training set of these rows; their number is the ride."""
    table = pl.LazyFrame(
        [(number, *row) for number, row in enumerate(rows)],
        {"ride": pl.Int64, "asked_at": UTC_TIME, KNOWN_AT: UTC_TIME, LABEL: pl.Float64},
        orient="row",
    )
    features = table.select("ride", "asked_at", origin=pl.lit("EWR"), distance=pl.lit(2.0))
    return build_training_set(product or a_product(), features, table.drop("asked_at"), cutoff)


@pytest.mark.parametrize(
    ("asked_at", "known_at", "expected"),
    [
        (TEST_START - timedelta(days=1), TEST_START, FIT),  # known exactly when the test window begins
        (TEST_START - timedelta(days=1), TEST_START + A_SECOND, EMBARGO),
        (TEST_START - A_SECOND, TEST_START + timedelta(days=1), EMBARGO),
        (TEST_START, TEST_START + timedelta(days=1), TEST),  # the first moment of the test window
        (CUTOFF - timedelta(days=1), CUTOFF, TEST),  # known exactly at the cutoff
        (CUTOFF - timedelta(days=1), CUTOFF + A_SECOND, None),
        (CUTOFF - A_SECOND, CUTOFF, TEST),
        (CUTOFF, CUTOFF, None),
    ],
)
def test_a_row_is_split_by_when_it_happened_and_when_its_label_was_known(asked_at, known_at, expected):
    rows = split([(asked_at, known_at, 1.0), *filler()])

    assert rows.filter(pl.col("ride") == 0)[SPLIT].to_list() == ([expected] if expected else [])


def test_a_row_whose_label_never_came_is_left_out():
    assert 0 not in split([(january(2), january(3), None), *filler()])["ride"]


def test_a_row_without_a_label_or_without_features_is_left_out():
    features = pl.LazyFrame({"ride": [1], "asked_at": [january(2)], "origin": ["EWR"], "distance": [2.0]})
    labels = pl.LazyFrame({"ride": [2], LABEL: [1.0], KNOWN_AT: [january(3)]})

    with pytest.raises(NothingToLearnFrom, match="taxi: there are 0 labelled rows to fit"):
        build_training_set(a_product(), features, labels, CUTOFF)


def test_a_training_set_is_sorted_and_names_the_period_of_every_row():
    rows = split([(january(5, 23), january(6), 1.0), (january(1), january(2), 0.0), *filler()])

    assert rows.columns == ["ride", "asked_at", "origin", "distance", LABEL, SPLIT, PERIOD]
    assert rows.head(1).select("ride", PERIOD).rows() == [(1, "2020-01-01")]
    assert rows.filter(pl.col("ride") == 0)[PERIOD].to_list() == ["2020-01-05"]
    assert rows["asked_at"].is_sorted()


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            filler(fit=MIN_FIT_ROWS - 1),
            "taxi: there are 199 labelled rows to fit before 2020-01-09, and 200 are needed. Materialise",
        ),
        (
            filler(test=MIN_TEST_ROWS - 1),
            "taxi: there are 49 labelled rows to test before 2020-01-09, and 50 are needed",
        ),
        ([], "taxi: there are 0 labelled rows to fit"),
    ],
)
def test_too_few_rows_on_either_side_are_nothing_to_learn_from(rows, sentence):
    with pytest.raises(NothingToLearnFrom, match=sentence):
        split(rows)


@pytest.mark.parametrize(("side", "sentence"), [("fit", "all 200 rows to fit"), ("test", "all 50 rows to test")])
def test_one_outcome_only_is_nothing_to_learn_from(side, sentence):
    rows = [
        (asked, known, 1.0 if (asked < TEST_START) == (side == "fit") else label) for asked, known, label in filler()
    ]

    with pytest.raises(NothingToLearnFrom, match=f"taxi: {sentence} before 2020-01-09 have the same label"):
        split(rows)


def test_a_regression_may_learn_from_equal_numbers():
    rows = [(asked, known, 7.0) for asked, known, _ in filler()]

    assert split(rows, a_regression()).height == MIN_FIT_ROWS + MIN_TEST_ROWS


@pytest.mark.parametrize(
    "moment", [january(6), january(12, 23, 59, 59), january(13), january(13) - timedelta(microseconds=1)]
)
def test_the_period_of_a_row_is_the_period_that_contains_its_event(moment):
    product = a_product(
        period=weekly(start="2019-12-30"), training_window=timedelta(weeks=4), test_window=timedelta(weeks=1)
    )
    row = pl.DataFrame({"asked_at": [moment]}, schema={"asked_at": UTC_TIME})

    assert row.select(period_of(product)).item() == product.period.containing(moment).key
