"""Reading SQLite files needs no right to write, and misses nothing that a writer has committed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlops_assets.state.online_backend import StoredValue
from mlops_assets.state.online_sqlite import SqliteBackend
from tests.servers.read_only import can_mount_read_only, with_read_only

read_only = pytest.mark.skipif(not can_mount_read_only(), reason="this system lets nobody mount a folder read-only")

# answers every line with the newest moment that the online store holds; the store is the same all the time, as in the API
READER = """
import json, sys
from pathlib import Path
from mlops_assets.state.online_sqlite import SqliteBackend
online = SqliteBackend(Path(sys.argv[1]) / "online.sqlite")
for line in sys.stdin:
    print(json.dumps(online.newest("p", "view")), flush=True)
"""
# commits a newer value and waits, with its files open
WRITER = """
import sys
from pathlib import Path
from mlops_assets.state.online_sqlite import SqliteBackend
from mlops_assets.state.online_backend import StoredValue
store = SqliteBackend(Path(sys.argv[1]) / "online.sqlite")
store.upsert("p", "view", {"key": StoredValue(30, 30, b"{}")})
print("committed", flush=True)
sys.stdin.read()
"""
MANY = """
import sys
from pathlib import Path
from mlops_assets.state.online_sqlite import SqliteBackend
from mlops_assets.state.online_backend import StoredValue
store = SqliteBackend(Path(sys.argv[1]) / "online.sqlite")
for event in range(2, 102):
    store.upsert("p", "view", {"key": StoredValue(event, event, b"{}")})
"""


def keep(home: Path, event: int) -> None:
    """A value of this time, by a writer that goes away."""
    with closing(SqliteBackend(home / "online.sqlite")) as store:
        store.upsert("p", "view", {"key": StoredValue(event, event, b"{}")})


@dataclass
class ReadOnlyReader:
    """A process to which the home is read-only."""

    process: "subprocess.Popen[str]"

    def answer(self) -> int | None:
        """The newest moment of the online store."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("now\n")
        self.process.stdin.flush()
        newest: int | None = json.loads(self.process.stdout.readline())
        return newest


@contextmanager
def a_reader(home: Path) -> Iterator[ReadOnlyReader]:
    command = with_read_only(home, [sys.executable, "-c", READER, str(home)])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield ReadOnlyReader(process)
        finally:
            process.kill()


@read_only
def test_a_home_that_is_read_only_is_read_beside_writers_that_come_go_stay_and_are_killed(tmp_path: Path):
    with a_reader(tmp_path) as reader:
        before = reader.answer()
        keep(tmp_path, 10)
        first = reader.answer()
        keep(tmp_path, 20)
        second = reader.answer()
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            while_written = reader.answer()
            os.kill(writer.pid, signal.SIGKILL)
        assert (tmp_path / "online.sqlite-wal").stat().st_size > 0
        after_the_kill = reader.answer()

    assert (before, first, second) == (None, 10, 20)
    assert while_written == after_the_kill == 30


@read_only
def test_a_reader_without_rights_sees_whole_states_only_while_somebody_writes(tmp_path: Path):
    answers = []
    with a_reader(tmp_path) as reader:
        for event in range(1, 41):
            keep(tmp_path, event)  # opens, commits, folds its log into the file and goes
            answers += [reader.answer(), reader.answer()]

    assert answers == [event for event in range(1, 41) for _ in range(2)]


@read_only
def test_a_reader_without_rights_is_never_wrong_however_its_moment_falls(tmp_path: Path):
    keep(tmp_path, 1)
    seen = []
    with a_reader(tmp_path) as reader, subprocess.Popen([sys.executable, "-c", MANY, str(tmp_path)]) as writer:
        while writer.poll() is None:
            seen.append(reader.answer())
        last = reader.answer()

    assert writer.returncode == 0
    assert seen == sorted(seen)
    assert last == 101


def test_reading_makes_no_folder_no_file_and_no_table(tmp_path: Path):
    store = SqliteBackend(tmp_path / "new" / "online.sqlite")
    empty = tmp_path / "empty.sqlite"
    empty.touch()  # as a writer leaves it for a moment

    assert (store.newest("p", "view"), store.fetch("p", [("view", "key")])) == (None, [None])
    assert SqliteBackend(empty).newest("p", "view") is None
    assert [path.name for path in tmp_path.iterdir()] == ["empty.sqlite"]
    assert empty.stat().st_size == 0
