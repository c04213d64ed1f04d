"""Objects: replaced whole or created once, in a folder as in a bucket."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_assets.errors import DeclarationError, StoreError, StoreRefused
from mlops_assets.state.objects import Bucket, Folder, Objects, objects_at
from tests.servers.faulty_proxy import Fault, FaultyProxy, a_faulty_proxy
from tests.servers.object_store import speak_to
from tests.servers.processes import free_port
from tests.servers.read_only import can_mount_read_only, with_read_only

ROOT = Path(__file__).parents[3]


class TestContract:
    """What holds in every place."""

    def test_what_was_put_is_read_back_until_it_is_replaced(self, objects: Objects) -> None:
        objects.put("a/b.json", b"old")
        objects.put("a/b.json", b"new, and longer")

        assert objects.get("a/b.json") == b"new, and longer"
        assert objects.get("a/c.json") is None

    def test_an_object_may_be_empty_and_may_be_large(self, objects: Objects) -> None:
        large = bytes(range(256)) * 40_000  # more than the 5 MB that a client sends at once
        objects.put("empty", b"")
        objects.put("large", large)

        assert (objects.get("empty"), objects.get("large")) == (b"", large)

    def test_a_place_that_nothing_was_put_in_is_empty(self, objects: Objects) -> None:
        assert (objects.get("a"), objects.stamp("a"), objects.names(""), objects.folders("")) == (None, None, [], [])

    def test_a_folder_of_objects_is_no_object(self, objects: Objects) -> None:
        objects.put("a/b", b"1")

        objects.delete("a")
        assert (objects.get("a"), objects.stamp("a"), objects.names("a/b")) == (None, None, [])
        assert objects.get("a/b/c") is None
        assert objects.get("a/b") == b"1"

    def test_create_writes_once(self, objects: Objects) -> None:
        assert objects.create("a/1", b"first")
        assert not objects.create("a/1", b"second")

        assert objects.get("a/1") == b"first"

    def test_what_was_deleted_can_be_created_again(self, objects: Objects) -> None:
        objects.create("a/1", b"first")

        objects.delete("a/1")
        objects.delete("a/1")

        assert objects.get("a/1") is None
        assert objects.create("a/1", b"second")

    def test_names_are_in_order_and_only_those_below_the_folder(self, objects: Objects) -> None:
        for name in ("a/9", "a/10", "a/b/1", "a/B", "ab/1", "c", "a/ü"):
            objects.put(name, b"")

        assert objects.names("a") == ["a/10", "a/9", "a/B", "a/b/1", "a/ü"]
        assert objects.names("") == ["a/10", "a/9", "a/B", "a/b/1", "a/ü", "ab/1", "c"]
        assert objects.names("nowhere") == []

    @pytest.mark.parametrize(
        ("after", "expected"),
        [
            ("", ["a/000001", "a/000002", "a/000010"]),
            ("a/000001", ["a/000002", "a/000010"]),
            ("a/0000011", ["a/000002", "a/000010"]),  # need not exist
            ("a/000010", []),
            ("b", []),
        ],
    )
    def test_names_after_one_leave_that_one_out(self, objects: Objects, after: str, expected: list[str]) -> None:
        for number in (10, 2, 1):
            objects.put(f"a/{number:06d}", b"")

        assert objects.names("a", after=after) == expected

    def test_more_names_than_a_bucket_lists_at_once_are_all_listed(self, objects: Objects) -> None:
        expected = [f"a/{number:06d}" for number in range(1_001)]
        with ThreadPoolExecutor(8) as writers:
            list(writers.map(lambda name: objects.put(name, b""), expected))

        assert objects.names("a") == expected
        assert objects.names("a", after=expected[-2]) == expected[-1:]

    def test_folders_are_those_that_hold_objects(self, objects: Objects) -> None:
        for name in ("a/x/1", "a/y/z/1", "a/file", "b/1", "gone/1"):
            objects.put(name, b"")
        objects.delete("gone/1")

        assert objects.folders("") == ["a", "b"]
        assert objects.folders("a") == ["x", "y"]
        assert objects.folders("a/file") == objects.folders("nowhere") == []

    @pytest.mark.parametrize("name", ["2013-07-04T12:00", "a b", "50%", "a%2Fb", "x#y?z", "ü", "[x]{y}", "a&b=c+d~"])
    def test_a_name_may_hold_any_sign_that_can_be_printed(self, objects: Objects, name: str) -> None:
        objects.put(f"a/{name}", b"1")

        assert objects.names("a") == [f"a/{name}"]
        assert objects.get(f"a/{name}") == b"1"
        objects.delete(f"a/{name}")
        assert objects.names("a") == []

    @pytest.mark.parametrize(
        "name", ["", "/a", "a/", "a//b", "..", "../a", "a/../../b", "a/.b", "a\\b", "a\0b", "a\nb"]
    )
    def test_a_name_that_leaves_the_place_or_hides_in_it_is_refused(self, objects: Objects, name: str) -> None:
        uses: list[Callable[[], object]] = [
            lambda: objects.get(name),
            lambda: objects.put(name, b""),
            lambda: objects.create(name, b""),
            lambda: objects.delete(name),
            lambda: objects.stamp(name),
            lambda: objects.replacing(name).__enter__(),
            lambda: objects.address(name),
        ]
        if name:  # all objects are below the folder without a name
            uses += [lambda: objects.names(name), lambda: objects.folders(name)]

        for use in uses:
            with pytest.raises(DeclarationError, match=r"cannot be the name of an object\. Use words between slashes"):
                use()

    def test_a_stamp_differs_once_the_object_was_replaced(self, objects: Objects) -> None:
        stamps = []
        for number in range(20):
            objects.put("a", b"%02d" % number)
            stamps.append(objects.stamp("a"))

        assert objects.stamp("a") == stamps[-1]
        assert all(former != later for former, later in pairwise(stamps))

    def test_a_file_that_was_written_becomes_the_object_when_the_block_ends(self, objects: Objects) -> None:
        objects.put("a/b.parquet", b"old")

        with objects.replacing("a/b.parquet") as path:
            path.write_bytes(b"new")
            assert objects.get("a/b.parquet") == b"old"
            assert objects.names("") == ["a/b.parquet"]

        assert objects.get("a/b.parquet") == b"new"

    def test_a_block_that_fails_leaves_the_old_object_and_nothing_else(self, objects: Objects) -> None:
        objects.put("a/b", b"old")

        def fail_half_way() -> None:
            with objects.replacing("a/b") as path:
                path.write_bytes(b"half")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail_half_way()

        assert objects.get("a/b") == b"old"
        assert objects.names("") == ["a/b"]

    def test_another_object_at_the_same_place_sees_the_same(self, objects: Objects) -> None:
        objects.put("a", b"1")

        assert objects_at(objects.url).get("a") == b"1"

    def test_an_object_that_was_opened_stays_as_it_was(self, objects: Objects) -> None:
        objects.put("a", b"before")
        opened = objects.open("a")
        assert opened is not None

        objects.put("a", b"another one")

        with opened:
            assert opened.read() == b"before"
        assert objects.open("no such") is None

    def test_other_libraries_find_it_by_its_address(self, objects: Objects) -> None:
        import polars as pl

        with objects.replacing("a/b.parquet") as path:
            pl.DataFrame({"x": [1, 2]}).write_parquet(path)

        found = pl.scan_parquet(objects.address("a/b.parquet")).collect()

        assert found["x"].to_list() == [1, 2]

    @given(st.dictionaries(st.sampled_from(["a", "b/1", "b/2", "c/d/1"]), st.binary(max_size=20)))
    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_it_behaves_like_a_dictionary_of_names(self, objects: Objects, expected: dict[str, bytes]) -> None:
        for name in objects.names(""):
            objects.delete(name)

        for name, content in expected.items():
            objects.put(name, content)

        assert {name: objects.get(name) for name in objects.names("")} == expected


# waits for the word and then creates the object; says whether it won
CREATOR = """
import sys
from mlops_assets.state.objects import objects_at
objects = objects_at(sys.argv[1])
objects.names("")
print("ready", flush=True)
sys.stdin.readline()
print(objects.create("a/000001.json", sys.argv[2].encode()), flush=True)
"""


def test_of_sixteen_processes_that_create_at_once_exactly_one_wins(objects: Objects) -> None:
    creators = [
        subprocess.Popen(
            [sys.executable, "-c", CREATOR, objects.url, f"creator {number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for number in range(16)
    ]
    assert [_stdout(creator).readline() for creator in creators] == ["ready\n"] * 16

    for creator in creators:
        assert creator.stdin is not None
        creator.stdin.write("now\n")
        creator.stdin.flush()
    answers = [creator.communicate()[0].strip() for creator in creators]

    assert sorted(answers) == ["False"] * 15 + ["True"]
    assert objects.get("a/000001.json") == f"creator {answers.index('True')}".encode()
    assert objects.names("") == ["a/000001.json"]


def test_a_reader_sees_the_old_object_or_the_new_one_while_two_writers_replace_it(objects: Objects) -> None:
    whole = [bytes([number]) * 100_000 for number in range(2)]
    objects.put("a", whole[0])

    def keep_writing(content: bytes) -> None:
        for _ in range(20):
            objects.put("a", content)

    with ThreadPoolExecutor(2) as writers:
        writing = [writers.submit(keep_writing, content) for content in whole]
        while not all(each.done() for each in writing):
            assert objects.get("a") in whole
        for each in writing:
            each.result()


# kills itself with the object half written
KILLED_WRITER = """
import os, signal, sys
from mlops_assets.state.objects import objects_at
with objects_at(sys.argv[1]).replacing("a/b") as path:
    path.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_leaves_the_old_object_and_nothing_that_is_listed(objects: Objects, tmp_path: Path) -> None:
    objects.put("a/b", b"old")

    command = [sys.executable, "-c", KILLED_WRITER, objects.url]
    killed = subprocess.run(command, cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}, check=False)

    assert killed.returncode == -signal.SIGKILL
    assert objects.get("a/b") == b"old"
    assert (objects.names(""), objects.folders("")) == (["a/b"], ["a"])
    objects.put("a/b", b"new")
    assert objects.get("a/b") == b"new"


