"""Objects: named bytes in a folder or a bucket, behind the same few calls.

An object is replaced whole or created once: a reader sees the old bytes or the new ones, and a process that is killed leaves
the old ones. What a call has written is on disk, or acknowledged by the bucket, when it returns.
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
_ALMOST_URLS = tuple(f"{scheme}:" for scheme in ("file", *BUCKET_SCHEMES))  # s3:/bucket is no folder of that name


class Objects(Protocol):
    """Names are relative paths with slashes. Every method raises StoreError: the folder or bucket cannot be used now."""

    @property
    def url(self) -> str: ...

    def get(self, name: str) -> bytes | None:
        """The whole object; None where there is none."""
        ...

    def open(self, name: str) -> BinaryIO | None:
        """The object as it is now, for whoever reads parts of it: it stays so, whatever replaces it. None where there is none."""
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
    if scheme in BUCKET_SCHEMES and is_name(rest.rstrip("/")) and "#" not in rest:
        return Bucket(text.rstrip("/"))
    if separator or not text or text.startswith(_ALMOST_URLS):
        raise DeclarationError(
            f"{shown(text)!r} names no place for objects. Give a path, file:///folder, s3://bucket/folder, gs://bucket/folder or "
            "az://container/folder."
        )
    return Folder(Path(text).absolute())
