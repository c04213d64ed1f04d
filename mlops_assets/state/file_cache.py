"""A cache of a bucket's files on this machine, by their SHA-256, so that each is fetched once.

The checksum of a cached file is compared before it is used, so several processes may share the folder without trusting it.
Where the folder cannot be used, files are fetched each time.
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
_HALF_SECONDS = 3_600  # an incomplete file that is older than this was left by a killed process
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileCache:
    """most_bytes: the limit of the folder; the least recently used files are removed first."""

    folder: Path
    most_bytes: int = MOST_BYTES

    def get(self, sha256: str) -> bytes | None:
        """None where it is not cached; a damaged file is removed."""
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

    def put(self, sha256: str, content: bytes) -> None:
        if len(content) > self.most_bytes:
            return
        try:
            Folder(self.folder).put(sha256, content)
            _mark_as_used(self.folder / sha256)
            self._remove_oldest()
        except (StoreError, OSError) as error:
            _log.warning("the cache of bundles cannot be used, so they are fetched each time: %s", error)

    def _remove_oldest(self) -> None:
        files = sorted(_files(self.folder))
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= self.most_bytes:
                break
            Path(path).unlink(missing_ok=True)
            total -= size


def _files(folder: Path) -> Iterator[tuple[int, int, str]]:
    """(nanoseconds of its last use, bytes, path) of each file, and of each incomplete one that a killed process left."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # another process removed it
                status = entry.stat()
                if not entry.name.startswith(".") or status.st_mtime < time.time() - _HALF_SECONDS:
                    yield status.st_mtime_ns, status.st_size, entry.path


def _mark_as_used(path: Path) -> None:
    """The file system's own timestamps have a resolution of some milliseconds, too coarse for an order."""
    now = time.time_ns()
    with suppress(OSError):
        os.utime(path, ns=(now, now))
