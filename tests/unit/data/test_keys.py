"""Keys as numbers: one number for each key of which something is learned, and 0 for any other."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.data.keys import KeyColumn, Keys

texts = st.one_of(st.none(), st.text(max_size=3))
numbers = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(-3, 3))


def columns(*values: list[object], dtypes: tuple[type[pl.DataType], ...]) -> list[KeyColumn | None]:
    return [KeyColumn.of(pl.Series(column, dtype=dtype)) for column, dtype in zip(values, dtypes, strict=True)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(texts, numbers), max_size=40), st.lists(st.tuples(texts, numbers), min_size=1, max_size=40))
def test_rows_have_one_number_where_and_only_where_they_have_one_key_that_is_learned(learned, asked):
    dtypes = (pl.String, pl.Int64)
    asked = [*asked, *learned]
    keys = Keys.of(columns([text for text, _ in learned], [number for _, number in learned], dtypes=dtypes))

    assert keys is not None
    digits = keys.digits(columns([text for text, _ in asked], [number for _, number in asked], dtypes=dtypes))
    assert digits is not None
    numbered = keys.numbers(digits).tolist()

    whole = sorted({key for key in learned if None not in key})
    by_key = dict(zip(asked, numbered, strict=True))
    assert keys.count == 1 + len(whole)
    assert sorted(by_key[key] for key in whole) == [*range(1, 1 + len(whole))]
    assert [by_key[key] for key in asked] == numbered
    assert {number for key, number in by_key.items() if key not in whole} <= {0}


@pytest.mark.parametrize(
    "dtype", [pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64], ids=str
)
def test_whole_numbers_of_any_size_are_keys(dtype):
    (low, high) = (pl.select(end).to_series()[0] for end in (dtype.min(), dtype.max()))
    column = KeyColumn.of(pl.Series([high, None, low, high], dtype=dtype))

    assert column is not None
    assert column.digits(np.unique(column.values)).take(column.codes).tolist() == [2, 0, 1, 2]


@pytest.mark.parametrize("keys", [[1.5], [True], [b"a"]], ids=lambda keys: type(keys[0]).__name__)
def test_other_keys_have_no_numbers(keys):
    assert KeyColumn.of(pl.Series(keys)) is None
    assert Keys.of([KeyColumn.of(pl.Series([1])), KeyColumn.of(pl.Series(keys))]) is None


def test_a_text_has_the_number_it_has_elsewhere_in_whatever_pieces_it_came():
    whole = pl.Series(["EWR", "JFK", None, "LGA"])
    pieces = pl.concat([whole[3:], whole[:3]], rechunk=False)
    keys = Keys.of([KeyColumn.of(whole)])

    assert keys is not None
    first, second = (keys.numbers(keys.digits([KeyColumn.of(texts)]) or []).tolist() for texts in (whole, pieces))
    assert [first[row] for row in (3, 0, 1, 2)] == second


def test_columns_with_far_more_combinations_than_rows_are_not_numbered():
    many = KeyColumn.of(pl.Series(range(2_000)))

    assert Keys.of([many]) is not None
    assert Keys.of([many, many]) is None
