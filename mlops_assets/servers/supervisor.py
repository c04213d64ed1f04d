"""Keeps the servers of `mlops up` running: one that ended is started again, and one home has one `mlops up`."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil

from mlops_assets.errors import StillRunning
from mlops_assets.servers.processes import Server, Servers, end_family, exit_in_words, last_words
from mlops_assets.state.objects import Folder

LOCK = "up.lock"
LOOK_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
SETTLED_SECONDS = 300.0  # a server that ran for so long is started at once when it ends
CODE_SERVER = "code"  # its children are runs, which outlive it and carry on


class LeftBehind(msgspec.Struct, frozen=True):
    """A server of an `mlops up` that was killed. began: seconds since 1970, as process numbers are given anew."""

    name: str
    process: int
    began: float


@dataclass
class _Restarts:
    """How often a server ended soon after its start, and when it is started next."""

    count: int = 0
    due: float | None = None
    started: float = field(default_factory=time.monotonic)


@dataclass
class Supervisor:
    """told: where each restart is said."""

    servers: Servers
    told: Callable[[str], None]
    _restarts: dict[str, _Restarts] = field(default_factory=dict)

    def watch(self) -> None:
        """Until it is interrupted."""
        while True:
            try:
                self.look()
            except OSError as error:  # no file or process can be made now: look again, and end no server for it
                self.told(f"what ended cannot be started again now: {error.strerror}")
            time.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Start every server again that ended and has waited for its turn."""
        for server in list(self.servers.running):
            if (code := server.process.poll()) is not None:
                self._start_again(server, code)

    def _start_again(self, server: Server, code: int) -> None:
        now = time.monotonic()
        restarts = self._restarts.setdefault(server.name, _Restarts(started=0.0))
        if restarts.due is None:
            restarts.count = 0 if now - restarts.started > SETTLED_SECONDS else restarts.count
            wait = 0.0 if restarts.count == 0 else min(2.0 ** (restarts.count - 1), LONGEST_WAIT_SECONDS)
            restarts.due = now + wait
            self.told(
                f"{server.name} ended with {exit_in_words(code)} and is started again"
                + (f" in {wait:.0f} s" if wait else "")
                + f". The end of {server.log}:\n{last_words(server.log, 400)}"
            )
        if now < restarts.due:
            return
        if server.name != CODE_SERVER:
            end_family(server.process.pid)
        self.servers.start_again(server)
        restarts.count, restarts.due, restarts.started = restarts.count + 1, None, now
        self.told(f"{server.name} was started again (start {restarts.count + 1})")


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Within the block no other process can be in it for this folder, on this machine; a killed one leaves no trace.

    Raises StillRunning: another one is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.seek(0)
            raise StillRunning(
                f"`mlops up` or `mlops demo` already runs on {folder} (process {held.read().strip() or 'unknown'}). Two "
                "daemons on one home would launch everything twice. End that one with Ctrl-C, or name another home."
            ) from None
        held.truncate(0)
        held.write(str(os.getpid()))
        held.flush()
        yield


def remember(servers: Sequence[Server], path: Path) -> None:
    """Write down which processes run, for the case that this one is killed and cannot end them."""
    found = []
    for server in servers:
        with suppress(psutil.NoSuchProcess):  # it ended meanwhile
            began = psutil.Process(server.process.pid).create_time()
            found.append(LeftBehind(server.name, server.process.pid, began))
    Folder(path.parent).put(path.name, msgspec.json.encode(found))


def end_what_was_left(path: Path, told: Callable[[str], None]) -> None:
    """End the servers that an `mlops up` left running when it was killed; runs that are under way carry on."""
    if not path.exists():
        return
    for left in msgspec.json.decode(path.read_bytes(), type=list[LeftBehind]):
        try:
            process = psutil.Process(left.process)
            is_same = abs(process.create_time() - left.began) < 2
        except psutil.NoSuchProcess:
            is_same = False
        if left.name != CODE_SERVER:
            end_family(left.process)
        if is_same:
            told(f"ending {left.name} (process {left.process}), which an `mlops up` that was killed left running")
            with suppress(psutil.NoSuchProcess):  # it ended meanwhile
                process.kill()
                process.wait(10)
    path.unlink()
