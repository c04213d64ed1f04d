"""Ctrl-C in each command, as real processes: exit code 130 within seconds, no traceback, nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import psutil
import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.state.workspace import Workspace
from tests.tiny_bundle import deploy_tiny
from tests.unit.cli.test_wrong_variables import ARGUMENTS, everything_below

PATIENCE_SECONDS = 60.0
ENDS_WITHIN_SECONDS = 30.0  # one that waits for its work would take longer; a machine with other work takes its time
RUN_ASSETS = ("replay", "materialize", "train", "experiment")  # what was stored before the interrupt stays
SHORT = {name: arguments for name, arguments in ARGUMENTS.items() if name not in ("up", "serve", *RUN_ASSETS)}


def has_loaded(module: str) -> Callable[[psutil.Process], bool]:
    """Its library is in memory: the command is in the middle of its imports, or just behind them."""
    return lambda process: any(module in item.path for item in process.memory_maps())


def answers(process: psutil.Process) -> bool:
    return any(item.status == psutil.CONN_LISTEN for item in process.net_connections("tcp"))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    found = Workspace(tmp_path / "home")
    deploy_tiny(found.of(flight_delay), 1)
    deploy_tiny(found.of(flight_delay), 2)
    return found


@contextmanager
def a_command(workspace: Workspace, *arguments: str, **variables: str) -> Iterator[psutil.Popen]:
    """In a session of its own, as of a terminal; whatever it leaves behind ends with the block."""
    process = psutil.Popen(
        [sys.executable, "-m", "mlops_assets.cli.command", *arguments],
        env={**os.environ, "MLOPS_HOME": str(workspace.home), "MLOPS_PORT": "0", **variables},
        cwd=workspace.home.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        for left in of_session(process.pid):
            left.kill()
        process.wait(10)
        for stream in (process.stdout, process.stderr):
            stream.close()


def of_session(leader: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (OSError, psutil.Error):
            continue  # it ended meanwhile
    return found


def wait_until(process: psutil.Popen, is_there: Callable[[psutil.Process], bool]) -> None:
    """Or until it has ended."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None:
        try:
            if is_there(process):
                return
        except psutil.Error:
            pass  # it ended meanwhile
        assert time.monotonic() < deadline, "it never came so far"
        time.sleep(0.005)


def interrupt(process: psutil.Popen, times: int) -> tuple[int, str]:
    """Ctrl-C, as a terminal sends it to everything in the foreground; the exit code that a shell sees, and what was said.

    A process that the signal itself ends, -2 here, is 130 to a shell."""
    for _ in range(times):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=ENDS_WITHIN_SECONDS)
    code = process.returncode
    return (128 - code if code < 0 else code), said


@pytest.mark.slow
@pytest.mark.parametrize(("library", "times"), [("msgspec", 2), ("_polars", 1)], ids=["twice", "once, later"])
@pytest.mark.parametrize("command", SHORT)
def test_ctrl_c_ends_a_command_with_130_and_changes_nothing(
    command: str, library: str, times: int, workspace: Workspace
):
    before = everything_below(workspace.home)
    with a_command(workspace, *command.split(), *SHORT[command]) as process:
        wait_until(process, has_loaded(library))

        code, said = interrupt(process, times)

        assert "Traceback" not in said
        assert of_session(process.pid) == []
    if code == 130:
        assert everything_below(workspace.home) == before
    else:  # it was done before the signal came
        assert code in (0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
def test_ctrl_c_ends_the_api_with_130(workspace: Workspace, times: int):
    with a_command(workspace, "serve") as process:
        wait_until(process, answers)

        code, said = interrupt(process, times)

        assert (code, said) == (130, "")
        assert of_session(process.pid) == []


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])
def test_ctrl_c_while_the_platform_starts_leaves_no_server_behind(workspace: Workspace, times: int):
    with a_command(workspace, "up", "--home", str(workspace.home)) as process:
        wait_until(process, lambda starting: len(starting.children()) >= 3)
        servers = process.children(recursive=True)

        code, said = interrupt(process, times)

        assert (code in (0, 130), said) == (True, "")  # 0: it had started them all, and ended as it is meant to
        _, alive = psutil.wait_procs(servers, timeout=ENDS_WITHIN_SECONDS)
        assert alive == []


@pytest.mark.slow
def test_ctrl_c_in_the_middle_of_the_replay_ends_the_demo(tmp_path: Path):
    workspace = Workspace(tmp_path / "demo")
    with a_command(workspace, "demo", "--home", str(workspace.home)) as process:
        wait_until(process, lambda _: any((workspace.home / "tables").rglob("*.parquet")))

        code, said = interrupt(process, 2)

        assert code == 130, said
        assert "Traceback" not in said
        assert of_session(process.pid) == []
    stored = [path for path in workspace.home.rglob("*.parquet") if not path.name.startswith(".")]
    assert all(pl.scan_parquet(path).collect().height > 0 for path in stored)
