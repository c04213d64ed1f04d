"""Where an offline store keeps its files: a local folder or a bucket on S3, behind the same few calls.

A place replaces a file whole: a reader sees the old file or the new one, and a writer that was killed leaves the old.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

from mlops_assets.errors import DeclarationError, StoreError
from mlops_assets.stores.files import replacing, write_bytes

if TYPE_CHECKING:
    from obstore.store import S3Store

# an endpoint that is down is reported within seconds; both clients would go on trying for minutes
_TRIES, _SECONDS = 3, 10


class Place(Protocol):
    """Names are relative, with slashes. A stamp changes whenever the file was replaced."""

    def address(self, name: str) -> str: ...

    @property
    def options(self) -> dict[str, int] | None: ...

    def names(self, folder: str) -> list[str]: ...

    def stamp(self, name: str) -> str | None: ...

    def read(self, name: str) -> bytes | None: ...

    def write(self, name: str, content: bytes) -> None: ...

    @contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """A path of the local machine to write to; when the block ends well, it becomes the file of that name."""
        ...


def place_at(url: str | Path) -> Place:
    """Raises DeclarationError: neither a path nor an address on S3."""
    scheme, separator, rest = str(url).partition("://")
    if not separator:
        return Folder(Path(url))
    if scheme == "file":
        return Folder(Path(rest))
    if scheme != "s3":
        raise DeclarationError(f"{url!r} is no place for an offline store. Give a path, or s3://bucket/folder.")
    return Bucket(str(url).rstrip("/"))


@dataclass(frozen=True)
class Folder:
    root: Path

    def address(self, name: str) -> str:
        return str(self.root / name)

    @property
    def options(self) -> None:
        return None

    def names(self, folder: str) -> list[str]:
        return sorted(path.name for path in (self.root / folder).glob("*") if not path.name.startswith("."))

    def stamp(self, name: str) -> str | None:
        try:
            found = (self.root / name).stat()
        except FileNotFoundError:
            return None
        return f"{found.st_size}-{found.st_mtime_ns}"

    def read(self, name: str) -> bytes | None:
        path = self.root / name
        return path.read_bytes() if path.exists() else None

    def write(self, name: str, content: bytes) -> None:
        write_bytes(self.root / name, content)

    @contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        with replacing(self.root / name) as half:
            yield half


@dataclass(frozen=True)
class Bucket:
    """`s3://bucket/folder`; credentials, region and endpoint come from the AWS_ variables, for every engine alike.

    One object is put whole or not at all, also when it is sent in parts."""

    url: str

    def address(self, name: str) -> str:
        return f"{self.url}/{name}"

    @property
    def options(self) -> dict[str, int]:
        return {"max_retries": _TRIES, "retry_timeout_ms": 1_000 * _SECONDS}

    def names(self, folder: str) -> list[str]:
        with self._reachable() as store:
            listed = store.list_with_delimiter(f"{folder}/")["objects"]
        return sorted(item["path"].rsplit("/", 1)[-1] for item in listed)

    def stamp(self, name: str) -> str | None:
        try:
            with self._reachable() as store:
                return str(store.head(name)["e_tag"])
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes | None:
        try:
            with self._reachable() as store:
                return bytes(store.get(name).bytes())
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        with self._reachable() as store:
            store.put(name, content)

    @contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        with TemporaryDirectory(prefix="offline-store-") as folder:
            half = Path(folder) / "half.parquet"
            yield half
            with self._reachable() as store:
                store.put(name, half)

    @contextmanager
    def _reachable(self) -> Iterator["S3Store"]:
        from obstore.exceptions import BaseError
        from obstore.store import S3Store

        store = S3Store.from_url(
            self.url,
            retry_config={"max_retries": _TRIES, "retry_timeout": timedelta(seconds=_SECONDS)},
            client_options={"allow_http": True, "connect_timeout": timedelta(seconds=_SECONDS)},
        )
        try:
            yield store
        except (BaseError, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise StoreError(
                f"{self.url} cannot be used: {_first_line(error)}. What was stored there before is untouched. Check "
                "AWS_ENDPOINT_URL, the credentials and that the bucket exists, then run it again."
            ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:300]
