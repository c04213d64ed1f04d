"""Offline store: partitions are replaced whole, versions follow the content."""

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mlops_assets.errors import PartitionMissing
from mlops_assets.stores.offline_store import OfflineStore

A = pl.DataFrame({"x": [1, 2], "y": ["a", None]})
B = pl.DataFrame({"x": [3], "y": ["c"]})


@pytest.fixture
def store(tmp_path: Path) -> OfflineStore:
    return OfflineStore(tmp_path / "offline")


def test_partitions_are_read_in_the_order_asked_for(store: OfflineStore) -> None:
    store.write("p/raw", "2013-01-07", B)
    store.write("p/raw", "2012-12-31", A)

    assert_frame_equal(store.read("p/raw", ["2013-01-07", "2012-12-31"]), pl.concat([B, A]))
    assert store.keys("p/raw") == ["2012-12-31", "2013-01-07"]


def test_a_write_replaces_the_partition_and_no_other(store: OfflineStore) -> None:
    store.write("p/raw", "a", A)
    store.write("p/raw", "b", A)

    store.write("p/raw", "a", B)

    assert_frame_equal(store.read("p/raw", ["a"]), B)
    assert_frame_equal(store.read("p/raw", ["b"]), A)


def test_the_version_is_equal_exactly_when_the_content_is(store: OfflineStore) -> None:
    first = store.write("p/raw", "a", A)

    assert store.write("p/raw", "a", pl.concat([A.head(1), A.tail(1)])) == first
    assert store.write("p/raw", "a", B) != first
    assert store.version("p/raw", "a") == store.write("p/other", "a", B)


def test_every_missing_partition_is_named(store: OfflineStore) -> None:
    store.write("p/raw", "a", A)

    with pytest.raises(PartitionMissing, match=r"p/raw has no stored partition for b, c\.") as caught:
        store.scan("p/raw", ["a", "b", "c"])

    assert caught.value.keys == ("b", "c")
    with pytest.raises(PartitionMissing):
        store.scan("p/raw", [])
    with pytest.raises(PartitionMissing):
        store.version("p/raw", "b")


def test_a_writer_that_fails_leaves_the_old_partition(store: OfflineStore) -> None:
    store.write("p/raw", "a", A)

    with pytest.raises(pl.exceptions.PolarsError):
        store.write("p/raw", "a", pl.DataFrame({"x": [object()]}))

    assert_frame_equal(store.read("p/raw", ["a"]), A)
    assert store.keys("p/raw") == ["a"]
    assert [path.name for path in (store.root / "p/raw").iterdir()] == ["a.parquet"]


def test_an_empty_partition_is_a_partition(store: OfflineStore) -> None:
    store.write("p/raw", "a", A.clear())

    assert store.has("p/raw", "a")
    assert_frame_equal(store.read("p/raw", ["a"]), A.clear())
