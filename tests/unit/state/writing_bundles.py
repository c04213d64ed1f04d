"""Programs of the tests that write bundles: one that waits for its start, and one that is killed around every object.

    python -m tests.unit.state.writing_bundles race <url> <bias> <number of versions>
    python -m tests.unit.state.writing_bundles killed <url>

The first writes every version as soon as a line comes in, and prints which are its own. The second lets a child kill itself
while it writes version 1, before and after every object that it reads or writes, and prints what each left and what the next
writer made of it."""

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import Any

from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import BundleError
from mlops_assets.state import bucket, folder
from mlops_assets.state.bundles import Bundles
from mlops_assets.state.manifest import ESTIMATOR
from mlops_assets.state.objects import objects_at
from tests.tiny_bundle import tiny_files, tiny_manifest

KEY = "0123456789abcdef0123456789abcdef"
PLACES = (folder.__file__, bucket.__file__)
CALLS = ("get", "create", "put")


def bundles_at(url: str) -> Bundles:
    return Bundles(objects_at(url), flight_delay.name, approval_key=KEY)


@cache
def files_of(bias: int) -> dict[str, bytes]:
    return {**tiny_files(flight_delay, bias=bias), ESTIMATOR: str(bias).encode()}


def writes(stored: Bundles, bias: int, version: int = 1) -> bool:
    """False: somebody else wrote it. `bias` tells whose it is."""
    import msgspec

    manifest = msgspec.structs.replace(tiny_manifest(flight_delay, version), partition=str(bias))
    try:
        stored.write(manifest, files_of(bias))
    except BundleError:
        return False
    return True


def whose(stored: Bundles, version: int = 1) -> int:
    """The bias of who wrote this version, once every file of it was checked."""
    opened = stored.open(version)
    bias = int(opened.manifest.partition)
    assert {name: opened.content(name) for name in opened.manifest.checksums} == files_of(bias)
    return bias


def race(url: str, bias: int, count: int) -> None:
    stored = bundles_at(url)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sys.stdout.write(json.dumps([version for version in range(1, count + 1) if writes(stored, bias, version)]))


def killed(url: str) -> None:
    import onnxruntime  # noqa: F401 (once, and not in every child)

    ended, number = signal.SIGKILL, 0
    while ended == signal.SIGKILL:
        number += 1
        place = f"{url}/{number}"
        ended, _ = in_child(lambda: writes_until_killed(bundles_at(place), number))  # noqa: B023 (it has ended by then)
        _, found = in_child(lambda: found_afterwards(bundles_at(place)))  # noqa: B023 (as above)
        sys.stdout.write(json.dumps({"was_killed": ended == signal.SIGKILL, **json.loads(found)}) + "\n")


def found_afterwards(stored: Bundles) -> str:
    names = [name.rsplit("/", 1)[-1] for name in stored.objects.names("bundles")]
    versions = stored.versions()
    first = whose(stored) if versions else None
    is_written = writes(stored, bias=2)
    return json.dumps(
        {"names": names, "versions": versions, "first": first, "next_wrote": is_written, "now": whose(stored)}
    )


def writes_until_killed(stored: Bundles, point: int) -> str:
    left = point

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in PLACES or frame.f_code.co_name not in CALLS:
            return None
        if event in ("call", "return"):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    writes(stored, bias=1)
    return ""


def in_child(work: Callable[[], str]) -> tuple[int, str]:
    """The signal that ended it or minus its exit code, and what it said."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(writing, work().encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as said:
        text = said.read()
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status), text


if __name__ == "__main__":
    if sys.argv[1] == "race":
        race(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        killed(sys.argv[2])
