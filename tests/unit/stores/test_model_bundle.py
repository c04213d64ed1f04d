"""Model bundle: immutable, checked when opened, the same scores by row and by batch."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.errors import BundleError
from mlops_assets.products.air_time import air_time
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.flight_delay import flight_delay
from mlops_assets.products.task import Task
from mlops_assets.stores.model_bundle import MANIFEST, MODEL, Bundle, Input, encode, read_manifest, write_bundle
from tests.tiny_bundle import CATEGORIES, tiny_manifest, write_tiny_bundle

INPUTS = (Input("carrier", FeatureKind.CATEGORICAL, categories=("AA", "UA")), Input("seats", FeatureKind.NUMERIC))


def some_features(rows: int, **values: Any) -> pl.DataFrame:
    """Every input null, but for these."""
    kinds = {f.name: pl.String if f.kind is FeatureKind.CATEGORICAL else pl.Float64 for f in flight_delay.inputs}
    return pl.DataFrame({name: [values.get(name)] * rows for name in kinds}, schema=kinds)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tiny_bundle(tmp_path / "1", flight_delay, weight=0.5, bias=-1)
    return tmp_path / "1"


def test_categories_become_their_codes_and_nulls_and_strangers_a_number_of_their_own() -> None:
    features = pl.DataFrame({"seats": [10, None, 3, 4], "carrier": ["AA", "UA", None, "ZZ"]})

    matrix = encode(features, INPUTS)

    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, [[0, 10], [1, np.nan], [-1, 3], [-1, 4]])


def test_an_input_without_any_category_is_always_unknown() -> None:
    matrix = encode(pl.DataFrame({"carrier": ["AA", None]}), (Input("carrier", FeatureKind.CATEGORICAL),))

    np.testing.assert_array_equal(matrix, [[-1], [-1]])


@settings(deadline=None)
@given(
    seats=st.none() | st.floats(allow_nan=False, width=32),
    carrier=st.none() | st.sampled_from([*CATEGORIES["carrier"], "ZZ"]),
)
def test_a_row_is_encoded_as_it_is_in_a_frame(seats: float | None, carrier: str | None) -> None:
    bundle = Bundle(Path(), tiny_manifest(flight_delay), session=None)
    features = some_features(1, seats=seats, carrier=carrier)

    by_row, strangers = bundle.encode_rows(features.rows())

    np.testing.assert_array_equal(by_row, bundle.encode(features))
    assert strangers == [0]  # origin and dest are null


def test_scores_are_the_models_own(folder: Path) -> None:
    bundle = Bundle.open(folder, flight_delay)

    scores = bundle.predict(some_features(2, seats=10.0))

    # by hand: unknown categories are -1 each: 0.5 * (10 - 3) - 1 = 2.5
    assert scores.tolist() == pytest.approx([1 / (1 + math.exp(-2.5))] * 2, rel=1e-6)


def test_regression_scores_are_one_number_a_row(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "1", air_time, bias=30)
    bundle = Bundle.open(tmp_path / "1", air_time)

    assert bundle.score(np.zeros((3, len(air_time.inputs)), np.float32)).tolist() == [30, 30, 30]


def test_no_rows_have_no_scores(folder: Path) -> None:
    assert Bundle.open(folder).predict(some_features(0)).shape == (0,)


def test_unknown_categories_are_named(folder: Path) -> None:
    bundle = Bundle.open(folder)

    row = [{"carrier": "ZZ", "origin": "EWR"}.get(name) for name in bundle.input_names]
    assert bundle.unknown_categories(row) == ["carrier"]


def test_the_manifest_is_read_back_as_it_was_written(folder: Path) -> None:
    manifest = read_manifest(folder)

    assert msgspec.structs.replace(manifest, checksums={}) == tiny_manifest(flight_delay)
    assert set(manifest.checksums) == {path.name for path in folder.iterdir()} - {MANIFEST}


def test_a_damaged_file_is_refused_by_name(folder: Path) -> None:
    (folder / MODEL).write_bytes((folder / MODEL).read_bytes() + b"\0")

    with pytest.raises(BundleError, match=r"model\.onnx is damaged"):
        Bundle.open(folder)


def test_a_missing_file_is_refused_by_name(folder: Path) -> None:
    (folder / MODEL).unlink()

    with pytest.raises(BundleError, match=r"model\.onnx is missing"):
        Bundle.open(folder)


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json is missing"):
        Bundle.open(tmp_path)


def test_a_manifest_of_another_shape_is_refused(folder: Path) -> None:
    (folder / MANIFEST).write_text('{"product": 7}')

    with pytest.raises(BundleError, match="cannot be read"):
        Bundle.open(folder)


def test_a_bundle_of_other_feature_definitions_is_refused(folder: Path) -> None:
    changed = dataclasses.replace(flight_delay, features=flight_delay.features[:-1])

    with pytest.raises(BundleError, match="trained on other feature definitions"):
        Bundle.open(folder, changed)


def test_a_bundle_of_another_task_is_refused(folder: Path) -> None:
    changed = dataclasses.replace(flight_delay, task=Task.REGRESSION, metric="mae", gates=())

    with pytest.raises(BundleError, match="trained for the task binary, and the product declares regression"):
        Bundle.open(folder, changed)


def test_a_bundle_is_never_replaced(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    with pytest.raises(BundleError, match="a bundle is never replaced"):
        write_bundle(folder, tiny_manifest(flight_delay), {MODEL: b"new"})

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
