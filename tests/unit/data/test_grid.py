"""Grids: what is the newest at a place, however it is written down."""

import platform
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mlops_assets.data import grid
from mlops_assets.data.grid import Lines, Marks, newest_mark


@given(arrays.arrays(bool, st.integers(1, 300)))
def test_the_newest_of_marks_is_the_last_one_up_to_a_place(is_marked):
    is_marked[0] = True

    newest = Marks(is_marked).take(np.arange(len(is_marked)))

    assert newest.tolist() == [int(is_marked[: place + 1].sum()) - 1 for place in range(len(is_marked))]


@pytest.mark.parametrize("most_counted", [10, 10_000], ids=["a bit for each", "a count for each"])
def test_large_and_small_grids_say_the_same(most_counted, monkeypatch):
    monkeypatch.setattr(grid, "_MOST_COUNTED", most_counted)
    is_marked = np.arange(1_000) % 3 == 0

    newest = newest_mark(is_marked)

    assert isinstance(newest, Marks) == (most_counted == 10)
    assert newest.take(np.array([0, 1, 2, 3, 63, 64, 65, 66, 999])).tolist() == [0, 0, 0, 1, 21, 21, 21, 22, 333]


def test_times_before_and_after_all_lines_are_in_the_first_and_in_the_last_one():
    lines = Lines(first=100, length=10, count=3)

    assert lines.of(np.array([-5, 100, 109, 110, 129, 130, 9_999])).tolist() == [0, 0, 0, 1, 2, 2, 2]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators keep what is freed as they see fit")
def test_pages_that_were_freed_are_there_when_they_are_needed_again():
    program = """
import resource, sys
import numpy as np
from mlops_assets.data.grid import keep_freed_memory

def pages_made():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [np.ones(300_000) for _ in range(8)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
print(pages_made(), pages_made())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    first, again = (int(pages) for pages in done.stdout.split())
    assert first > 4_000  # 8 times 2.4 MB
    assert again < first / 10
