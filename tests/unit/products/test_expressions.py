"""What a Narwhals expression is made of."""

import narwhals as nw
import narwhals.selectors as ncs
import polars as pl
import pytest

from mlops_assets.products.expressions import columns_of, is_by_name, is_by_row, is_column

SUM = nw.when(nw.col("a") > 1).then(nw.col("b").dt.hour()).otherwise(nw.col("c") + nw.lit(2))


def test_its_columns_are_those_of_all_its_operands():
    assert columns_of(SUM) == {"a", "b", "c"}
    assert columns_of(nw.lit(1)) == set()


A, B = nw.col("a"), nw.col("b")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (nw.max_horizontal("a", "b"), {"a", "b"}),
        (nw.coalesce("a", B), {"a", "b"}),
        (nw.concat_str("a", "b"), {"a", "b"}),
        (nw.when("a").then("b").otherwise("c"), {"a", "b", "c"}),
        (A.clip("b"), {"a", "b"}),
        (A.is_between("b", 3), {"a", "b"}),
        (A + "b", {"a"}),
        (A == "b", {"a"}),
        (A.is_in(["b"]), {"a"}),
        (A.fill_null("b"), {"a"}),
        (nw.lit("b"), set()),
    ],
)
def test_a_text_is_a_column_where_narwhals_takes_it_for_one(expression, expected):
    assert columns_of(expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (SUM, True),
        (nw.all(), False),
        (nw.nth(0), False),
        (nw.exclude("a"), False),
        (nw.sum_horizontal(ncs.numeric()), False),
    ],
)
def test_it_is_by_name_when_other_columns_of_the_table_change_nothing(expression, expected):
    assert is_by_name(expression) is expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (SUM, True),
        (nw.col("a").mean(), False),
        (nw.col("a") - nw.col("a").mean(), False),
        (nw.col("a").rank(), False),
        (nw.col("a").shift(1), False),
        (nw.len(), False),
        (nw.max_horizontal("a", nw.col("b").mean()), False),
        (A + nw.from_native(pl.Series([1, 2]), series_only=True), False),
    ],
    ids=["of its row", "a mean", "beside a mean", "a rank", "another row", "a count", "or a mean", "and a series"],
)
def test_it_is_by_row_when_no_other_row_enters(expression, expected):
    assert is_by_row(expression) is expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [(nw.col("a"), True), (nw.col("b"), False), (nw.col("a").dt.hour(), False), (nw.col("a", "b"), False)],
)
def test_it_is_a_column_when_nothing_is_done_to_it(expression, expected):
    assert is_column(expression, "a") is expected