class TestFolder:
    @pytest.fixture
    def small_disk(self, tmp_path: Path) -> Iterator[Path]:
        """A tmpfs of one megabyte."""
        folder = tmp_path / "small"
        folder.mkdir()
        mounting = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
        if os.getuid() != 0 or subprocess.run(mounting, check=False, capture_output=True).returncode != 0:
            pytest.skip("only root may mount the small disk of this test")
        yield folder
        subprocess.run(["umount", str(folder)], check=True)

    @pytest.mark.parametrize("write", ["put", "create"])
    def test_a_full_disk_is_reported_and_the_old_objects_stay(self, small_disk: Path, write: str) -> None:
        objects = Folder(small_disk)
        objects.put("a/old", b"old")

        with pytest.raises(
            StoreError, match=r"a/\w+ could not be written: No space left on device\..* Free some space"
        ) as caught:
            getattr(objects, write)("a/new", bytes(2_000_000))

        assert caught.value.is_transient
        assert [path.name for path in (small_disk / "a").iterdir()] == ["old"]
        assert objects.get("a/old") == b"old"
        assert objects.create("a/new", b"small")

    @pytest.mark.skipif(not can_mount_read_only(), reason="this system lets nobody mount a folder read-only")
    def test_a_folder_that_is_not_writable_is_read_and_reported(self, tmp_path: Path) -> None:
        Folder(tmp_path).put("a/b", b"1")
        program = (
            "import sys\n"
            "from mlops_assets.errors import StoreError\n"
            "from mlops_assets.state.objects import objects_at\n"
            "objects = objects_at(sys.argv[1])\n"
            "print(objects.get('a/b'), objects.names(''))\n"
            "for write in (lambda: objects.put('a/b', b''), lambda: objects.create('new/c', b''), lambda: objects.delete('a/b')):\n"
            "    try:\n"
            "        write()\n"
            "    except StoreError as error:\n"
            "        print(error)\n"
        )

        command = with_read_only(tmp_path, [sys.executable, "-c", program, str(tmp_path)])
        said = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout.splitlines()

        untouched = "Read-only file system. The previous content is unchanged. Free some space or grant access"
        assert said[0] == "b'1' ['a/b']"
        for line, path, verb in zip(said[1:], ("a/b", "new/c", "a/b"), ("written", "written", "deleted"), strict=True):
            assert line.startswith(f"{tmp_path / path} could not be {verb}: {untouched}")

    def test_halves_of_killed_writers_are_no_objects_wherever_they_lie(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a/.b.1-2.part").write_bytes(b"half")
        (tmp_path / ".hidden").mkdir()
        (tmp_path / ".hidden/c").write_bytes(b"")

        assert (Folder(tmp_path).names(""), Folder(tmp_path).folders("")) == ([], [])

    def test_halves_of_killed_writers_are_swept_once_they_are_a_day_old(self, tmp_path: Path) -> None:
        objects, now = Folder(tmp_path), time.time()
        objects.put("a/b", b"whole")
        ages = {
            ".b.12-0a1b2c3d.part": 86_500,
            ".b.12-0a1b2c3e.part": 86_300,
            "b.part": 86_500,
            ".of-another.part": 86_500,
        }
        for name, age in ages.items():
            (tmp_path / "a" / name).write_bytes(b"half")
            os.utime(tmp_path / "a" / name, (now - age, now - age))

        objects.sweep()

        left = sorted(path.name for path in (tmp_path / "a").iterdir())
        assert left == [".b.12-0a1b2c3e.part", ".of-another.part", "b", "b.part"]

    def test_what_a_killed_writer_leaves_is_what_is_swept(self, tmp_path: Path) -> None:
        objects, long_ago = Folder(tmp_path), time.time() - 90_000

        with objects.replacing("a/b") as half:
            os.utime(half, (long_ago, long_ago))
            objects.sweep()
            assert not half.exists()
            half.write_bytes(b"whole")

        assert objects.get("a/b") == b"whole"

    def test_sweeping_a_folder_that_is_not_there_makes_none(self, tmp_path: Path) -> None:
        Folder(tmp_path / "new").sweep()

        assert not (tmp_path / "new").exists()

    def test_reading_makes_no_folder(self, tmp_path: Path) -> None:
        objects = Folder(tmp_path / "new")

        assert (objects.get("a"), objects.names(""), objects.folders("a")) == (None, [], [])
        objects.delete("a")
        assert not (tmp_path / "new").exists()

    def test_a_folder_goes_with_its_last_object_and_the_root_stays(self, tmp_path: Path) -> None:
        objects = Folder(tmp_path / "state")
        objects.put("predictions/p/2013-07-01/a.parquet", b"1")
        objects.put("predictions/p/2013-07-02/a.parquet", b"2")

        objects.delete("predictions/p/2013-07-01/a.parquet")
        assert [path.name for path in (objects.root / "predictions" / "p").iterdir()] == ["2013-07-02"]

        objects.delete("predictions/p/2013-07-02/a.parquet")
        assert list(objects.root.iterdir()) == []

    def test_writers_never_meet_a_folder_that_is_taken_away_under_them(self, tmp_path: Path) -> None:
        objects = Folder(tmp_path / "state")

        def write_and_delete(worker: int) -> None:
            for number in range(200):
                name = f"a/b/{worker}-{number}"
                objects.put(name, b"1") if number % 2 else objects.create(name, b"1")
                assert objects.get(name) == b"1"
                objects.delete(name)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write_and_delete, range(4)))

        assert list(objects.root.iterdir()) == []

    @settings(max_examples=200, deadline=None)
    @given(
        names=st.sets(
            st.lists(st.sampled_from(["a", "a-", "a.b", "b", "é"]), min_size=1, max_size=3).map("/".join), max_size=6
        ),
        after=st.sampled_from(["", "a", "a/", "a-/b", "a/a-", "a.", "a/é/b", "b/a", "z"]),
    )
    def test_names_after_one_are_those_that_sort_behind_it_however_deep_they_lie(
        self, tmp_path_factory: pytest.TempPathFactory, names: set[str], after: str
    ) -> None:
        objects = Folder(tmp_path_factory.mktemp("state"))
        # what is the folder of another one is no object
        whole = {name for name in names if not any(other.startswith(f"{name}/") for other in names)}
        for name in whole:
            objects.path(name).parent.mkdir(parents=True, exist_ok=True)
            objects.path(name).touch()

        assert objects.names("", after) == sorted(name for name in whole if name > after)

    def test_folders_that_hold_older_names_only_are_not_opened(self, tmp_path: Path) -> None:
        objects = Folder(tmp_path)
        for day in ("2013-07-01", "2013-07-02"):
            objects.put(f"predictions/p/{day}/a.parquet", b"1")
        # a loop of links, which cannot be looked into
        (tmp_path / "predictions" / "p" / "2013-06-30").mkdir()
        (tmp_path / "predictions" / "p" / "2013-06-30" / "loop").symlink_to(tmp_path / "predictions/p/2013-06-30/loop")

        found = objects.names("predictions/p", after="predictions/p/2013-07-02")

        assert found == ["predictions/p/2013-07-02/a.parquet"]
        with pytest.raises(StoreError):
            objects.names("predictions/p")

    def test_two_contents_of_one_size_and_time_have_different_stamps(self, tmp_path: Path) -> None:
        """The clock of a file system may tick only every few milliseconds."""
        objects, stamps = Folder(tmp_path), []
        for content in (b"1", b"2"):
            objects.put("a", content)
            os.utime(tmp_path / "a", ns=(1, 1))
            stamps.append(objects.stamp("a"))

        assert stamps[0] != stamps[1]

    def test_a_file_where_a_folder_has_to_be_is_reported(self, tmp_path: Path) -> None:
        (tmp_path / "state").write_bytes(b"")

        with pytest.raises(StoreError, match=r"state/a/b could not be written: .*Free some space or grant access"):
            Folder(tmp_path / "state").put("a/b", b"")


