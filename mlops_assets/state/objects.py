"""Objects: named bytes in a folder or a bucket, behind the same few calls.

An object is replaced whole or created once: a reader sees the old bytes or the new ones, and a process that is killed leaves
the old ones. What a call has written is on disk, or acknowledged by the bucket, when it returns.
"""

import os
import re
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from mlops_assets.addresses import HIDDEN, holds_login, reason, shown
from mlops_assets.errors import DeclarationError, StoreError

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

    Client = S3Store | GCSStore | AzureStore

BUCKET_SCHEMES = ("s3", "gs", "az")
# a bucket that does not answer is reported within seconds; the client's own default is three minutes
_RETRIES, _RETRY_SECONDS, _SILENT_SECONDS = 3, 10, 15
_ATTEMPTS = 100  # to make a folder that others remove, each time in the same moment
_LONGEST_TRANSFER = timedelta(hours=1)
_HALF = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.part")  # as `_half_of` names it
_HALF_SECONDS = 86_400.0
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
_ALMOST_URLS = tuple(f"{scheme}:" for scheme in ("file", *BUCKET_SCHEMES))  # s3:/bucket is no folder of that name
_CLIENT_VARIABLES = ("AWS_", "GOOGLE_", "AZURE_")


class Objects(Protocol):
    """Names are relative paths with slashes. Every method raises StoreError: the folder or bucket cannot be used now."""

    @property
    def url(self) -> str: ...

    def get(self, name: str) -> bytes | None:
        """The whole object; None where there is none."""
        ...

    def put(self, name: str, content: bytes) -> None:
        """Write the object, in place of one of that name."""
        ...

    def create(self, name: str, content: bytes) -> bool:
        """Write the object unless there is one of that name; of several writers at once exactly one is told True.

        The content has to differ between writers, so that a writer whose answer was lost can tell its own from another's."""
        ...

    def names(self, folder: str, after: str = "") -> list[str]:
        """Names of every object below the folder ("": of all), in order; those behind `after` only."""
        ...

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly in this one that hold objects, in order."""
        ...

    def delete(self, name: str) -> None:
        """Where there is no such object, nothing happens."""
        ...

    def sweep(self) -> None:
        """Remove what killed writers left half written, once nobody has written to it for a day."""
        ...

    def stamp(self, name: str) -> str | None:
        """Differs once the object was replaced; None where there is none."""
        ...

    def replacing(self, name: str) -> AbstractContextManager[Path]:
        """A path of this machine to write to. When the block ends well, the file becomes the object."""
        ...

    def address(self, name: str) -> str:
        """What other programs, such as Polars and Spark, call the object."""
        ...

    @property
    def options(self) -> dict[str, int] | None:
        """Storage options that Polars needs to read an address."""
        ...


def objects_at(url: str | Path) -> Objects:
    """The folder or bucket at a path or URL. Raises DeclarationError: it is neither, or holds a key, which would be shown."""
    text = str(url)
    scheme, separator, rest = text.partition("://")
    if holds_login(text) or shown(text).endswith(HIDDEN):
        raise DeclarationError(
            f"the address {shown(text)} holds a key or a password. Leave it out: credentials are read from the AWS_, GOOGLE_ "
            "and AZURE_ variables."
        )
    if scheme == "file" and rest.startswith("/"):
        return Folder(Path(unquote(rest)))
    if scheme in BUCKET_SCHEMES and _is_name(rest.rstrip("/")) and "#" not in rest:
        return Bucket(text.rstrip("/"))
    if separator or not text or text.startswith(_ALMOST_URLS):
        raise DeclarationError(
            f"{shown(text)!r} names no place for objects. Give a path, file:///folder, s3://bucket/folder, gs://bucket/folder or "
            "az://account/container/folder."
        )
    return Folder(Path(text).absolute())


@dataclass(frozen=True)
class Folder:
    """Objects as files below one folder, which is made with the first of them."""

    root: Path

    @property
    def url(self) -> str:
        return self.root.as_uri()

    @property
    def options(self) -> None:
        return None

    def address(self, name: str) -> str:
        return str(self.path(name))

    def path(self, name: str) -> Path:
        return self.root / _checked(name)

    def get(self, name: str) -> bytes | None:
        with _usable(self.path(name), "read"):
            try:
                return self.path(name).read_bytes()
            except _ABSENT:
                return None

    def put(self, name: str, content: bytes) -> None:
        with self.replacing(name) as half:
            half.write_bytes(content)

    def create(self, name: str, content: bytes) -> bool:
        path = self.path(name)
        with _usable(path, "written"), _half_of(path) as half:
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
        with _usable(path, "written"), _half_of(path) as half:
            yield half
            _sync(half)
            half.replace(path)
            _sync_folder_of(path)

    def names(self, folder: str, after: str = "") -> list[str]:
        with _usable(self._folder(folder), "read"):
            return sorted(_names_below(self.root, folder, after))

    def folders(self, folder: str) -> list[str]:
        path = self._folder(folder)
        with _usable(path, "read"):
            try:
                with os.scandir(path) as entries:
                    inside = [item.name for item in entries if item.is_dir() and not item.name.startswith(".")]
            except _ABSENT:
                return []
            return sorted(name for name in inside if any(_names_below(path, name)))

    def delete(self, name: str) -> None:
        """Folders that it leaves empty go as well, as a bucket has none: there would be one more with every day."""
        path = self.path(name)
        with _usable(path, "deleted"), suppress(*_ABSENT):
            path.unlink()
            with suppress(OSError):  # until one that holds something
                for folder in path.parents:
                    if folder == self.root:
                        break
                    folder.rmdir()

    def sweep(self) -> None:
        with _usable(self.root, "swept"):
            for folder, _, names in os.walk(self.root):
                for half in (Path(folder, name) for name in names if _HALF.fullmatch(name)):
                    with suppress(FileNotFoundError):  # its writer has just ended, or another process swept it
                        if half.stat().st_mtime < time.time() - _HALF_SECONDS:
                            half.unlink()

    def stamp(self, name: str) -> str | None:
        with _usable(self.path(name), "read"):
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


@dataclass(frozen=True)
class Bucket:
    """Objects below `s3://bucket/folder` and its like; credentials, region and endpoint come from the usual variables."""

    url: str

    @property
    def options(self) -> dict[str, int]:
        return {"max_retries": _RETRIES, "retry_timeout_ms": 1_000 * _RETRY_SECONDS}

    def address(self, name: str) -> str:
        return f"{self.url}/{_checked(name)}"

    def get(self, name: str) -> bytes | None:
        with self._client() as client:
            try:
                return bytes(client.get(_checked(name)).bytes())
            except FileNotFoundError as error:
                _raise_if_the_bucket_is_missing(error)
                return None

    def put(self, name: str, content: bytes) -> None:
        with self._client() as client:
            client.put(_checked(name), content)

    def create(self, name: str, content: bytes) -> bool:
        from obstore.exceptions import AlreadyExistsError, BaseError

        conflicts = 0
        with self._client() as client:
            while True:
                try:
                    client.put(_checked(name), content, mode="create")
                    return True
                except BaseError as error:
                    # an answer may be lost after the write; a repeated request then meets what the first one wrote
                    there = self.get(name)
                    if there is not None:
                        return there == content
                    # S3 also refuses while another write is under way, which may come to nothing
                    conflicts += 1
                    if not isinstance(error, AlreadyExistsError) or conflicts > _RETRIES:
                        raise

    @contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        with TemporaryDirectory(prefix="object-") as folder:
            half = Path(folder) / Path(_checked(name)).name
            with _usable(half, "written"):
                yield half
            with self._client() as client:
                client.put(_checked(name), half)

    def names(self, folder: str, after: str = "") -> list[str]:
        with self._client() as client:
            listed = client.list((folder and _checked(folder)) or None, offset=after or None).collect()
        return sorted(str(item["path"]) for item in listed if not _is_hidden(str(item["path"])))

    def folders(self, folder: str) -> list[str]:
        with self._client() as client:
            listed = client.list_with_delimiter(f"{_checked(folder)}/" if folder else None)
        names = (str(prefix).rstrip("/").rsplit("/", 1)[-1] for prefix in listed["common_prefixes"])
        return sorted(name for name in names if not _is_hidden(name))

    def delete(self, name: str) -> None:
        with self._client() as client:
            try:
                client.delete(_checked(name))
            except FileNotFoundError as error:
                _raise_if_the_bucket_is_missing(error)

    def sweep(self) -> None:
        """A bucket shows no object before it is whole, and drops parts of one by a rule of its own."""

    def stamp(self, name: str) -> str | None:
        with self._client() as client:
            try:
                return str(client.head(_checked(name))["e_tag"])
            except FileNotFoundError:
                self.get(name)  # the answer to `head` does not tell a missing bucket from a missing object
                return None

    @contextmanager
    def _client(self) -> Iterator["Client"]:
        from obstore.exceptions import BaseError

        variables = {name: value for name, value in os.environ.items() if name.startswith(_CLIENT_VARIABLES)}
        try:
            yield _client_of(self.url, frozenset(variables.items()))
        except (BaseError, OSError, ValueError) as error:  # no bucket can have some names
            raise StoreError(
                f"{self.url} cannot be used: {reason(error, lines=1)}. What was stored there before is untouched. Check the "
                "endpoint, the credentials and that the bucket exists, then run it again."
            ) from None


@cache
def _client_of(url: str, variables: frozenset[tuple[str, str]]) -> "Client":
    """One client for each URL, and for each set of variables, which it reads when it is made."""
    from obstore.store import from_url

    return from_url(  # type: ignore[return-value]
        url,
        retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)},
        client_options={
            "allow_http": True,
            "connect_timeout": timedelta(seconds=_RETRY_SECONDS),
            "read_timeout": timedelta(seconds=_SILENT_SECONDS),
            "timeout": _LONGEST_TRANSFER,
        },
    )


def _raise_if_the_bucket_is_missing(error: FileNotFoundError) -> None:
    """A missing bucket would otherwise look like one without objects."""
    if any(code in str(error) for code in ("NoSuchBucket", "ContainerNotFound")):
        raise error


def _checked(name: str) -> str:
    """Raises DeclarationError: the name would leave the folder, or hide in it."""
    if not _is_name(name):
        raise DeclarationError(f"{name!r} cannot be the name of an object. Use words between slashes, as in a/b.json.")
    return name


def _is_name(text: str) -> bool:
    return all(text.split("/")) and not _is_hidden(text) and "\\" not in text and text.isprintable()


def _is_hidden(name: str) -> bool:
    """As an object that is being written to a folder, which may have been copied to a bucket with the others."""
    return any(part.startswith(".") for part in name.split("/"))


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
    """From now on nobody takes its folder away as an empty one; somebody may have done so in this moment."""
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
    """The folder is there, and so it is after the machine was switched off."""
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
def _usable(path: Path, verb: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path} could not be {verb}: {error.strerror or error}. What was stored there before is untouched. Make room or "
            "give the right to it, then run it again."
        ) from error
