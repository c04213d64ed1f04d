"""Tables: partitions are replaced whole, versions follow the content, in a folder as in a bucket."""

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
from mlops_assets.state.contents import ColumnStatistics, contents_of
from mlops_assets.state.objects import Bucket, Folder, Objects
from mlops_assets.state.tables import Tables
from tests.servers.object_store import speak_to
from tests.servers.processes import free_port

PARTITION = "tables/p/raw/a.parquet"
A = pl.DataFrame({"x": [1, 2], "y": ["a", None]})
B = pl.DataFrame({"x": [3], "y": ["c"]})


@pytest.fixture
def tables(objects: Objects) -> Tables:
    return Tables(objects, "p")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def local(folder: Folder) -> Tables:
    return Tables(folder, "p")


def files_of(folder: Folder) -> list[str]:
    """Also those that a listing of objects hides."""
    return sorted(path.name for path in folder.path(PARTITION).parent.iterdir())


def test_partitions_are_read_in_the_order_asked_for(tables: Tables) -> None:
    tables.write("raw", "2013-01-07", B)
    tables.write("raw", "2012-12-31", A)

    assert_frame_equal(tables.read("raw", ["2013-01-07", "2012-12-31"]), pl.concat([B, A]))
    assert tables.keys("raw") == ["2012-12-31", "2013-01-07"]


def test_a_write_replaces_the_partition_and_no_other(tables: Tables) -> None:
    tables.write("raw", "a", A)
    tables.write("raw", "b", A)

    tables.write("raw", "a", B)

    assert_frame_equal(tables.read("raw", ["a"]), B)
    assert_frame_equal(tables.read("raw", ["b"]), A)


def test_the_version_is_equal_exactly_when_the_content_is(tables: Tables) -> None:
    first = tables.write("raw", "a", A)

    assert tables.write("raw", "a", pl.concat([A.head(1), A.tail(1)])) == first
    assert tables.write("raw", "a", B) != first
    assert tables.version("raw", "a") == tables.write("other", "a", B)


def test_every_missing_partition_is_named(tables: Tables) -> None:
    tables.write("raw", "a", A)

    with pytest.raises(PartitionMissing, match=r"p/raw has no stored partition for b, c\.") as caught:
        tables.scan("raw", ["a", "b", "c"])

    assert caught.value.keys == ("b", "c")
    with pytest.raises(PartitionMissing):
        tables.scan("raw", [])
    with pytest.raises(PartitionMissing):
        tables.version("raw", "b")


def test_a_writer_that_fails_leaves_the_old_partition(local: Tables, folder: Folder) -> None:
    local.write("raw", "a", A)

    with pytest.raises(pl.exceptions.PolarsError):
        local.write("raw", "a", pl.DataFrame({"x": [object()]}))

    assert_frame_equal(local.read("raw", ["a"]), A)
    assert local.keys("raw") == ["a"]
    assert files_of(folder) == ["a.json", "a.parquet"]


def test_an_empty_partition_is_a_partition(tables: Tables) -> None:
    tables.write("raw", "a", A.clear())

    assert tables.has("raw", "a")
    assert_frame_equal(tables.read("raw", ["a"]), A.clear())


def test_lazy_rows_are_stored_as_the_same_content(tables: Tables) -> None:
    assert tables.write("raw", "a", A.lazy()) == tables.write("raw", "b", A)
    assert_frame_equal(tables.read("raw", ["a"]), A)


def test_a_version_is_of_the_values_and_not_of_the_file_that_holds_them(local: Tables, folder: Folder) -> None:
    version = local.write("raw", "a", A)

    A.write_parquet(folder.path(PARTITION), compression="snappy", row_group_size=1)  # as another engine would

    assert local.version("raw", "a") == version


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


def test_statistics_and_schema_are_recorded(tables: Tables) -> None:
    version = tables.write("raw", "a", pl.DataFrame({"x": [1, 2, 6], "y": ["b", None, "a"]}))

    found = tables.contents("raw", "a")

    assert (found.version, found.rows, found.schema) == (version, 3, {"x": "Int64", "y": "String"})
    assert found.columns == (
        ColumnStatistics("x", "Int64", nulls=0, minimum="1", maximum="6", mean=3.0),
        ColumnStatistics("y", "String", nulls=1, minimum="a", maximum="b"),
    )


