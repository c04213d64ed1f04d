"""What a Narwhals expression is made of."""

import narwhals as nw
import pytest

from mlops_assets.products.expressions import columns_of, is_by_row, is_column

SUM = nw.when(nw.col("a") > 1).then(nw.col("b").dt.hour()).otherwise(nw.col("c") + nw.lit(2))


def test_its_columns_are_those_of_all_its_operands():
    assert columns_of(SUM) == {"a", "b", "c"}
    assert columns_of(nw.lit(1)) == set()


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (SUM, True),
        (nw.col("a").mean(), False),
        (nw.col("a") - nw.col("a").mean(), False),
        (nw.col("a").rank(), False),
        (nw.col("a").shift(1), False),
        (nw.len(), False),
    ],
    ids=["of its row", "a mean", "beside a mean", "a rank", "another row", "a count"],
)
def test_it_is_by_row_when_no_other_row_enters(expression, expected):
    assert is_by_row(expression) is expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [(nw.col("a"), True), (nw.col("b"), False), (nw.col("a").dt.hour(), False), (nw.col("a", "b"), False)],
)
def test_it_is_a_column_when_nothing_is_done_to_it(expression, expected):
    assert is_column(expression, "a") is expected
