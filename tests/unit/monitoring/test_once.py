"""What several threads need is made once."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from mlops_assets.monitoring.once import Once


def test_threads_that_ask_at_the_same_time_get_one_and_the_same_thing():
    once, together, made = Once[str, object](), Barrier(4, timeout=10), []

    def make() -> object:
        made.append(object())
        return made[-1]

    def ask() -> object:
        together.wait()
        return once("model", make)

    with ThreadPoolExecutor(4) as pool:
        answers = [future.result() for future in [pool.submit(ask) for _ in range(4)]]

    assert len(made) == 1
    assert all(answer is made[0] for answer in answers)


def test_each_key_has_its_own_thing():
    once = Once[str, int]()

    assert (once("a", lambda: 1), once("b", lambda: 2), once("a", lambda: 3)) == (1, 2, 1)


def test_what_failed_is_tried_again():
    once = Once[str, int]()

    def fail() -> int:
        raise ValueError("no rows")

    with pytest.raises(ValueError, match="no rows"):
        once("a", fail)

    assert once("a", lambda: 1) == 1