def test_a_record_of_another_file_counts_for_nothing(local: Tables, folder: Folder) -> None:
    """As a writer leaves it that was killed after the partition and before its record."""
    local.write("raw", "a", A)
    B.write_parquet(folder.path(PARTITION))

    assert local.contents("raw", "a") == contents_of(B)


class TestEvolution:
    """A new feature is back-filled partition by partition; old partitions stay readable."""

    NEW = pl.DataFrame({"x": [3], "wind": [7.5], "y": ["c"]})

    def test_a_column_that_an_old_partition_lacks_is_null_there(self, tables: Tables) -> None:
        tables.write("features", "2013-01-07", A)
        tables.write("features", "2013-01-14", self.NEW)

        found = tables.read("features", ["2013-01-07", "2013-01-14"])

        assert found.select("x", "y", "wind").rows() == [(1, "a", None), (2, None, None), (3, "c", 7.5)]

    def test_after_the_back_fill_nothing_is_null(self, tables: Tables) -> None:
        tables.write("features", "2013-01-07", A)
        tables.write("features", "2013-01-14", self.NEW)

        tables.write("features", "2013-01-07", A.with_columns(wind=pl.lit(1.0)))

        assert tables.read("features", ["2013-01-07", "2013-01-14"])["wind"].to_list() == [1.0, 1.0, 7.5]

    def test_who_needs_the_new_column_is_told_which_partitions_lack_it(self, tables: Tables) -> None:
        tables.write("features", "2013-01-07", A)
        tables.write("features", "2013-01-14", self.NEW)

        with pytest.raises(
            SchemaConflict, match=r"p/features: partitions 2013-01-07 were stored without wind\. .*again"
        ):
            tables.scan("features", ["2013-01-07", "2013-01-14"], needs=["x", "wind"])

    def test_a_column_that_changed_its_type_is_named_with_both(self, tables: Tables) -> None:
        tables.write("features", "2013-01-07", A)
        tables.write("features", "2013-01-14", A.with_columns(pl.col("x").cast(pl.Float64)))

        with pytest.raises(SchemaConflict, match=r"x is Float64 in partition 2013-01-14, but Int64 in 2013-01-07"):
            tables.scan("features", ["2013-01-07", "2013-01-14"])


def test_a_reader_never_sees_half_a_partition_while_two_writers_replace_it(tables: Tables) -> None:
    # large enough for Polars to ask a bucket for its parts one by one, if it is let
    whole = {
        number: pl.DataFrame({"x": [number] * rows, "y": range(rows)}) for number, rows in ((1, 60_000), (2, 90_000))
    }
    expected = {(number, frame.height, frame["y"].sum()) for number, frame in whole.items()}
    tables.write("raw", "a", whole[1])
    seen = set()

    def keep_writing(number: int) -> None:
        for _ in range(40):
            tables.write("raw", "a", whole[number])

    with ThreadPoolExecutor(2) as writers:
        writing = [writers.submit(keep_writing, number) for number in whole]
        while not all(each.done() for each in writing):
            read = tables.read("raw", ["a"])
            seen.update((number, read.height, read["y"].sum()) for number in read["x"].unique())
        for each in writing:
            each.result()

    assert seen <= expected
    assert tables.version("raw", "a") in [contents_of(frame).version for frame in whole.values()]


def test_a_scan_that_was_begun_gives_a_partition_that_is_replaced_meanwhile_whole(tables: Tables) -> None:
    tables.write("raw", "a", A)
    tables.write("raw", "b", pl.DataFrame({"x": range(200_000)}).with_columns(y=pl.lit("old")))
    batches = tables.scan("raw", ["a", "b"]).collect_batches(maintain_order=True)
    first = next(batches)

    tables.write("raw", "b", pl.DataFrame({"x": range(150_000)}).with_columns(y=pl.lit("new")))
    rest = pl.concat([first, *batches])[A.height :]

    assert rest["y"].n_unique() == 1
    assert rest.height == (200_000 if rest["y"][0] == "old" else 150_000)


