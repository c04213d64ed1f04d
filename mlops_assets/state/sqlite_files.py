"""SQLite files opened for reading: nothing is created or changed, so a read-only mount or another user's folder is enough.

A file in WAL mode needs a `-shm` file beside it. Where there is none and none can be created, no process has the file open, and
it is complete: it is then opened as immutable, and read again if it changed meanwhile.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

ATTEMPTS = 100  # an attempt is as short as one query, so a writer would have to interrupt each of them
PAUSE_SECONDS = 0.01
_PRIMARY = 0xFF  # of an extended error code
_CANNOT_WRITE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
_State = tuple[int, int, int, bool]


class FileChanged(sqlite3.OperationalError):
    """A writer appeared or left during the read, with its `-wal` and `-shm` files; the next attempt finds a consistent file.

    A reader without the right to write gets this error in every attempt while a writer stays, so attempts are limited."""


@dataclass(frozen=True)
class Reader:
    """A read-only connection. frozen: the state of the file when it was opened as immutable; None where SQLite itself notices
    writers."""

    connection: sqlite3.Connection
    path: Path
    frozen: _State | None

    @property
    def is_current(self) -> bool:
        return self.frozen is None or self.frozen == _state(self.path)

    def has_table(self, name: str) -> bool:
        """False until another process has created it."""
        query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        return self.connection.execute(query, (name,)).fetchone() is not None


def open_to_read(path: Path, timeout_seconds: float, *, of_one_thread: bool = True) -> Reader:
    """Raises FileChanged; other sqlite3.Error: the file does not exist or cannot be read."""

    def connect(options: str) -> sqlite3.Connection:
        uri = f"{path.absolute().as_uri()}?{options}"
        return sqlite3.connect(uri, uri=True, timeout=timeout_seconds, check_same_thread=of_one_thread)

    state = _state(path)
    connection = connect("mode=ro")
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        if not cannot_write(error):
            raise
        is_in_use = state[-1]
        if is_in_use:
            raise FileChanged(str(error)) from error
        return Reader(connect("immutable=1"), path, state)
    except BaseException:
        connection.close()
        raise
    return Reader(connection, path, None)


def cannot_write(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY in _CANNOT_WRITE


def _state(path: Path) -> _State:
    """Inode, size and time of the file, and whether a writer's log has content. Raises OSError."""
    log = path.with_name(f"{path.name}-wal")
    try:
        has_log = log.stat().st_size > 0
    except FileNotFoundError:
        has_log = False
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, has_log
