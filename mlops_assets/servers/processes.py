"""Starts servers on free loopback ports, and ends exactly those that it started."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from mlops_assets.errors import PlatformError

HOST = "127.0.0.1"
GRACE_SECONDS = 15.0
MOST_LOG_BYTES = 50_000_000


@dataclass(frozen=True)
class Server:
    """A process, its port and its log."""

    name: str
    command: tuple[str, ...]
    port: int
    process: "subprocess.Popen[bytes]"
    log: Path
    ends_on: signal.Signals

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"

    def answers(self, path: str) -> bool:
        """Whether this process, and not another program on its port, answers without an error of the server."""
        try:
            return httpx.get(self.address + path, timeout=2).status_code < 500 and _listens(self)
        except httpx.TransportError:  # not listening yet
            return False

    def in_words(self) -> str:
        return f"{self.name} answers on {self.address}"


@dataclass
class Servers:
    """Servers that run together; leaving the block ends them and their children."""

    folder: Path
    environment: Mapping[str, str]
    running: list[Server] = field(default_factory=list)

    def __enter__(self) -> "Servers":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str], port: int, ends_on: signal.Signals) -> Server:
        """Start `python -m command` in its own session, so that Ctrl-C reaches only this process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / f"{name}.log"
        with suppress(FileNotFoundError):  # a long-running installation keeps only the current and the former log
            if log.stat().st_size > MOST_LOG_BYTES:
                log.replace(log.with_suffix(".log.former"))
        with _signals_delayed(), log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            server = Server(name, tuple(command), port, process, log, ends_on)
            self.running.append(server)
        return server

    def start_again(self, ended: Server) -> Server:
        """Restart a server that ended, on the same port."""
        self.running.remove(ended)
        return self.start(ended.name, ended.command, ended.port, ended.ends_on)

    def wait_for(self, server: Server, path: str, seconds: float, report: Callable[[str], None]) -> None:
        """Wait until it answers. Raises PlatformError, with the end of its log: it ended, or did not answer in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and server.process.poll() is None:
            if server.answers(path):
                report(server.in_words())
                return
            time.sleep(0.2)
        output = end_of_log(server.log).strip() or "it wrote nothing"
        code = server.process.poll()
        fault = f"did not answer within {seconds:.0f} s" if code is None else f"ended with {exit_in_words(code)}"
        raise PlatformError(f"{server.name} {fault}. The end of {server.log}:\n{output}")

    def stop(self) -> None:
        """Ask every started process and its children to end; kill those that do not within 15 s.

        A second Ctrl-C meanwhile is ignored, or it would leave them running."""
        with _signals_ignored():
            self._stop()

    def _stop(self) -> None:
        ours = [item for server in self.running for item in _family(server.process.pid)]
        for server in self.running:
            if server.process.poll() is None:
                server.process.send_signal(server.ends_on)
        _, alive = psutil.wait_procs(ours, timeout=GRACE_SECONDS)
        for process in alive:
            process.terminate()
        _, alive = psutil.wait_procs(alive, timeout=5)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=5)
        for server in self.running:
            server.process.wait()
        self.running.clear()


def end_of_log(log: Path, characters: int = 1_500) -> str:
    """The end of a server's log, without terminal colours."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - characters))
        return re.sub(r"\x1b\[[0-9;]*m", "", file.read().decode(errors="replace"))


def exit_in_words(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def end_family(pid: int) -> None:
    """End the processes that a crashed server left, so that its port is free for the next one."""
    children = [process for process in _family(pid) if process.pid != pid]
    for process in children:
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            process.kill()
    psutil.wait_procs(children, timeout=5)


@contextmanager
def _signals_delayed() -> Iterator[None]:
    """Signals that arrive within the block are raised at its end, when a started process is in the list of servers."""
    received: list[int] = []
    # a function instead of SIG_IGN, which the started process would inherit
    try:
        with _handling_signals(lambda number, _: received.append(number)):
            yield
    finally:
        for number in received:
            signal.raise_signal(number)


def _signals_ignored() -> AbstractContextManager[None]:
    return _handling_signals(signal.SIG_IGN)


@contextmanager
def _handling_signals(handler: Any) -> Iterator[None]:
    """Within the block this handler gets SIGINT and SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread receives signals
        return
    former = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, former_handler in former.items():
            signal.signal(number, former_handler)


def free_port(preferred: int, report: Callable[[str], None]) -> int:
    """The preferred port, or the next free one above it."""
    for port in range(preferred, preferred + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        if port != preferred:
            report(f"port {preferred} is used by {_listener(preferred)}; using {port}")
        return port
    raise PlatformError(
        f"there is no free port from {preferred} to {preferred + 99}. End a program that listens there."
    )


@contextmanager
def reserved(ports: Sequence[int]) -> Iterator[None]:
    """Within the block no other program can listen on these ports of the loopback address.

    Raises PlatformError: one is in use already."""
    with ExitStack() as sockets:
        for port in ports:
            holder = sockets.enter_context(socket.socket())
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                holder.bind((HOST, port))
                holder.listen()  # two sockets that do not listen may share a port
            except OSError as error:
                raise PlatformError(f"port {port} is used by {_listener(port)}. Try again.") from error
        yield


def _listens(server: Server) -> bool:
    """Whether this server listens on its port, and not another program."""
    for process in _family(server.process.pid):
        with suppress(psutil.Error):  # it ended meanwhile
            if any(item.laddr and item.laddr.port == server.port for item in process.net_connections("tcp")):
                return True
    return False


def _listener(port: int) -> str:
    """The program that listens there, if this user may see it."""
    try:
        pids = {
            item.pid for item in psutil.net_connections("tcp") if item.laddr and item.laddr.port == port and item.pid
        }
        return ", ".join(f"{psutil.Process(pid).name()} (process {pid})" for pid in sorted(pids)) or "another program"
    except psutil.Error:
        return "another program"


def _family(pid: int) -> list[psutil.Process]:
    """The processes of a server's session and their children, which outlive a server that crashes."""
    family = set()
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == pid:
                family |= {process, *process.children(recursive=True)}
        except (OSError, psutil.Error):
            continue  # it ended meanwhile
    return list(family)
