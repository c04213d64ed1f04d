"""Grids: lines of time."""

import numpy as np

from mlops_assets.data.grid import Lines


def test_times_before_and_after_all_lines_are_in_the_first_and_in_the_last_one():
    lines = Lines(first=100, length=10, count=3)

    assert lines.of(np.array([-5, 100, 109, 110, 129, 130, 9_999])).tolist() == [0, 0, 0, 1, 2, 2, 2]
