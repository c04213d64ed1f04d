"""Counters that several worker processes share a view of: each adds to numbers in a file of its own, anybody sums.

<folder>/<pid>-<token>.slots    64-bit floats, mapped into memory: adding costs no system call, and what was added survives a kill
<folder>/<pid>-<token>.names    one JSON line per slot: which family and labels it belongs to
"""

import logging
import mmap
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

SLOTS = 16_384  # 128 KiB a worker, reserved: a page that a full disk cannot hold would kill the process
SUFFIX = ".slots"

_log = logging.getLogger(__name__)
Key = tuple[str, ...]  # family, then the values of its labels


class Slots:
    """Numbers of this process. Where the disk has no place for them, it answers all the same and nobody reads them."""

    def __init__(self, folder: Path) -> None:
        path = folder / f"{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with path.open("w+b") as file:
                os.posix_fallocate(file.fileno(), 0, SLOTS * 8)
                self._map = mmap.mmap(file.fileno(), SLOTS * 8)
        except OSError as error:
            _log.warning("metrics of this process are not shown: %s", error)
            path.unlink(missing_ok=True)
            self._map = mmap.mmap(-1, SLOTS * 8)
        # `numbers[slot] += x` is a load, an addition and a store, between which CPython with its lock (up to 3.13)
        # changes no thread: that only happens at calls and at backward jumps
        self.numbers = memoryview(self._map).cast("d")
        self._names = path.with_suffix(".names")
        self._of_key: dict[Key, int] = {}
        self._used = 0
        self._lock = threading.Lock()

    def slots(self, key: Key, count: int = 1) -> int:
        """The first of `count` numbers of this key. The last ones take what finds no room, and are never read."""
        with self._lock:
            found = self._of_key.get(key)
            if found is None:
                found = self._of_key[key] = self._take(key, count)
            return found

    def _take(self, key: Key, count: int) -> int:
        first = self._used
        if first + count >= SLOTS:
            return SLOTS - count
        try:
            with self._names.open("ab") as file:
                file.write(msgspec.json.encode((first, count, key)) + b"\n")
        except OSError:
            return SLOTS - count  # a disk without room for a name is no reason to fail a request
        self._used += count
        return first

    def close(self) -> None:
        self.numbers.release()
        self._map.close()


def read_slots(folder: Path) -> Iterator[tuple[int, Key, list[float]]]:
    """Process, key and numbers of every worker that ever wrote here; of one that ended, what it last wrote."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        pid = int(path.stem.partition("-")[0])
        content = np.frombuffer(path.read_bytes(), np.float64)
        names = path.with_suffix(".names")
        lines = names.read_bytes() if names.exists() else b""
        for line in lines[: lines.rfind(b"\n") + 1].splitlines():
            first, count, key = msgspec.json.decode(line, type=tuple[int, int, Key])
            yield pid, key, content[first : first + count].tolist()
