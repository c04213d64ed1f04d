"""Encoding: a row and a frame become the same matrix."""

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.state.encoding import encode, row_encoder
from mlops_assets.state.manifest import Input

CARRIER = Input("carrier", FeatureKind.CATEGORICAL, categories=("AA", "UA"))
SEATS = Input("seats", FeatureKind.NUMERIC)


def test_categories_become_their_codes_and_null_and_unknown_ones_a_number_of_their_own() -> None:
    features = pl.DataFrame({"seats": [10, None, 3, 4], "carrier": ["AA", "UA", None, "ZZ"]})

    matrix = encode(features, (CARRIER, SEATS))

    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, [[0, 10], [1, np.nan], [-1, 3], [-1, 4]])


def test_an_input_without_any_category_is_always_unknown() -> None:
    matrix = encode(pl.DataFrame({"carrier": ["AA", None]}), (Input("carrier", FeatureKind.CATEGORICAL),))

    np.testing.assert_array_equal(matrix, [[-1], [-1]])


def test_rows_with_a_null_or_unknown_category_are_named_by_their_number() -> None:
    unknown_rows: list[int] = []

    flat = row_encoder((CARRIER, SEATS))([("UA", 1.0), (None, 2.0), ("ZZ", 3.0), ("AA", None)], unknown_rows)

    np.testing.assert_array_equal(flat, [1, 1, -1, 2, -1, 3, 0, np.nan])
    assert unknown_rows == [1, 2]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.none() | st.sampled_from(["AA", "UA", "ZZ"]), st.none() | st.floats(allow_nan=False, width=32))
    )
)
def test_a_row_is_encoded_as_it_is_in_a_frame(rows: list[tuple[str | None, float | None]]) -> None:
    features = pl.DataFrame(rows, {"carrier": pl.String, "seats": pl.Float64}, orient="row")

    flat = row_encoder((CARRIER, SEATS))(rows, [])

    np.testing.assert_array_equal(np.array(flat, np.float32).reshape(-1, 2), encode(features, (CARRIER, SEATS)))
