"""Starts the servers of the demo on free loopback ports and ends exactly what it started."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from mlops_assets.errors import PlatformError

HOST = "127.0.0.1"
GRACE_SECONDS = 15.0


@dataclass(frozen=True)
class Server:
    """A process of ours, the address it answers on, and where it writes."""

    name: str
    process: "subprocess.Popen[bytes]"
    address: str
    log: Path
    ends_on: signal.Signals


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
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = Server(name, process, f"http://{HOST}:{port}", log, ends_on)
        self.running.append(server)
        return server

    def wait_for(self, server: Server, path: str, seconds: float, told: Callable[[str], None]) -> None:
        """Until it answers. Raises PlatformError: it ended, or stayed silent; its last lines are in the message."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and server.process.poll() is None:
            try:
                if httpx.get(server.address + path, timeout=2).status_code < 500:
                    told(f"{server.name} answers on {server.address}")
                    return
            except httpx.TransportError:
                pass  # not listening yet
            time.sleep(0.2)
        said = server.log.read_text(errors="replace")[-1_500:]
        ended = server.process.poll() is not None
        raise PlatformError(f"{server.name} {'ended' if ended else 'did not answer'}. The end of {server.log}:\n{said}")

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
