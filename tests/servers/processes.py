"""Starts a server in a process of its own on loopback, waits until it answers, and ends just that process."""

import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

READY_SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def unprivileged(name: str) -> str | None:
    """The user to run a server as: servers such as Postgres refuse to run as root. None: the one we are."""
    if os.getuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return name if name in known else "nobody"


@contextmanager
def a_server(
    command: Sequence[str], log: Path, is_ready: Callable[[], bool], user: str | None = None, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, user=user, env={**os.environ, **environment}, cwd=log.parent
        )
    try:
        wait_until(is_ready, process, log)
        yield process
    finally:
        process.send_signal(signal.SIGINT)  # to Postgres: do not wait for clients to leave
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(is_ready: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not is_ready():
        assert process.poll() is None, f"the server ended: {log.read_text()[-2_000:]}"
        assert time.monotonic() < deadline, f"the server did not get ready: {log.read_text()[-2_000:]}"
        time.sleep(0.05)
