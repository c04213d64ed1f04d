"""Bundle: a folder that was copied into an image opens as a stored version does, and only if it is whole."""

import dataclasses
import math
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples.flights.air_time import air_time
from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import BundleError
from mlops_assets.features.opening import refuse_another_declaration
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from mlops_assets.state.bundle import Bundle, read_manifest
from mlops_assets.state.bundles import Bundles
from mlops_assets.state.manifest import MANIFEST, MODEL, SIGNATURE, checksum, decoded, encoded
from mlops_assets.state.objects import Folder
from tests.tiny_bundle import tiny_files, tiny_manifest

KEY, OTHER_KEY = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"


def a_copy(folder: Path, product: ModelProduct, *, weight: float = 0.0, bias: float = 0.0, key: str = "") -> Path:
    """The folder of version 1 of a state, where somebody has copied it to."""
    bundles = Bundles(Folder(folder / "state"), product.name, approval_key=key)
    bundles.write(tiny_manifest(product), tiny_files(product, weight=weight, bias=bias))
    return Path(shutil.copytree(folder / "state" / "bundles" / product.name / "1", folder / "copy"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return a_copy(tmp_path, flight_delay, weight=0.5, bias=-1)


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    return a_copy(tmp_path, flight_delay, key=KEY)


def rewrite(folder: Path, checksums: dict[str, str]) -> None:
    changed = msgspec.structs.replace(read_manifest(folder), checksums=checksums)
    (folder / MANIFEST).write_bytes(encoded(changed))


def some_features(rows: int, **values: Any) -> pl.DataFrame:
    """Every input null, but for these."""
    kinds = {f.name: pl.String if f.kind is FeatureKind.CATEGORICAL else pl.Float64 for f in flight_delay.inputs}
    return pl.DataFrame({name: [values.get(name)] * rows for name in kinds}, schema=kinds)


def test_scores_are_the_models_own(folder: Path) -> None:
    bundle = Bundle.open(folder)

    scores = bundle.predict(some_features(2, seats=10.0))

    # by hand: unknown categories are -1 each: 0.5 * (10 - 3) - 1 = 2.5
    assert scores.tolist() == pytest.approx([1 / (1 + math.exp(-2.5))] * 2, rel=1e-6)


def test_rows_without_a_frame_score_the_same(folder: Path) -> None:
    bundle = Bundle.open(folder)
    features = some_features(3, seats=10.0, carrier="AA")

    matrix, unknown_rows = bundle.encode_rows(features.rows())

    assert bundle.score(matrix).tolist() == bundle.predict(features).tolist()
    assert unknown_rows == [0, 1, 2]  # origin and dest are null


def test_regression_scores_are_one_number_a_row(tmp_path: Path) -> None:
    bundle = Bundle.open(a_copy(tmp_path, air_time, bias=30))

    assert bundle.score(np.zeros((3, len(air_time.inputs)), np.float32)).tolist() == [30, 30, 30]


def test_no_rows_have_no_scores(folder: Path) -> None:
    assert Bundle.open(folder).predict(some_features(0)).shape == (0,)


def test_unknown_categories_are_named(folder: Path) -> None:
    bundle = Bundle.open(folder)

    row = [{"carrier": "ZZ", "origin": "EWR"}.get(name) for name in bundle.input_names]
    assert bundle.unknown_categories(row) == ["carrier"]


def test_its_size_is_that_of_its_files(folder: Path) -> None:
    files = [path for path in folder.iterdir() if path.name != MANIFEST]

    assert Bundle.open(folder).size == sum(path.stat().st_size for path in files)


def test_a_file_of_it_is_read_by_name(folder: Path) -> None:
    assert Bundle.open(folder).content("reference.json") == b"{}"


def test_a_file_that_was_changed_after_it_was_opened_is_refused(folder: Path) -> None:
    bundle = Bundle.open(folder)
    (folder / "reference.json").write_bytes(b"[]")

    with pytest.raises(BundleError, match=r"copy: reference\.json is damaged"):
        bundle.content("reference.json")


def test_a_file_that_the_manifest_does_not_vouch_for_is_not_read(folder: Path) -> None:
    (folder / "estimator.skops").write_bytes(b"laid beside")

    with pytest.raises(
        BundleError, match=r"has no file 'estimator\.skops'. Known: golden\.zip, model\.onnx, reference\.json"
    ):
        Bundle.open(folder).content("estimator.skops")


def test_a_damaged_file_is_refused_by_name(folder: Path) -> None:
    (folder / MODEL).write_bytes((folder / MODEL).read_bytes() + b"\0")

    with pytest.raises(BundleError, match=r"copy: model\.onnx is damaged"):
        Bundle.open(folder)


def test_a_missing_file_is_refused_by_name(folder: Path) -> None:
    (folder / MODEL).unlink()

    with pytest.raises(BundleError, match=r"copy: model\.onnx is missing"):
        Bundle.open(folder)


def test_the_manifest_of_a_folder_is_read_without_its_model(signed: Path) -> None:
    (signed / MODEL).unlink()

    assert read_manifest(signed).product == read_manifest(signed, KEY).product == "flight_delay"
    with pytest.raises(BundleError, match="was signed with another key"):
        read_manifest(signed, OTHER_KEY)


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is not a bundle: manifest\.json is missing"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b'{"product": 7}', b'{"product": "\xff"}', b'{"x": ' + b"[" * 100_000],
    ids=["nothing", "another type", "no UTF-8", "too deep"],
)
def test_what_is_no_manifest_is_refused(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)

    with pytest.raises(BundleError, match="cannot be read"):
        Bundle.open(folder)


@settings(deadline=None)
@given(st.binary() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(msgspec.json.encode))
def test_no_bytes_in_place_of_a_manifest_do_any_other_harm(content: bytes) -> None:
    with pytest.raises(BundleError):
        decoded(content, "it")


def test_a_manifest_without_checksums_is_refused(folder: Path) -> None:
    rewrite(folder, {})
    (folder / MODEL).write_bytes(b"somebody else's")

    with pytest.raises(BundleError, match=r"has no checksum of model.onnx, so it cannot be verified"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    "name", ["../2/model.onnx", "/etc/passwd", "parts/model.onnx", "..\\model.onnx", "setup.py", ""]
)
def test_a_manifest_that_names_a_file_of_elsewhere_is_refused(folder: Path, name: str) -> None:
    rewrite(folder, {**read_manifest(folder).checksums, name: "0" * 64})

    with pytest.raises(
        BundleError,
        match=r"which is not a file of a bundle. Known: estimator.skops, golden.zip, model.onnx, reference.json",
    ):
        Bundle.open(folder)


@pytest.mark.parametrize("wrong", ["", "../../victim", "/etc/passwd", "0" * 63, "0" * 64 + "\n", "A" * 64])
def test_a_checksum_that_is_none_is_refused(folder: Path, wrong: str) -> None:
    rewrite(folder, {**read_manifest(folder).checksums, MODEL: wrong})

    with pytest.raises(BundleError, match=r"the checksum of model\.onnx is not a SHA-256"):
        Bundle.open(folder)


def test_a_bundle_of_other_feature_definitions_is_refused(folder: Path) -> None:
    changed = dataclasses.replace(flight_delay, features=flight_delay.features[:-1])

    with pytest.raises(BundleError, match="trained on other features than the product now declares"):
        refuse_another_declaration(Bundle.open(folder), changed)


def test_a_bundle_of_another_task_is_refused(folder: Path) -> None:
    changed = dataclasses.replace(flight_delay, task=Task.REGRESSION, metric="mae", gates=())

    with pytest.raises(BundleError, match="trained for the task binary, but the product now declares regression"):
        refuse_another_declaration(Bundle.open(folder), changed)


def test_a_signed_bundle_opens_with_its_key_and_where_no_key_is_known(signed: Path) -> None:
    assert Bundle.open(signed, approval_key=KEY).manifest == Bundle.open(signed).manifest


def test_with_a_key_a_bundle_that_was_not_signed_is_refused(folder: Path) -> None:
    with pytest.raises(BundleError, match=r"is not signed, and with MLOPS_APPROVAL_KEY.*mlops sign PRODUCT VERSION"):
        Bundle.open(folder, approval_key=KEY)


def test_a_bundle_of_another_key_is_refused(signed: Path) -> None:
    with pytest.raises(BundleError, match="was signed with another key than MLOPS_APPROVAL_KEY, or was changed since"):
        Bundle.open(signed, approval_key=OTHER_KEY)


def test_whoever_changes_model_and_checksum_together_is_found_out_by_the_signature(signed: Path) -> None:
    model = (signed / MODEL).read_bytes() + b"\x00"
    (signed / MODEL).write_bytes(model)
    rewrite(signed, {**read_manifest(signed).checksums, MODEL: checksum(model)})

    with pytest.raises(BundleError, match="or was changed since"):
        Bundle.open(signed, approval_key=KEY)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_bit_that_was_flipped_or_a_byte_that_was_cut_off_anywhere_is_refused(
    signed: Path, data: st.DataObject
) -> None:
    path = signed / data.draw(st.sampled_from([MANIFEST, SIGNATURE, MODEL, "reference.json"]))
    whole = path.read_bytes()
    position = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytes([whole[position] ^ 1 << data.draw(st.integers(0, 7))])
    is_cut = data.draw(st.booleans())
    path.write_bytes(whole[:position] if is_cut else whole[:position] + flipped + whole[position + 1 :])

    with pytest.raises(BundleError):
        Bundle.open(signed, approval_key=KEY)

    path.write_bytes(whole)
    Bundle.open(signed, approval_key=KEY)
