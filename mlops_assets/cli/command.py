"""The `mlops` command from its start to its exit code: an error is one sentence, and Ctrl-C ends it at once.

What it needs for that is imported here, and the commands only within: Ctrl-C comes at any moment, also while they load.
"""

import contextlib
import gc
import os
import signal
import sys
import tempfile
import traceback
from types import FrameType
from typing import NoReturn

from mlops_assets.cli.exit_codes import FAILED, INTERRUPTED, TOO_EARLY


class _Interrupts:
    """The first Ctrl-C lets what runs clean up after itself; the second one does not wait for it."""

    def __init__(self) -> None:
        self.came = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        if self.came:
            os._exit(INTERRUPTED)
        self.came = True
        raise KeyboardInterrupt

    def not_raised(self, lost: "sys.UnraisableHookArgs") -> None:
        """Where Python cannot raise it, in a finalizer or the callback of an import, it would be printed and forgotten."""
        if isinstance(lost.exc_value, KeyboardInterrupt):
            _leave(INTERRUPTED)
        sys.__unraisablehook__(lost)


def main() -> NoReturn:
    """Run the command that the arguments name. Exit code 1: it failed; 75: a period has not arrived; 130: Ctrl-C ended it."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read once, when LightGBM or scikit-learn load OpenMP
    interrupts = _Interrupts()
    try:
        signal.signal(signal.SIGINT, interrupts)
        sys.unraisablehook = interrupts.not_raised
        from mlops_assets.own_names import leave_out_the_working_directory

        leave_out_the_working_directory()
        from mlops_assets.cli.app import app

        app.meta(sys.argv[1:])
    except KeyboardInterrupt:
        _leave(INTERRUPTED)
    except Exception as error:  # noqa: BLE001 (whatever it is, people read a sentence)
        if interrupts.came:  # it came while a library was loaded, which made another error of it
            _leave(INTERRUPTED)
        from mlops_assets.errors import NotArrived

        kind, sentence = _in_words(error)
        _say(kind, sentence)
        if "--json" in sys.argv:  # whoever reads the object finds the reason there, too
            from mlops_assets.cli.output import write_json

            write_json({"succeeded": False, "error": f"{kind}: {sentence}"})
        sys.exit(TOO_EARLY if isinstance(error, NotArrived) else FAILED)
    finally:
        gc.freeze()  # else the interpreter searches all objects for cycles before it ends, which takes most of a second
    sys.exit(0)


def _in_words(error: Exception) -> tuple[str, str]:
    """What kind of error it is, and the sentence."""
    import sqlite3

    from mlops_assets.addresses import reason
    from mlops_assets.errors import PlatformError

    if isinstance(error, PlatformError):
        return type(error).__name__, str(error)
    if isinstance(error, OSError | sqlite3.Error):
        return type(error).__name__, (
            f"{reason(error)}. Check that the data home is well, has room and may be written; --home or MLOPS_HOME names "
            "another one."
        )
    with tempfile.NamedTemporaryFile("w", prefix="mlops-", suffix=".log", delete=False) as trace:
        traceback.print_exception(error, file=trace)
    return "Unforeseen", f"{type(error).__name__}: {reason(error)}. That is a fault of ours; {trace.name} tells where."


def _say(kind: str, sentence: str) -> None:
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text.assemble((kind, "bold red"), ": ", sentence), soft_wrap=True)


def _leave(code: int) -> NoReturn:
    """Threads that still compute are not waited for: what they write is there whole, or not at all."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody may read it any more
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