class TestBucket:
    def test_a_half_that_was_copied_from_a_folder_is_no_object(self, bucket: str, s3_endpoint: str) -> None:
        httpx.put(f"{s3_endpoint}/{bucket.removeprefix('s3://')}/a/.b.1-2.part", content=b"half").raise_for_status()
        httpx.put(f"{s3_endpoint}/{bucket.removeprefix('s3://')}/.hidden/c", content=b"half").raise_for_status()

        assert (objects_at(bucket).names(""), objects_at(bucket).folders("")) == ([], ["a"])

    def test_a_bucket_that_does_not_exist_is_reported_by_every_call(self, bucket: str) -> None:
        for use in _uses(objects_at(f"{bucket}-missing/state")):
            with pytest.raises(
                StoreRefused,
                match=r"-missing/state cannot be used: the bucket does not exist \(404 Not Found\)\. Create it",
            ):
                use()

    def test_wrong_credentials_are_reported_by_every_call(self, bucket: str, s3_endpoint: str) -> None:
        objects = objects_at(bucket)
        objects.put("a", b"1")
        httpx.post(f"{s3_endpoint}/moto-api/reset-auth", content="0").raise_for_status()  # asks for known keys now
        try:
            for use in _uses(objects):
                with pytest.raises(
                    StoreRefused,
                    match=r"its cloud refused the credentials \(403 Forbidden\)\. Check the AWS_ variables",
                ) as caught:
                    use()
                assert "test" not in str(caught.value)
        finally:
            httpx.post(f"{s3_endpoint}/moto-api/reset-auth", content="Infinity").raise_for_status()
        assert objects.get("a") == b"1"

    def test_new_credentials_count_at_once(
        self, bucket: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        objects = objects_at(bucket)
        speak_to(f"http://127.0.0.1:{free_port()}", monkeypatch)
        with pytest.raises(StoreError):
            objects.get("a")

        speak_to(s3_endpoint, monkeypatch)

        assert objects.get("a") is None

    def test_an_endpoint_that_is_down_is_reported_within_seconds(
        self, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        speak_to(f"http://127.0.0.1:{free_port()}", monkeypatch)

        for use in _uses(objects_at(bucket)):
            started = time.monotonic()
            with pytest.raises(StoreError, match=r"The previous content is unchanged\. Check the endpoint"):
                use()
            assert time.monotonic() - started < 10

    def test_a_full_temporary_folder_is_reported(self, bucket: str) -> None:
        def write_to_a_full_disk() -> None:
            with objects_at(bucket).replacing("a") as path:
                raise OSError(28, "No space left on device", str(path))

        with pytest.raises(StoreError, match=r"could not be written: No space left on device"):
            write_to_a_full_disk()

        assert objects_at(bucket).get("a") is None


class TestNetworkFaults:
    """A bucket behind a network that fails: what a call says is true, or it raises."""

    @pytest.fixture
    def proxy(self, bucket: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
        with a_faulty_proxy(s3_endpoint) as (proxy, address):
            speak_to(address, monkeypatch)
            yield proxy

    @pytest.fixture
    def behind(self, proxy: FaultyProxy, bucket: str) -> Bucket:
        return Bucket(bucket)

    CONTENT = b"0123456789" * 100_000

    @pytest.mark.parametrize(
        "fault",
        [Fault.SERVER_ERROR, Fault.CUT_UPLOAD, Fault.CUT_DOWNLOAD, Fault.LOST_ANSWER],
        ids=lambda fault: fault.name,
    )
    def test_one_fault_is_got_over(self, proxy: FaultyProxy, behind: Bucket, fault: Fault) -> None:
        proxy.fail_next("PUT", fault)
        behind.put("a", self.CONTENT)
        proxy.fail_next("GET", fault)
        content = behind.get("a")
        proxy.fail_next("PUT", fault)
        created = behind.create("b", self.CONTENT)

        assert content == self.CONTENT
        assert created
        assert behind.get("b") == self.CONTENT

    @pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.CUT_UPLOAD], ids=lambda fault: fault.name)
    def test_a_fault_that_stays_is_reported_and_the_old_object_stays(
        self, proxy: FaultyProxy, behind: Bucket, fault: Fault
    ) -> None:
        behind.put("a", b"old")
        for method in ("PUT", "GET", "HEAD", "POST"):
            proxy.fail_next(method, fault, times=100)

        for use in _uses(behind):
            with pytest.raises(StoreError, match="The previous content is unchanged"):
                use()

        proxy.heal()
        assert (behind.names(""), behind.get("a")) == (["a"], b"old")

    @pytest.mark.parametrize("times", [1, 4], ids=["once", "every time"])
    def test_a_creation_whose_answer_is_lost_counts(self, proxy: FaultyProxy, behind: Bucket, times: int) -> None:
        proxy.fail_next("PUT", Fault.LOST_ANSWER, times=times)

        assert behind.create("a", b"mine")
        assert behind.get("a") == b"mine"
        assert sum(request.startswith("PUT") for request in proxy.requests) == min(times + 1, 4)

    def test_a_creation_whose_answer_is_lost_does_not_count_where_another_was_first(
        self, proxy: FaultyProxy, behind: Bucket
    ) -> None:
        behind.create("a", b"another's")
        proxy.fail_next("PUT", Fault.LOST_ANSWER, times=4)

        assert not behind.create("a", b"mine")
        assert behind.get("a") == b"another's"

    def test_a_creation_that_meets_another_under_way_is_tried_again(self, proxy: FaultyProxy, behind: Bucket) -> None:
        proxy.fail_next("PUT", Fault.CONFLICT)

        assert behind.create("a", b"mine")
        assert behind.get("a") == b"mine"

    def test_a_conflict_that_stays_is_reported(self, proxy: FaultyProxy, behind: Bucket) -> None:
        proxy.fail_next("PUT", Fault.CONFLICT, times=100)

        with pytest.raises(StoreError, match="409"):
            behind.create("a", b"mine")

    @pytest.mark.parametrize("fault", [Fault.CUT_DOWNLOAD, Fault.SHORT_ANSWER], ids=lambda fault: fault.name)
    def test_a_listing_that_ends_early_is_never_taken_for_all(
        self, proxy: FaultyProxy, behind: Bucket, fault: Fault
    ) -> None:
        for number in range(20):
            behind.put(f"a/{number:06d}", b"")
        for listing in (behind.names, behind.folders):
            proxy.fail_next("GET", fault)
            with pytest.raises(StoreError):
                listing("")

    @pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.CUT_DOWNLOAD], ids=lambda fault: fault.name)
    def test_a_second_page_that_fails_is_never_left_out(self, proxy: FaultyProxy, behind: Bucket, fault: Fault) -> None:
        proxy.page_size = 2
        for number in range(5):
            behind.put(f"a/{number}", b"")
        assert behind.names("a") == [f"a/{number}" for number in range(5)]

        proxy.pass_next("GET")
        proxy.fail_next("GET", fault, times=100)

        with pytest.raises(StoreError):
            behind.names("a")

    @pytest.mark.slow
    def test_a_server_that_takes_requests_and_never_answers_is_reported(
        self, proxy: FaultyProxy, behind: Bucket
    ) -> None:
        behind.put("a", b"old")
        for method in ("PUT", "GET", "HEAD", "POST"):
            proxy.fail_next(method, Fault.SILENCE, times=100)

        def seconds_until_reported(use: Callable[[], object]) -> float:
            started = time.monotonic()
            with pytest.raises(StoreError, match="The previous content is unchanged"):
                use()
            return time.monotonic() - started

        with ThreadPoolExecutor() as users:
            waited = list(users.map(seconds_until_reported, _uses(behind)))

        # a creation asks once more whether it was carried out
        assert max(waited) < 40
        assert sorted(waited)[-2] < 20


