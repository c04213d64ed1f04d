"""Objects in a folder: files that are synced to disk and moved into place, so that readers see only complete ones."""

import os
import re
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mlops_assets.errors import StoreError
from mlops_assets.state.object_names import checked

_ATTEMPTS = 100  # to create a folder that other processes remove at the same time
_HALF = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.part")  # as `_half_of` names it
_HALF_SECONDS = 86_400.0
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


@dataclass(frozen=True)
class Folder:
    """Objects as files below one folder, which is created with the first of them."""

    root: Path

    @property
    def url(self) -> str:
        return self.root.as_uri()

    def address(self, name: str) -> str:
        return str(self.path(name))

    def path(self, name: str) -> Path:
        return self.root / checked(name)

    def get(self, name: str) -> bytes | None:
        with as_store_error(self.path(name), "read"):
            try:
                return self.path(name).read_bytes()
            except _ABSENT:
                return None

    def open(self, name: str) -> BinaryIO | None:
        with as_store_error(self.path(name), "read"):
            try:
                return self.path(name).open("rb")
            except _ABSENT:
                return None

    def put(self, name: str, content: bytes) -> None:
        with self.replacing(name) as half:
            half.write_bytes(content)

    def create(self, name: str, content: bytes) -> bool:
        path = self.path(name)
        with as_store_error(path, "written"), _half_of(path) as half:
            half.write_bytes(content)
            _sync(half)
            try:
                os.link(half, path)  # unlike a rename, it refuses to replace
            except FileExistsError:
                return False
            _sync_folder_of(path)
            return True

    @contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        path = self.path(name)
        with as_store_error(path, "written"), _half_of(path) as half:
            yield half
            _sync(half)
            half.replace(path)
            _sync_folder_of(path)

    def names(self, folder: str, after: str = "") -> list[str]:
        with as_store_error(self._folder(folder), "read"):
            return sorted(_names_below(self.root, folder, after))

    def folders(self, folder: str) -> list[str]:
        path = self._folder(folder)
        with as_store_error(path, "read"):
            try:
                with os.scandir(path) as entries:
                    inside = [item.name for item in entries if item.is_dir() and not item.name.startswith(".")]
            except _ABSENT:
                return []
            return sorted(name for name in inside if any(_names_below(path, name)))

    def delete(self, name: str) -> None:
        """Folders that become empty are removed as well; otherwise every day would leave one."""
        path = self.path(name)
        with as_store_error(path, "deleted"), suppress(*_ABSENT):
            path.unlink()
            with suppress(OSError):  # ends at the first folder that is not empty
                for folder in path.parents:
                    if folder == self.root:
                        break
                    folder.rmdir()

    def sweep(self) -> None:
        with as_store_error(self.root, "swept"):
            for folder, _, names in os.walk(self.root):
                for half in (Path(folder, name) for name in names if _HALF.fullmatch(name)):
                    with suppress(FileNotFoundError):  # its writer has just finished, or another process removed it
                        if half.stat().st_mtime < time.time() - _HALF_SECONDS:
                            half.unlink()

    def stamp(self, name: str) -> str | None:
        with as_store_error(self.path(name), "read"):
            try:
                status = self.path(name).stat()
            except _ABSENT:
                return None
            if stat.S_ISDIR(status.st_mode):
                return None
            # two files of equal size, written within one clock tick, differ in their inode
            return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"

    def _folder(self, folder: str) -> Path:
        return self.path(folder) if folder else self.root


def _names_below(root: Path, folder: str, after: str = "") -> Iterator[str]:
    """In no order. Folders whose names are all up to `after` are not opened."""
    try:
        entries = os.scandir(root / folder)
    except _ABSENT:
        return
    with entries:
        for item in entries:
            if item.name.startswith("."):
                continue
            name = f"{folder}/{item.name}" if folder else item.name
            if item.is_dir():
                if f"{name}/" >= after or after.startswith(f"{name}/"):
                    yield from _names_below(root, name, after)
            elif name > after:
                yield name


@contextmanager
def _half_of(path: Path) -> Iterator[Path]:
    """A new name beside `path`, hidden from listings and removed at the end; no two writers share one."""
    half = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
    _touch(half)
    try:
        yield half
    finally:
        half.unlink(missing_ok=True)


def _touch(half: Path) -> None:
    """Create the file, so that no process removes its folder as empty; one may be doing so right now."""
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            _create_folder(half.parent)
            half.touch()
            return
        # FileExistsError: the folder existed for `mkdir`, and was removed before `mkdir` checked its type
        except (FileNotFoundError, FileExistsError):
            if not attempts_left:
                raise


def _create_folder(folder: Path) -> None:
    """Create the folder, so that it survives a power failure."""
    if not folder.is_dir():
        _create_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync_folder_of(path: Path) -> None:
    with suppress(FileNotFoundError):  # the object was deleted already, and its folder with it
        _sync(path.parent)


def _sync(path: Path) -> None:
    """Let the content of a file, or the names in a folder, survive a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def as_store_error(path: Path, verb: str) -> Iterator[None]:
    """Turn the system's errors about the path into StoreErrors. verb: what could not be done, as in "written"."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path} could not be {verb}: {error.strerror or error}. The previous content is unchanged. Free some space or "
            "grant access, then run it again."
        ) from error
