"""The cache of files: what it gives is always right, and it never grows beyond its size."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.state.file_cache import FileCache
from mlops_assets.state.manifest import checksum

A, B, C = b"a" * 40, b"b" * 40, b"c" * 40


def keep(cache: FileCache, *contents: bytes) -> None:
    for content in contents:
        cache.put(checksum(content), content)


def kept(cache: FileCache, *contents: bytes) -> list[bool]:
    return [(cache.folder / checksum(content)).exists() for content in contents]


@pytest.fixture
def cache(tmp_path: Path) -> FileCache:
    return FileCache(tmp_path / "cache", most_bytes=100)


def test_what_is_kept_is_given_back(cache: FileCache) -> None:
    keep(cache, A)

    assert (cache.get(checksum(A)), cache.get(checksum(B))) == (A, None)


def test_of_a_full_cache_what_was_not_used_for_longest_goes(cache: FileCache) -> None:
    keep(cache, A, B)
    cache.get(checksum(A))

    keep(cache, C)

    assert kept(cache, A, B, C) == [True, False, True]


def test_what_fits_to_the_byte_stays(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, most_bytes=80)

    keep(cache, A, B)

    assert kept(cache, A, B) == [True, True]


def test_a_file_larger_than_the_cache_drives_nothing_out(cache: FileCache) -> None:
    keep(cache, A, b"x" * 101)

    assert kept(cache, A, b"x" * 101) == [True, False]


@pytest.mark.parametrize("damaged", [b"", A[:-1], A + b"a", b"b" + A[1:]])
def test_a_damaged_file_is_thrown_away(cache: FileCache, damaged: bytes) -> None:
    keep(cache, A)
    (cache.folder / checksum(A)).write_bytes(damaged)

    assert cache.get(checksum(A)) is None
    assert kept(cache, A) == [False]


def test_a_half_goes_in_its_turn_where_its_writer_was_killed_and_stays_where_it_is_at_work(cache: FileCache) -> None:
    keep(cache, A)
    old, new = (cache.folder / f".{number}.part" for number in range(2))
    for half in (old, new):
        half.write_bytes(B)
    os.utime(old, (time.time() - 4_000,) * 2)

    keep(cache, C)

    assert (old.exists(), new.exists()) == (False, True)
    assert kept(cache, A, C) == [True, True]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["keep", "get"]), st.integers(0, 9), st.integers(1, 60)), max_size=40))
def test_it_is_right_and_small_after_anything(steps: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = FileCache(Path(folder), most_bytes=100)
        for verb, letter, size in steps:
            content = bytes([letter]) * size
            if verb == "keep":
                keep(cache, content)
                assert cache.get(checksum(content)) == content
            else:
                assert cache.get(checksum(content)) in (content, None)
            assert sum(path.stat().st_size for path in cache.folder.iterdir()) <= 100


SHARING = """
import random, sys
from pathlib import Path
from mlops_assets.state.file_cache import FileCache
from mlops_assets.state.manifest import checksum

cache = FileCache(Path(sys.argv[1]), most_bytes=300_000)
chosen = random.Random(int(sys.argv[2]))
for _ in range(400):
    content = bytes([chosen.randrange(10)]) * 100_000
    found = cache.get(checksum(content))
    assert found in (content, None)
    if found is None:
        cache.put(checksum(content), content)
    elif chosen.random() < 0.1:
        (cache.folder / checksum(content)).write_bytes(content[:50_000])  # a disk that loses what was written
"""


def test_two_processes_share_one_cache(tmp_path: Path) -> None:
    sharing = [
        subprocess.Popen([sys.executable, "-c", SHARING, str(tmp_path), str(number)], stderr=subprocess.PIPE)
        for number in range(2)
    ]
    errors = [process.communicate()[1].decode() for process in sharing]

    assert errors == ["", ""]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 300_000
