"""Documents: typed, replaced whole, versioned by their content."""

from pathlib import Path

import msgspec
import pytest

from mlops_assets.errors import PartitionMissing
from mlops_assets.stores.documents import Documents
from mlops_assets.stores.files import replace_atomically


class Reading(msgspec.Struct, frozen=True):
    percent: float
    notes: dict[str, int] = {}


@pytest.fixture
def documents(tmp_path: Path) -> Documents:
    return Documents(tmp_path)


def test_a_document_is_read_as_it_was_saved(documents):
    documents.save("taxi", "data_drift", "2020-01-06", Reading(3.1, {"b": 1, "a": 2}))

    assert documents.load("taxi", "data_drift", "2020-01-06", Reading) == Reading(3.1, {"b": 1, "a": 2})
    assert documents.has("taxi", "data_drift", "2020-01-06")


def test_the_version_is_equal_exactly_when_the_content_is(documents):
    first = documents.save("taxi", "data_drift", "2020-01-06", Reading(3.1, {"b": 1, "a": 2}))
    again = documents.save("taxi", "data_drift", "2020-01-13", Reading(3.1, {"a": 2, "b": 1}))
    other = documents.save("taxi", "data_drift", "2020-01-20", Reading(3.2))

    assert first == again != other
    assert documents.version("taxi", "data_drift", "2020-01-06") == first


def test_keys_come_in_order_and_of_one_asset_only(documents):
    for key in ("2020-01-13", "2020-01-06"):
        documents.save("taxi", "data_drift", key, Reading(1))
    documents.save("taxi", "performance", "2020-01-20", Reading(1))

    assert documents.keys("taxi", "data_drift") == ["2020-01-06", "2020-01-13"]
    assert documents.keys("bus", "data_drift") == []


def test_a_document_that_was_never_saved_is_a_missing_partition(documents):
    for ask in (
        lambda: documents.load("taxi", "data_drift", "2020-01-06", Reading),
        lambda: documents.version("taxi", "data_drift", "2020-01-06"),
    ):
        with pytest.raises(
            PartitionMissing, match=r"taxi/data_drift has no stored partition for 2020-01-06. Materialise"
        ):
            ask()
    assert not documents.has("taxi", "data_drift", "2020-01-06")


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail(half: Path) -> None:
        half.write_text("ne")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match=r"the disk is full"):
        replace_atomically(path, fail)

    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("file.txt", "old")]
