"""Starts the servers of the demo on free loopback ports and ends exactly what it started."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from mlops_assets.errors import PlatformError

HOST = "127.0.0.1"
GRACE_SECONDS = 15.0
MOST_LOG_BYTES = 50_000_000


@dataclass(frozen=True)
class Server:
    """A process of ours, the address it answers on, and where it writes."""

    name: str
    command: tuple[str, ...]
    port: int
    process: "subprocess.Popen[bytes]"
    log: Path
    ends_on: signal.Signals

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"


@dataclass
class Servers:
    """The servers of one demo; leaving the block ends them and everything they started."""

    folder: Path
    environment: Mapping[str, str]
    running: list[Server] = field(default_factory=list)

    def __enter__(self) -> "Servers":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str], port: int, ends_on: signal.Signals) -> Server:
        """Start `python -m command` in a process group of its own, so that Ctrl-C reaches only the demo itself."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / f"{name}.log"
        with suppress(FileNotFoundError):  # of an installation that runs for years the last two starts are told
            if log.stat().st_size > MOST_LOG_BYTES:
                log.replace(log.with_suffix(".log.former"))
        with _heard_later(), log.open("ab") as output:
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
        """Start a server that ended once more, on the same port."""
        self.running.remove(ended)
        return self.start(ended.name, ended.command, ended.port, ended.ends_on)

    def wait_for(self, server: Server, path: str, seconds: float, told: Callable[[str], None]) -> None:
        """Until it answers. Raises PlatformError: it ended, or stayed silent; its last lines are in the message."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and server.process.poll() is None:
            try:
                if httpx.get(server.address + path, timeout=2).status_code < 500 and _listens(server):
                    told(f"{server.name} answers on {server.address}")
                    return
            except httpx.TransportError:
                pass  # not listening yet
            time.sleep(0.2)
        said = last_words(server.log)
        code = server.process.poll()
        fault = f"did not answer within {seconds:.0f} s" if code is None else f"ended with {exit_in_words(code)}"
        raise PlatformError(f"{server.name} {fault}. The end of {server.log}:\n{said.strip() or 'it wrote nothing'}")

    def stop(self) -> None:
        """Ask every process we started, and its children, to end; end those that do not within 15 s.

        A second Ctrl-C meanwhile changes nothing, or it would leave them behind."""
        with _uninterrupted():
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


def last_words(log: Path, characters: int = 1_500) -> str:
    """The end of what a server wrote, without the colours of a terminal."""
    with log.open("rb") as written:
        written.seek(max(0, log.stat().st_size - characters))
        return re.sub(r"\x1b\[[0-9;]*m", "", written.read().decode(errors="replace"))


def exit_in_words(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def end_family(pid: int) -> None:
    """End what a server that crashed left running, so that its port is free for the next one."""
    left = [process for process in _family(pid) if process.pid != pid]
    for process in left:
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            process.kill()
    psutil.wait_procs(left, timeout=5)


@contextmanager
def _heard_later() -> Iterator[None]:
    """A signal that comes within the block is heard at its end: a process that was started is known by then."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears signals
        return
    heard: list[int] = []
    # a function, not SIG_IGN, which the process would inherit
    former = {
        number: signal.signal(number, lambda number, _: heard.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        for each in heard:
            signal.raise_signal(each)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears signals
        return
    former = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def free_port(preferred: int, told: Callable[[str], None]) -> int:
    """The preferred port, or the next free one above it when somebody listens there."""
    for port in range(preferred, preferred + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        if port != preferred:
            told(f"port {preferred} is taken by {_listener(preferred)}; using {port}")
        return port
    raise PlatformError(f"no free port between {preferred} and {preferred + 99}. End a program that listens there.")


@contextmanager
def held(ports: Sequence[int]) -> Iterator[None]:
    """Within the block no other program can listen on these ports of the loopback address.

    Raises PlatformError: one is taken already."""
    with ExitStack() as sockets:
        for port in ports:
            holder = sockets.enter_context(socket.socket())
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                holder.bind((HOST, port))
                holder.listen()  # two sockets that do not listen may share a port
            except OSError as error:
                raise PlatformError(f"port {port} is taken by {_listener(port)}. Try again.") from error
        yield


def _listens(server: Server) -> bool:
    """Is it this server, and not one that took its port, that answers there?"""
    for process in _family(server.process.pid):
        with suppress(psutil.Error):  # it ended meanwhile
            if any(item.laddr and item.laddr.port == server.port for item in process.net_connections("tcp")):
                return True
    return False


def _listener(port: int) -> str:
    """Which program listens there, as far as this user may know."""
    try:
        pids = {
            item.pid for item in psutil.net_connections("tcp") if item.laddr and item.laddr.port == port and item.pid
        }
        return ", ".join(f"{psutil.Process(pid).name()} (process {pid})" for pid in sorted(pids)) or "another program"
    except psutil.Error:
        return "another program"


def _family(pid: int) -> list[psutil.Process]:
    """A server's children, and every process of the session it began, which outlive it when it crashes."""
    found = set()
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == pid:
                found |= {process, *process.children(recursive=True)}
        except (OSError, psutil.Error):
            continue  # it ended meanwhile
    return list(found)
