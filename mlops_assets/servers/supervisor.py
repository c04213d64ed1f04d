"""Keeps the servers of `mlops up` running: restarts those that ended, and allows one `mlops up` per home."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil

from mlops_assets.errors import StillRunning
from mlops_assets.servers.processes import Server, Servers, end_family, end_of_log, exit_in_words
from mlops_assets.state.objects import Folder

LOCK = "up.lock"
LOOK_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
SETTLED_SECONDS = 300.0  # a server that ran for this long is restarted without a wait
CODE_SERVER = "code"  # its children are runs, which outlive it and continue


class ServerProcess(msgspec.Struct, frozen=True):
    """A server in the list of an `mlops up`. began: seconds since 1970, because process ids are reused."""

    name: str
    process: int
    began: float


@dataclass
class _Restarts:
    """How often a server ended soon after its start, and when it is restarted."""

    count: int = 0
    due: float | None = None
    started: float = field(default_factory=time.monotonic)


@dataclass
class Supervisor:
    """report: called with a sentence about each restart, when a server answers, and with each notification. health: a path of each
    server that has one. notifications: those that are new since the last call."""

    servers: Servers
    report: Callable[[str], None]
    health: Mapping[str, str] = field(default_factory=dict)
    notifications: Callable[[], Sequence[str]] = list
    _restarts: dict[str, _Restarts] = field(default_factory=dict)
    _answering: set[int] = field(default_factory=set)

    def watch(self) -> None:
        """Check the servers until it is interrupted."""
        while True:
            try:
                self.check()
            except OSError as error:  # no file or process can be created now: try again, and end no server
                self.report(f"a server that ended cannot be restarted now: {error.strerror}")
            time.sleep(LOOK_SECONDS)

    def check(self) -> None:
        """Restart every server that ended and whose wait is over, and report what is new."""
        for server in list(self.servers.running):
            if (code := server.process.poll()) is not None:
                self._start_again(server, code)
            elif server.process.pid not in self._answering and self._answers(server):
                self._answering.add(server.process.pid)
                self.report(server.in_words())
        for sentence in self.notifications():
            self.report(sentence)

    def _answers(self, server: Server) -> bool:
        path = self.health.get(server.name)
        return path is not None and server.answers(path)

    def _start_again(self, server: Server, code: int) -> None:
        now = time.monotonic()
        restarts = self._restarts.setdefault(server.name, _Restarts(started=0.0))
        if restarts.due is None:
            restarts.count = 0 if now - restarts.started > SETTLED_SECONDS else restarts.count
            wait = 0.0 if restarts.count == 0 else min(2.0 ** (restarts.count - 1), LONGEST_WAIT_SECONDS)
            restarts.due = now + wait
            self.report(
                f"{server.name} ended with {exit_in_words(code)} and is restarted"
                + (f" in {wait:.0f} s" if wait else "")
                + f". The end of {server.log}:\n{end_of_log(server.log, 400)}"
            )
        if now < restarts.due:
            return
        if server.name != CODE_SERVER:
            end_family(server.process.pid)
        self.servers.start_again(server)
        restarts.count, restarts.due, restarts.started = restarts.count + 1, None, now
        self.report(f"{server.name} was restarted (start {restarts.count + 1})")


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Only one process of this machine can be in this block for a folder; the lock ends with its process.

    Raises StillRunning: another process is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise StillRunning(
                f"`mlops up` or `mlops demo` already runs on {folder} (process {lock.read().strip() or 'unknown'}). Two "
                "daemons on one home would launch everything twice. End that one with Ctrl-C, or name another home."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def write_server_list(servers: Sequence[Server], path: Path) -> None:
    """Write the list of running servers, in case this process is killed and cannot end them."""
    processes = []
    for server in servers:
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            began = psutil.Process(server.process.pid).create_time()
            processes.append(ServerProcess(server.name, server.process.pid, began))
    Folder(path.parent).put(path.name, msgspec.json.encode(processes))


def end_left_servers(path: Path, report: Callable[[str], None]) -> None:
    """End the servers that a killed `mlops up` left running; active runs continue."""
    if not path.exists():
        return
    for left in msgspec.json.decode(path.read_bytes(), type=list[ServerProcess]):
        try:
            process = psutil.Process(left.process)
            is_same = abs(process.create_time() - left.began) < 2
        except psutil.NoSuchProcess:
            is_same = False
        if left.name != CODE_SERVER:
            end_family(left.process)
        if is_same:
            report(f"ending {left.name} (process {left.process}), which a killed `mlops up` left running")
            with suppress(psutil.NoSuchProcess):  # it ended meanwhile
                process.kill()
                process.wait(10)
    path.unlink()
