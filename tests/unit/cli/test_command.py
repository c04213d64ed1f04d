"""The frame around every command: where a Ctrl-C comes that Python itself cannot raise."""

import subprocess
import sys
from pathlib import Path

A_COMMAND = """
import signal, sys, types, weakref
from mlops_assets.cli import command

class Anything: ...

def app(_arguments):
    anything = Anything()
    watched = weakref.ref(anything, lambda _: {what})
    del anything
    print("it went on")

app.meta = app

sys.modules["mlops_assets.cli.app"] = types.SimpleNamespace(app=app)
command.main()
"""


def run(what: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", A_COMMAND.format(what=what)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_ctrl_c_in_a_callback_of_the_interpreter_ends_the_command_with_130():
    done = run("signal.raise_signal(signal.SIGINT)")

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_another_error_in_such_a_callback_is_shown_and_the_command_goes_on():
    done = run("1 / 0")

    assert (done.returncode, done.stdout) == (0, "it went on\n")
    assert "ZeroDivisionError" in done.stderr
