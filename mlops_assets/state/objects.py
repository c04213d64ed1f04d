"""Objects: named bytes in a folder or a bucket, with the same few methods.

An object is replaced whole or created once: a reader sees the old bytes or the new ones, and a process that is killed leaves
the old ones. When a method returns, its write is on disk or acknowledged by the bucket.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote

from mlops_assets.addresses import HIDDEN, holds_login, shown
from mlops_assets.errors import DeclarationError
from mlops_assets.state.bucket import Bucket
from mlops_assets.state.folder import Folder
from mlops_assets.state.object_names import is_name

__all__ = ["Bucket", "Folder", "Objects", "objects_at"]

BUCKET_SCHEMES = ("s3", "gs", "az")
_ALMOST_URLS = tuple(f"{scheme}:" for scheme in ("file", *BUCKET_SCHEMES))  # s3:/bucket is a typing error, not a folder


class Objects(Protocol):
    """Names are relative paths with slashes. Every method raises StoreError: the folder or bucket cannot be used now."""

    @property
    def url(self) -> str: ...

    def get(self, name: str) -> bytes | None:
        """The whole object; None where there is none."""
        ...

    def open(self, name: str) -> BinaryIO | None:
        """A snapshot of the object for reading parts of it; later replacements do not change it. None where there is none."""
        ...

    def put(self, name: str, content: bytes) -> None:
        """Write the object, or replace it."""
        ...

    def create(self, name: str, content: bytes) -> bool:
        """Write the object unless it exists; of several simultaneous writers exactly one gets True.

        The content must differ between writers, so that a writer whose response was lost can recognise its own."""
        ...

    def names(self, folder: str, after: str = "") -> list[str]:
        """Sorted names of every object below the folder ("": of all), only those after `after`."""
        ...

    def folders(self, folder: str) -> list[str]:
        """Sorted names of the folders directly in this one that contain objects."""
        ...

    def delete(self, name: str) -> None:
        """Delete the object; nothing happens where there is none."""
        ...

    def sweep(self) -> None:
        """Remove incomplete files that killed writers left, once they are a day old."""
        ...

    def stamp(self, name: str) -> str | None:
        """A text that changes whenever the object is replaced; None where there is none."""
        ...

    def replacing(self, name: str) -> AbstractContextManager[Path]:
        """A local path to write to. If the block ends without an error, the file becomes the object."""
        ...

    def address(self, name: str) -> str:
        """The object's address for other programs, such as Polars and Spark."""
        ...


def objects_at(url: str | Path) -> Objects:
    """The folder or bucket at a path or URL. Raises DeclarationError: it is neither, or contains a key, which would be shown."""
    text = str(url)
    scheme, separator, rest = text.partition("://")
    if holds_login(text) or shown(text).endswith(HIDDEN):
        raise DeclarationError(
            f"the address {shown(text)} contains a key or a password. Leave it out: credentials are read from the AWS_, GOOGLE_ "
            "and AZURE_ variables."
        )
    if scheme == "file" and rest.startswith("/"):
        return Folder(Path(unquote(rest)))
    if scheme in BUCKET_SCHEMES and is_name(rest.rstrip("/")) and "#" not in rest:
        return Bucket(text.rstrip("/"))
    if separator or not text or text.startswith(_ALMOST_URLS):
        raise DeclarationError(
            f"{shown(text)!r} is not the address of a folder or bucket. Give a path, file:///folder, s3://bucket/folder, "
            "gs://bucket/folder or az://container/folder."
        )
    return Folder(Path(text).absolute())