class TestPlaces:
    def test_a_bucket_whose_name_cannot_be_is_named_when_it_is_used(self) -> None:
        with pytest.raises(StoreError, match=r"^s3://My bucket/a cannot be used: .*Check the"):
            objects_at("s3://My bucket/a").names("")

    @pytest.mark.parametrize("text", ["{}", "file://{}", "file://{}/"])
    def test_a_path_and_its_url_are_the_same_folder(self, tmp_path: Path, text: str) -> None:
        assert objects_at(text.format(tmp_path)) == Folder(tmp_path)

    def test_a_url_of_a_folder_leads_back_to_it_whatever_its_name(self, tmp_path: Path) -> None:
        folder = Folder(tmp_path / "50% ü #1")

        assert objects_at(folder.url) == folder

    @pytest.mark.parametrize(
        "url",
        [
            *(
                "ftp://here",
                "s3://",
                "s3:///a",
                "s3:/bucket/a",
                "s3://bucket//a",
                "s3://bucket/../a",
                "s3://bucket/a#b",
            ),
            *("gs:", "file://a", "file:a", ""),
        ],
    )
    def test_what_is_no_place_is_refused_with_those_that_are(self, url: str) -> None:
        with pytest.raises(
            DeclarationError, match=r"is not the address of a folder or bucket. Give a path, file:///folder, s3://"
        ):
            objects_at(url)

    @pytest.mark.parametrize(
        "url",
        [
            "s3://AKIA:geheim@bucket/a",
            "s3://bucket/a?secret_access_key=geheim",
            "az://account:geheim@host/container",
            "gs://geheim@bucket",
            "ftp://ana:geheim@host",
        ],
    )
    def test_a_url_with_a_password_is_refused_without_showing_it(self, url: str) -> None:
        with pytest.raises(DeclarationError, match=r"contains a key or a password. Leave it out") as caught:
            objects_at(url)

        assert "geheim" not in str(caught.value)


def _uses(objects: Objects) -> list[Callable[[], object]]:
    def replace() -> None:
        with objects.replacing("a") as path:
            path.write_bytes(b"new")

    return [
        *(lambda: objects.get("a"), lambda: objects.put("a", b"new"), lambda: objects.create("b", b"new"), replace),
        *(lambda: objects.names("a"), lambda: objects.folders("a"), lambda: objects.stamp("a")),
        lambda: objects.delete("a"),
    ]


def _stdout(process: "subprocess.Popen[str]") -> Any:
    return process.stdout
