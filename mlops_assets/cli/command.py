"""The `mlops` command from its start to its exit code: errors are printed as one sentence, and Ctrl-C ends it at once.

The commands are imported inside `main`, because Ctrl-C may come at any time, even while they load.
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
    """The first Ctrl-C lets the command clean up; the second one ends it without waiting."""

    def __init__(self) -> None:
        self.was_interrupted = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        if self.was_interrupted:
            os._exit(INTERRUPTED)
        self.was_interrupted = True
        raise KeyboardInterrupt

    def on_unraisable(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """In a finalizer or the callback of an import Python only prints KeyboardInterrupt and continues."""
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            _leave(INTERRUPTED)
        sys.__unraisablehook__(unraisable)


def main() -> NoReturn:
    """Run the command in the arguments. Exit code 1: it failed; 75: a period has not arrived; 130: Ctrl-C ended it."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # OpenMP reads it when LightGBM or scikit-learn load it
    interrupts = _Interrupts()
    try:
        signal.signal(signal.SIGINT, interrupts)
        sys.unraisablehook = interrupts.on_unraisable
        from mlops_assets.own_names import leave_out_the_working_directory

        leave_out_the_working_directory()
        from mlops_assets.cli.app import app

        app.meta(sys.argv[1:])
    except KeyboardInterrupt:
        _leave(INTERRUPTED)
    except Exception as error:  # noqa: BLE001 (every error is printed as a sentence)
        if interrupts.was_interrupted:  # a library that was being loaded turned the interrupt into another error
            _leave(INTERRUPTED)
        from mlops_assets.errors import NotArrived

        kind, sentence = _in_words(error)
        _print_error(kind, sentence)
        if "--json" in sys.argv:  # programs that read the object need the reason there, too
            from mlops_assets.cli.output import write_json

            write_json({"succeeded": False, "error": f"{kind}: {sentence}"})
        sys.exit(TOO_EARLY if isinstance(error, NotArrived) else FAILED)
    finally:
        gc.freeze()  # otherwise the interpreter searches all objects for cycles before it ends, for most of a second
    sys.exit(0)


def _in_words(error: Exception) -> tuple[str, str]:
    """The kind of error, and the sentence."""
    import sqlite3

    from mlops_assets.addresses import reason
    from mlops_assets.errors import PlatformError

    if isinstance(error, PlatformError):
        return type(error).__name__, str(error)
    if isinstance(error, OSError | sqlite3.Error):
        return type(error).__name__, (
            f"{reason(error)}. Check that the data home is intact, writable and has free space; --home or MLOPS_HOME names "
            "another one."
        )
    with tempfile.NamedTemporaryFile("w", prefix="mlops-", suffix=".log", delete=False) as trace:
        traceback.print_exception(error, file=trace)
    return "Unexpected", f"{type(error).__name__}: {reason(error)}. This is a bug in mlops-assets; see {trace.name}."


def _print_error(kind: str, sentence: str) -> None:
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text.assemble((kind, "bold red"), ": ", sentence), soft_wrap=True)


def _leave(code: int) -> NoReturn:
    """End without waiting for threads: their writes are complete or do not happen."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the reader may have closed it
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
