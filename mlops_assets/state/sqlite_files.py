"""SQLite files opened to be read: nothing is made or changed, so a read-only mount or another user's folder will do.

A file in WAL mode needs a `-shm` file beside it. Where there is none and none can be made, nobody has the file open, and it is
whole by itself: it is then read as one that does not change, and read again if it did change meanwhile.
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
    """A writer came or went during the read, and its `-wal` and `-shm` files with it; the next attempt finds a consistent file.
    A reader that may not write where a writer stays is told so each time, so nobody looks for ever."""


@dataclass(frozen=True)
class Reader:
    """A connection that only reads. frozen: what the file was like when it was taken for one that does not change; None
    where SQLite itself watches for writers."""

    connection: sqlite3.Connection
    path: Path
    frozen: _State | None

    @property
    def is_current(self) -> bool:
        return self.frozen is None or self.frozen == _state(self.path)

    def has_table(self, name: str) -> bool:
        """False while another process is about to make it."""
        query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        return self.connection.execute(query, (name,)).fetchone() is not None


def open_to_read(path: Path, timeout_seconds: float, *, of_one_thread: bool = True) -> Reader:
    """Raises FileChanged; other sqlite3.Error: there is no such file, or it cannot be read."""

    def connected(how: str) -> sqlite3.Connection:
        uri = f"{path.absolute().as_uri()}?{how}"
        return sqlite3.connect(uri, uri=True, timeout=timeout_seconds, check_same_thread=of_one_thread)

    state = _state(path)
    connection = connected("mode=ro")
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        if not cannot_write(error):
            raise
        is_in_use = state[-1]
        if is_in_use:
            raise FileChanged(str(error)) from error
        return Reader(connected("immutable=1"), path, state)
    except BaseException:
        connection.close()
        raise
    return Reader(connection, path, None)


def cannot_write(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY in _CANNOT_WRITE


def _state(path: Path) -> _State:
    """Of the file, and whether a writer has something for it. Raises OSError."""
    log = path.with_name(f"{path.name}-wal")
    try:
        has_log = log.stat().st_size > 0
    except FileNotFoundError:
        has_log = False
    held = path.stat()
    return held.st_ino, held.st_size, held.st_mtime_ns, has_log
