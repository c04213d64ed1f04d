"""Runs acceptance and promotion in a child that kills itself at its n-th line, for every n-th line; then once more to the end.

    python -m tests.unit.inference.killing <url of the state> <url below which copies are made> <home> <n>

Prints one JSON object per point: how the child ended, and the deployed versions then and after a rerun, null where the bundle
of the newest is not whole."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import obstore.store  # noqa: F401 (once, and not in every child)
import onnxruntime  # noqa: F401 (as above)

from mlops_assets.features.opening import open_bundle
from mlops_assets.inference import promotion
from mlops_assets.state import bucket, bundle, folder, ledger, objects  # noqa: F401 (bundle as above)
from mlops_assets.state.copying import copy_state
from mlops_assets.state.workspace import ProductState, Workspace
from mlops_assets.testing.run import accept_partition
from tests.unit.testing.builders import KEY
from tests.unit.training.builders import a_product

WATCHED = {module.__file__ for module in (promotion, ledger, folder, bucket)}
# whoever is killed while it reads has changed nothing
WRITING = {"promote", "deploy", "append", "create", "put", "replacing", "_half_of", "_sync", "_make"}
PRODUCT = a_product()


def accept_and_promote(state: ProductState) -> None:
    state.records.save(KEY, accept_partition(state, KEY))
    promotion.promote(state, KEY, "run 2")


def kill_at_line(number: int) -> Callable[..., Any]:
    left = number

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in WATCHED or frame.f_code.co_name not in WRITING:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


def killed_at(number: int, state: ProductState) -> None:
    sys.settrace(kill_at_line(number))
    accept_and_promote(state)


def in_child(work: Callable[[], object]) -> tuple[int, Any]:
    """0, or the number of the signal that ended it, and what it returned. Only children use a client of a bucket: it has
    threads, and a process with threads must not fork."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = 1
        try:
            os.write(writer, json.dumps(work()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as output:
        returned = output.read()
    _, status = os.waitpid(child, 0)
    ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)
    return ended, json.loads(returned) if returned else None


def copied(template: str, copy: str) -> None:
    copy_state(objects.objects_at(template), objects.objects_at(copy))


def deployed_versions(state: ProductState) -> list[int]:
    """Raises BundleError: a checksum of the bundle of the newest one is wrong."""
    open_bundle(state, state.ledger.champion().version)
    return [item.version for item in state.ledger.history()]


def gone_on(state: ProductState) -> list[int]:
    accept_and_promote(state)
    return deployed_versions(state)


def main(template: str, copies: str, home: Path, step: int) -> None:
    number, ended = 1 - step, -1
    while ended:
        number += step
        url = f"{copies}/{number}"
        state = Workspace(url, home / str(number)).of(PRODUCT)
        assert in_child(lambda: copied(template, url)) == (0, None)  # noqa: B023 (it has ended when the loop goes on)
        ended, _ = in_child(lambda: killed_at(number, state))  # noqa: B023 (as above)
        _, after = in_child(lambda: deployed_versions(state))  # noqa: B023 (as above)
        _, finally_ = in_child(lambda: gone_on(state))  # noqa: B023 (as above)
        sys.stdout.write(json.dumps({"ended": ended, "after": after, "finally": finally_}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
