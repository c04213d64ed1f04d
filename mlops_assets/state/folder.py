"""Objects in a folder: files that are synced to disk and moved into place, so that a reader sees all of one or none."""

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

_ATTEMPTS = 100  # to make a folder that others remove, each time in the same moment
_HALF = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.part")  # as `_half_of` names it
_HALF_SECONDS = 86_400.0
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


@dataclass(frozen=True)
class Folder:
    """Objects as files below one folder, which is made with the first of them."""

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
        """Folders that it leaves empty go as well, as a bucket has none: there would be one more with every day."""
        path = self.path(name)
        with as_store_error(path, "deleted"), suppress(*_ABSENT):
            path.unlink()
            with suppress(OSError):  # until one that holds something
                for folder in path.parents:
                    if folder == self.root:
                        break
                    folder.rmdir()

    def sweep(self) -> None:
        with as_store_error(self.root, "swept"):
            for folder, _, names in os.walk(self.root):
                for half in (Path(folder, name) for name in names if _HALF.fullmatch(name)):
                    with suppress(FileNotFoundError):  # its writer has just ended, or another process swept it
                        if half.stat().st_mtime < time.time() - _HALF_SECONDS:
                            half.unlink()

    def stamp(self, name: str) -> str | None:
        with as_store_error(self.path(name), "read"):
            try:
                found = self.path(name).stat()
            except _ABSENT:
                return None
            if stat.S_ISDIR(found.st_mode):
                return None
            # two files of one size, written within one tick of the clock, differ in their number
            return f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}"

    def _folder(self, folder: str) -> Path:
        return self.path(folder) if folder else self.root


def _names_below(root: Path, folder: str, after: str = "") -> Iterator[str]:
    """In no order. Folders that hold only names up to `after` are not opened."""
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
    """Create the file, so that nobody removes its folder as empty; somebody may be doing so at this very moment."""
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            _make(half.parent)
            half.touch()
            return
        # it exists: for `mkdir`, and not a moment later for whoever looked what it is
        except (FileNotFoundError, FileExistsError):
            if not attempts_left:
                raise


def _make(folder: Path) -> None:
    """Make the folder, so that it survives a machine that is switched off."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


def _sync_folder_of(path: Path) -> None:
    with suppress(FileNotFoundError):  # what was written was deleted, and its folder with it
        _sync(path.parent)


def _sync(path: Path) -> None:
    """The content of a file, or the names in a folder, survive a machine that is switched off."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def as_store_error(path: Path, verb: str) -> Iterator[None]:
    """What the system says of the path, as a StoreError. verb: what could not be done to it, as in "written"."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path} could not be {verb}: {error.strerror or error}. The previous content is unchanged. Free some space or "
            "grant access, then run it again."
        ) from error
