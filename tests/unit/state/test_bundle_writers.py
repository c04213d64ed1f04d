"""Writers of one version: whoever comes first, is killed or comes late, a bundle that exists is whole and somebody's own."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.state.bundles import Bundles
from mlops_assets.state.manifest import ESTIMATOR, GOLDEN, MANIFEST, MODEL, REFERENCE, SIGNATURE
from mlops_assets.state.objects import Folder, Objects
from tests.unit.state.writing_bundles import KEY, bundles_at, whose, writes

PROGRAM = [sys.executable, "-m", "tests.unit.state.writing_bundles"]
VERSIONS = 12


class Killed(BaseException):
    """Ends a writer where it stands, as nothing in it can catch."""


class Stepped:
    """Objects whose every call waits until `step` lets it through."""

    def __init__(self, objects: Objects, calls_until_killed: int | None) -> None:
        self._objects = objects
        self._calls_left = calls_until_killed
        self._may_go, self._stands = threading.Semaphore(0), threading.Semaphore(0)
        self.has_ended = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._objects, name)
        if not callable(method):
            return method

        def call(*arguments: Any) -> Any:
            self._wait()
            return method(*arguments)

        return call

    def step(self) -> None:
        if not self.has_ended:
            self._may_go.release()
            self._stands.acquire()

    def end(self) -> None:
        self.has_ended = True
        self._stands.release()

    def _wait(self) -> None:
        self._stands.release()
        self._may_go.acquire()
        if self._calls_left == 0:
            raise Killed
        if self._calls_left is not None:
            self._calls_left -= 1


class Writer:
    """Writes version 1 in a thread, one call at a time. has_won: None where it was killed."""

    def __init__(self, objects: Objects, bias: int, calls_until_killed: int | None) -> None:
        self.bias = bias
        self.has_won: bool | None = None
        self.objects = Stepped(objects, calls_until_killed)
        self._thread = threading.Thread(target=self._write)
        self._thread.start()
        self.objects._stands.acquire()  # it stands before its first call

    def finish(self) -> None:
        while not self.objects.has_ended:
            self.objects.step()
        self._thread.join()

    def _write(self) -> None:
        try:
            self.has_won = writes(Bundles(cast(Objects, self.objects), "flight_delay", approval_key=KEY), self.bias)
        except Killed:
            pass
        finally:
            self.objects.end()


@settings(deadline=None, max_examples=60)
@given(
    order=st.lists(st.integers(0, 2), max_size=40),
    kills=st.tuples(*[st.none() | st.integers(0, 9)] * 3),
)
def test_in_whatever_order_three_writers_take_turns_one_wins_and_its_bundle_is_whole(
    order: list[int], kills: tuple[int | None, ...]
) -> None:
    with TemporaryDirectory() as name:
        objects = Folder(Path(name))
        writers = [Writer(objects, bias, calls) for bias, calls in enumerate(kills, start=1)]
        for number in order:
            writers[number].objects.step()
        for writer in writers:
            writer.finish()

        bundles = Bundles(objects, "flight_delay", approval_key=KEY)
        winners = [writer.bias for writer in writers if writer.has_won]
        if not winners:
            # all of them were killed, and the next one has a free way
            assert [writer.has_won for writer in writers] == [None, None, None]
            assert bundles.versions() == []
            assert writes(bundles, bias=4)
            winners = [4]
        assert [whose(bundles)] == winners


def test_of_two_processes_one_wins_each_version_and_every_bundle_is_whole(objects: Objects) -> None:
    racers = [
        subprocess.Popen(
            [*PROGRAM, "race", objects.url, str(bias), str(VERSIONS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for bias in (1, 2)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"

    won = [json.loads(said) for said in talk(racers)]

    bundles = bundles_at(objects.url)
    assert sorted(won[0] + won[1]) == list(range(1, VERSIONS + 1)) == bundles.versions()
    assert [whose(bundles, version) for version in bundles.versions()] == [
        1 if version in won[0] else 2 for version in bundles.versions()
    ]


def talk(racers: list["subprocess.Popen[str]"]) -> list[str]:
    """Let all of them go at once; what each says."""
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    return [racer.communicate(timeout=120)[0] for racer in racers]


def test_a_writer_that_is_killed_around_any_object_leaves_a_whole_bundle_or_none(objects: Objects) -> None:
    ran = subprocess.run([*PROGRAM, "killed", objects.url], capture_output=True, text=True, check=True, timeout=120)
    points = [json.loads(line) for line in ran.stdout.splitlines()]

    assert len(points) > 2 * 6  # before and after the look whether there is one, and each of the five objects
    order = [MODEL, REFERENCE, GOLDEN, ESTIMATOR, SIGNATURE, MANIFEST]
    left = {tuple(sorted(point["names"])) for point in points}
    assert left == {tuple(sorted(order[:count])) for count in range(len(order) + 1)}
    assert [point["was_killed"] for point in points] == [True] * (len(points) - 1) + [False]
    for point in points:
        exists = MANIFEST in point["names"]
        assert (point["versions"], point["first"]) == (([1], 1) if exists else ([], None))
        assert (point["next_wrote"], point["now"]) == ((False, 1) if exists else (True, 2))
