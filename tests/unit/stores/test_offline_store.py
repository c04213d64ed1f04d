"""Offline store: partitions are replaced whole, versions follow the content, in a folder as on S3."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mlops_assets.errors import DeclarationError, PartitionMissing, SchemaConflict, StoreError
from mlops_assets.stores.contents import ColumnStatistics, contents_of
from mlops_assets.stores.offline_store import OfflineStore
from tests.servers.object_store import speak_to
from tests.servers.processes import free_port

A = pl.DataFrame({"x": [1, 2], "y": ["a", None]})
B = pl.DataFrame({"x": [3], "y": ["c"]})


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> OfflineStore:
    if request.param == "folder":
        return OfflineStore(tmp_path / "offline")
    return OfflineStore(f"{request.getfixturevalue('bucket')}/offline")


@pytest.fixture
def local(tmp_path: Path) -> OfflineStore:
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


def test_a_writer_that_fails_leaves_the_old_partition(local: OfflineStore) -> None:
    local.write("p/raw", "a", A)

    with pytest.raises(pl.exceptions.PolarsError):
        local.write("p/raw", "a", pl.DataFrame({"x": [object()]}))

    assert_frame_equal(local.read("p/raw", ["a"]), A)
    assert local.keys("p/raw") == ["a"]
    assert sorted(path.name for path in (local.root / "p/raw").iterdir()) == ["a.json", "a.parquet"]


def test_an_empty_partition_is_a_partition(store: OfflineStore) -> None:
    store.write("p/raw", "a", A.clear())

    assert store.has("p/raw", "a")
    assert_frame_equal(store.read("p/raw", ["a"]), A.clear())


def test_lazy_rows_are_stored_as_the_same_content(store: OfflineStore) -> None:
    assert store.write("p/raw", "a", A.lazy()) == store.write("p/raw", "b", A)
    assert_frame_equal(store.read("p/raw", ["a"]), A)


def test_a_version_is_of_the_values_and_not_of_the_file_that_holds_them(local: OfflineStore) -> None:
    version = local.write("p/raw", "a", A)

    A.write_parquet(local.path("p/raw", "a"), compression="snappy", row_group_size=1)  # as another engine would

    assert local.version("p/raw", "a") == version


@pytest.mark.parametrize(
    "other",
    [
        pl.DataFrame({"x": [1, 2], "y": ["a", ""]}),  # an empty text is no null
        pl.DataFrame({"x": [2, 1], "y": [None, "a"]}),
        pl.DataFrame({"x": [1, 2], "z": ["a", None]}),
        pl.DataFrame({"x": [1.0, 2.0], "y": ["a", None]}),
        pl.DataFrame({"y": ["a", None], "x": [1, 2]}),
        pl.DataFrame({"x": [1], "y": ["a"]}),
    ],
    ids=["empty for null", "order of rows", "name", "type", "order of columns", "rows"],
)
def test_another_content_is_another_version(other: pl.DataFrame) -> None:
    assert contents_of(other).version != contents_of(A).version


def test_texts_and_lists_that_join_alike_stay_apart() -> None:
    def version(*values: object) -> str:
        return contents_of(pl.DataFrame({"x": values}, strict=False)).version

    assert version("ab", "c") != version("a", "bc")
    assert version([1.0, 2.0], [3.0]) != version([1.0], [2.0, 3.0])
    assert version([], [1.0]) != version(None, [1.0])


@given(st.lists(st.tuples(st.none() | st.floats(), st.none() | st.text(max_size=3)), max_size=30), st.integers(1, 7))
@settings(max_examples=30, deadline=None)
def test_how_rows_are_cut_into_batches_leaves_no_trace(rows: list[tuple[float | None, str | None]], size: int) -> None:
    frame = pl.DataFrame(rows, {"x": pl.Float64, "y": pl.String}, orient="row")
    chunked = pl.concat([frame.clear(), *frame.iter_slices(size)], rechunk=False)

    assert contents_of(chunked).version == contents_of(frame).version
    assert contents_of(chunked.lazy()).version == contents_of(frame).version


def test_statistics_and_schema_are_recorded(store: OfflineStore) -> None:
    version = store.write("p/raw", "a", pl.DataFrame({"x": [1, 2, 6], "y": ["b", None, "a"]}))

    found = store.contents("p/raw", "a")

    assert (found.version, found.rows, found.schema) == (version, 3, {"x": "Int64", "y": "String"})
    assert found.columns == (
        ColumnStatistics("x", "Int64", nulls=0, minimum="1", maximum="6", mean=3.0),
        ColumnStatistics("y", "String", nulls=1, minimum="a", maximum="b"),
    )


def test_a_record_of_another_file_counts_for_nothing(local: OfflineStore) -> None:
    """As a writer leaves it that was killed after the partition and before its record."""
    local.write("p/raw", "a", A)
    B.write_parquet(local.path("p/raw", "a"))

    assert local.contents("p/raw", "a") == contents_of(B)


class TestEvolution:
    """A new feature is back-filled partition by partition; old partitions stay readable."""

    NEW = pl.DataFrame({"x": [3], "wind": [7.5], "y": ["c"]})

    def test_a_column_that_an_old_partition_lacks_is_null_there(self, store: OfflineStore) -> None:
        store.write("p/features", "2013-01-07", A)
        store.write("p/features", "2013-01-14", self.NEW)

        found = store.read("p/features", ["2013-01-07", "2013-01-14"])

        assert found.select("x", "y", "wind").rows() == [(1, "a", None), (2, None, None), (3, "c", 7.5)]

    def test_after_the_back_fill_nothing_is_null(self, store: OfflineStore) -> None:
        store.write("p/features", "2013-01-07", A)
        store.write("p/features", "2013-01-14", self.NEW)

        store.write("p/features", "2013-01-07", A.with_columns(wind=pl.lit(1.0)))

        assert store.read("p/features", ["2013-01-07", "2013-01-14"])["wind"].to_list() == [1.0, 1.0, 7.5]

    def test_who_needs_the_new_column_is_told_which_partitions_lack_it(self, store: OfflineStore) -> None:
        store.write("p/features", "2013-01-07", A)
        store.write("p/features", "2013-01-14", self.NEW)

        with pytest.raises(
            SchemaConflict, match=r"p/features: partitions 2013-01-07 were stored without wind\. .*again"
        ):
            store.scan("p/features", ["2013-01-07", "2013-01-14"], needs=["x", "wind"])

    def test_a_column_that_changed_its_type_is_named_with_both(self, store: OfflineStore) -> None:
        store.write("p/features", "2013-01-07", A)
        store.write("p/features", "2013-01-14", A.with_columns(pl.col("x").cast(pl.Float64)))

        with pytest.raises(SchemaConflict, match=r"x is Float64 in partition 2013-01-14, but Int64 in 2013-01-07"):
            store.scan("p/features", ["2013-01-07", "2013-01-14"])


def test_a_reader_never_sees_half_a_partition_while_two_writers_replace_it(local: OfflineStore) -> None:
    whole = {number: pl.DataFrame({"x": [number] * 5_000}) for number in (1, 2)}
    local.write("p/raw", "a", whole[1])

    def keep_writing(number: int) -> None:
        for _ in range(30):
            local.write("p/raw", "a", whole[number])

    with ThreadPoolExecutor(2) as writers:
        writing = [writers.submit(keep_writing, number) for number in whole]
        while not all(each.done() for each in writing):
            seen = local.read("p/raw", ["a"])["x"]
            assert (seen.len(), seen.n_unique()) == (5_000, 1)
        for each in writing:
            each.result()

    assert local.version("p/raw", "a") in [contents_of(frame).version for frame in whole.values()]
    assert sorted(path.name for path in (local.root / "p/raw").iterdir()) == ["a.json", "a.parquet"]


def test_a_killed_writer_leaves_the_old_partition_and_a_rerun_works(local: OfflineStore) -> None:
    version = local.write("p/raw", "a", A)
    half_way = (
        "import os, signal, sys, polars as pl\n"
        "from mlops_assets.stores.offline_store import OfflineStore\n"
        "rows = pl.LazyFrame({'x': range(10)}).map_batches(lambda _: os.kill(os.getpid(), signal.SIGKILL))\n"
        "OfflineStore(sys.argv[1]).write('p/raw', 'a', rows)\n"
    )

    killed = subprocess.run([sys.executable, "-c", half_way, local.root], check=False)

    assert killed.returncode == -signal.SIGKILL
    assert local.version("p/raw", "a") == version
    assert_frame_equal(local.read("p/raw", ["a"]), A)
    local.write("p/raw", "a", B)
    assert_frame_equal(local.read("p/raw", ["a"]), B)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mounting, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root may mount the small disk of this test")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("make", [lambda frame: frame, lambda frame: frame.lazy()], ids=["rows", "lazy rows"])
def test_a_full_disk_is_said_and_the_old_partition_stays(small_disk: Path, make: Any) -> None:
    store = OfflineStore(small_disk)
    store.write("p/raw", "a", A)
    draw = random.Random(1)
    large = pl.DataFrame({"x": [draw.random() for _ in range(400_000)]})

    with pytest.raises(StoreError, match=r"p/raw/a.parquet could not be written: .*No space left.* Make room"):
        store.write("p/raw", "a", make(large))

    assert_frame_equal(store.read("p/raw", ["a"]), A)
    assert sorted(path.name for path in (small_disk / "p/raw").iterdir()) == ["a.json", "a.parquet"]
    store.write("p/raw", "a", make(large.head(100)))
    assert store.contents("p/raw", "a").rows == 100


def test_an_endpoint_that_is_down_is_said_within_seconds(bucket: str, s3_endpoint: str, monkeypatch) -> None:
    store = OfflineStore(f"{bucket}/offline")
    store.write("p/raw", "a", A)

    speak_to(f"http://127.0.0.1:{free_port()}", monkeypatch)
    for use in (lambda: store.write("p/raw", "a", B), lambda: store.read("p/raw", ["a"])):
        with pytest.raises(StoreError, match=r"s3://.* cannot be used: .*Check AWS_ENDPOINT_URL"):
            use()

    speak_to(s3_endpoint, monkeypatch)
    assert_frame_equal(store.read("p/raw", ["a"]), A)


def test_a_place_that_does_not_exist_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"'ftp://here' is no place.*Give a path, or s3://bucket/folder"):
        OfflineStore("ftp://here").keys("p/raw")


def test_a_store_on_s3_has_no_path(bucket: str) -> None:
    with pytest.raises(StoreError, match=r"is no local folder. Use `scan`, `write` and `addresses`"):
        OfflineStore(f"{bucket}/offline").path("p/raw", "a")
