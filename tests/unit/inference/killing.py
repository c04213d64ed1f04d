"""Runs acceptance and promotion in a child that kills itself at its n-th line, for every n; then once more to the end.

    python -m tests.unit.inference.killing <state> <folder for copies>

Prints one JSON object per point: how the child ended, and what the ledger and the rerun say."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import onnxruntime  # noqa: F401 (once, and not in every child)

from mlops_assets.features.opening import open_bundle
from mlops_assets.inference import promotion
from mlops_assets.state import bundle, ledger, objects  # noqa: F401 (as above)
from mlops_assets.state.workspace import ProductState, Workspace
from mlops_assets.testing.run import accept_partition
from tests.unit.testing.builders import KEY
from tests.unit.training.builders import a_product

WATCHED = {module.__file__ for module in (promotion, ledger, objects)}
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


def in_child(work: Callable[[], object]) -> int:
    """0, or the number of the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


def killed_at(number: int, state: ProductState) -> None:
    sys.settrace(kill_at_line(number))
    accept_and_promote(state)


def main(template: Path, folder: Path) -> None:
    number = 0
    while True:
        number += 1
        shutil.copytree(template, folder / str(number))
        state = Workspace(folder / str(number)).of(PRODUCT)
        ended = in_child(lambda: killed_at(number, state))  # noqa: B023 (it has ended when the loop goes on)
        after = [item.version for item in state.ledger.history()]
        # whole: what the ledger names opens with every checksum right
        opens = in_child(lambda: open_bundle(state, state.ledger.champion().version))  # noqa: B023 (as above)
        again = in_child(lambda: accept_and_promote(state))  # noqa: B023 (as above)
        finally_ = [item.version for item in state.ledger.history()]
        found = {"ended": ended, "after": after, "opens": opens, "again": again, "finally": finally_}
        sys.stdout.write(json.dumps(found) + "\n")
        shutil.rmtree(folder / str(number))
        if ended == 0:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