def test_a_partition_of_a_bucket_that_is_removed_meanwhile_is_said(bucket: str) -> None:
    tables = Tables(Bucket(f"{bucket}/state"), "p")
    tables.write("raw", "a", A)
    scan = tables.scan("raw", ["a"])

    tables.objects.delete(PARTITION)

    with pytest.raises(StoreError, match=r"raw/a\.parquet was removed while it was being read\. Run it again"):
        scan.collect()


def test_a_scan_of_a_bucket_gives_what_is_asked_for_and_no_more(bucket: str) -> None:
    tables = Tables(Bucket(f"{bucket}/state"), "p")
    tables.write("raw", "a", A)
    tables.write("raw", "b", B)
    tables.write("raw", "c", pl.DataFrame({"x": [9], "y": ["c"], "z": [0.5]}))
    scan = tables.scan("raw", ["a", "b", "c"])

    assert scan.head(3).collect().rows() == [(1, "a", None), (2, None, None), (3, "c", None)]
    assert scan.filter(pl.col("y") == "c").select("z", "x").collect().rows() == [(None, 3), (0.5, 9)]
    assert scan.filter(pl.col("x") > 1).select(pl.len()).collect().item() == 3
    assert scan.select(pl.len()).collect().item() == 4


def test_a_killed_writer_leaves_the_old_partition_and_a_rerun_works(tables: Tables) -> None:
    version = tables.write("raw", "a", A)
    half_way = (
        "import os, signal, sys, polars as pl\n"
        "from mlops_assets.state.objects import objects_at\n"
        "from mlops_assets.state.tables import Tables\n"
        "rows = pl.LazyFrame({'x': range(10)}).map_batches(lambda _: os.kill(os.getpid(), signal.SIGKILL))\n"
        "Tables(objects_at(sys.argv[1]), 'p').write('raw', 'a', rows)\n"
    )

    killed = subprocess.run([sys.executable, "-c", half_way, tables.objects.url], check=False)

    assert killed.returncode == -signal.SIGKILL
    assert tables.version("raw", "a") == version
    assert_frame_equal(tables.read("raw", ["a"]), A)
    tables.write("raw", "a", B)
    assert_frame_equal(tables.read("raw", ["a"]), B)


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
    tables = Tables(Folder(small_disk), "p")
    tables.write("raw", "a", A)
    draw = random.Random(1)
    large = pl.DataFrame({"x": [draw.random() for _ in range(400_000)]})

    with pytest.raises(StoreError, match=r"p/raw/a.parquet could not be written: .*No space left.* Free some space"):
        tables.write("raw", "a", make(large))

    assert_frame_equal(tables.read("raw", ["a"]), A)
    assert files_of(Folder(small_disk)) == ["a.json", "a.parquet"]
    tables.write("raw", "a", make(large.head(100)))
    assert tables.contents("raw", "a").rows == 100


def test_an_endpoint_that_is_down_is_said_within_seconds(bucket: str, s3_endpoint: str, monkeypatch) -> None:
    tables = Tables(Bucket(f"{bucket}/state"), "p")
    tables.write("raw", "a", A)

    speak_to(f"http://127.0.0.1:{free_port()}", monkeypatch)
    for use in (lambda: tables.write("raw", "a", B), lambda: tables.read("raw", ["a"])):
        with pytest.raises(StoreError, match=r"s3://.* cannot be used: .*Check the endpoint, the credentials"):
            use()

    speak_to(s3_endpoint, monkeypatch)
    assert_frame_equal(tables.read("raw", ["a"]), A)


def test_borrowed_tables_are_read_where_they_lie(objects: Objects, local: Tables) -> None:
    local.write("raw", "a", A)
    borrowing = Tables(objects, "p", {"raw": local.objects})

    borrowing.write("features", "a", B)
    with pytest.raises(DeclarationError, match=r"^p/raw belongs to file://.* and is read-only here\. Write it in that"):
        borrowing.write("raw", "a", B)

    assert_frame_equal(borrowing.read("raw", ["a"]), A)
    assert_frame_equal(borrowing.read("features", ["a"]), B)
    assert objects.names("") == ["tables/p/features/a.json", "tables/p/features/a.parquet"]
