"""A cache computes each value once, however many threads ask."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from mlops_assets.monitoring.keyed_cache import KeyedCache


def test_threads_that_ask_at_the_same_time_get_one_and_the_same_thing():
    cache, together, made = KeyedCache[str, object](), Barrier(4, timeout=10), []

    def make() -> object:
        made.append(object())
        return made[-1]

    def ask() -> object:
        together.wait()
        return cache("model", make)

    with ThreadPoolExecutor(4) as pool:
        answers = [future.result() for future in [pool.submit(ask) for _ in range(4)]]

    assert len(made) == 1
    assert all(answer is made[0] for answer in answers)


def test_each_key_has_its_own_thing():
    cache = KeyedCache[str, int]()

    assert (cache("a", lambda: 1), cache("b", lambda: 2), cache("a", lambda: 3)) == (1, 2, 1)


def test_what_failed_is_tried_again():
    cache = KeyedCache[str, int]()

    def fail() -> int:
        raise ValueError("no rows")

    with pytest.raises(ValueError, match="no rows"):
        cache("a", fail)

    assert cache("a", lambda: 1) == 1
