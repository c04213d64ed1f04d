"""Files of a bucket kept on this machine by their SHA-256, so that each is fetched once.

A kept file is believed only after its checksum was compared, so several processes may share the folder and none has to
trust it. Where the folder cannot be used, everything is fetched each time.
"""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlops_assets.errors import StoreError
from mlops_assets.state.manifest import checksum
from mlops_assets.state.objects import Folder

MOST_BYTES = 2_000_000_000
_HALF_SECONDS = 3_600  # a file that is older than this and still half was left by a killed process
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileCache:
    """most_bytes: what the folder holds at most; files that were not used for longest go first."""

    folder: Path
    most_bytes: int = MOST_BYTES

    def get(self, sha256: str) -> bytes | None:
        """None where it is not kept, or was damaged and is thrown away."""
        path = self.folder / sha256
        try:
            content = path.read_bytes()
            if checksum(content) != sha256:
                path.unlink()
                return None
        except OSError:
            return None
        _mark_as_used(path)
        return content

    def keep(self, sha256: str, content: bytes) -> None:
        if len(content) > self.most_bytes:
            return
        try:
            Folder(self.folder).put(sha256, content)
            _mark_as_used(self.folder / sha256)
            self._drop_oldest()
        except (StoreError, OSError) as error:
            _log.warning("the cache of bundles cannot be used, so they are fetched each time: %s", error)

    def _drop_oldest(self) -> None:
        files = sorted(_files(self.folder))
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= self.most_bytes:
                break
            Path(path).unlink(missing_ok=True)
            total -= size


def _files(folder: Path) -> Iterator[tuple[int, int, str]]:
    """(nanoseconds of its last use, bytes, path) of each, and of each half that a killed process left."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # another process dropped it
                found = entry.stat()
                if not entry.name.startswith(".") or found.st_mtime < time.time() - _HALF_SECONDS:
                    yield found.st_mtime_ns, found.st_size, entry.path


def _mark_as_used(path: Path) -> None:
    """The system's own time of a write is some milliseconds coarse, and would tell no order."""
    now = time.time_ns()
    with suppress(OSError):
        os.utime(path, ns=(now, now))
