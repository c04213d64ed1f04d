"""The files that match a path or glob, on disk or on S3, and their bytes."""

from __future__ import annotations

import io
import os
import stat
from datetime import timedelta
from fnmatch import fnmatchcase
from glob import glob, has_magic
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mlops_assets.addresses import reason
from mlops_assets.errors import SourceError

if TYPE_CHECKING:
    from obstore.store import S3Store

_TRIES, _SECONDS = 3, 10
_SHOWN = 5


def find_files(pattern: str) -> dict[str, str]:
    """The matching files, sorted by name, each with a text that changes with its content. Raises SourceError: S3 cannot be
    reached."""
    if not pattern.startswith("s3://"):
        is_one = Path(pattern).is_file()  # [1] in its name is no pattern
        matches = [pattern] if is_one else glob(pattern, recursive=True)  # noqa: PTH207  (Path.glob takes no absolute patterns)
        statuses = ((path, _status(path)) for path in sorted(matches))
        return {path: f"{status.st_size} {status.st_mtime_ns}" for path, status in statuses if status is not None}
    from obstore.exceptions import BaseError

    bucket, _, key = pattern.removeprefix("s3://").partition("/")
    folder = _folder_before_magic(key)
    try:
        listed = [item for page in _bucket(bucket).list(folder or None) for item in page]
    except (BaseError, OSError) as error:
        raise _unreachable(pattern, error) from None
    matching = sorted((item["path"], item) for item in listed if fnmatchcase(item["path"], key))
    return {f"s3://{bucket}/{path}": f"{item['size']} {item['e_tag']}" for path, item in matching}


def _status(path: str) -> os.stat_result | None:
    """None where this is not a file, or no longer."""
    try:
        status = Path(path).stat()
    except PermissionError:
        raise
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def open_bytes(path: str, first: int | None = None) -> IO[bytes]:
    """The file's content. first: the number of bytes to fetch from S3. Raises SourceError: S3 cannot be reached."""
    if not path.startswith("s3://"):
        return Path(path).open("rb")
    from obstore.exceptions import BaseError

    bucket, _, key = path.removeprefix("s3://").partition("/")
    try:
        store = _bucket(bucket)
        if first is not None:
            size = min(first, store.head(key)["size"])
            return io.BytesIO(bytes(store.get_range(key, start=0, end=size)) if size else b"")
        return io.BytesIO(bytes(store.get(key).bytes()))
    except (BaseError, OSError) as error:
        raise _unreachable(path, error) from None


def what_is_there(path: str) -> str:
    """The kind of thing that is at a path instead of a file; "" for nothing."""
    place = Path(path)
    if place.is_symlink() and not place.exists():
        return "a broken link"
    kinds = (("a folder", place.is_dir), ("a pipe", place.is_fifo), ("a socket", place.is_socket))
    return next((name for name, is_it in kinds if is_it()), "a device" if place.exists() else "")


def where_it_looked(pattern: str) -> str:
    """A sentence with the whole path of a pattern, and the content of its nearest existing folder. Raises SourceError: S3 cannot be
    reached."""
    if pattern.startswith("s3://"):
        return _nothing_matches(pattern, *_nearest_on_s3(pattern))
    whole = Path(pattern).absolute()
    folder = next(parent for parent in whole.parents if not has_magic(str(parent)) and os.access(parent, os.R_OK))
    content = sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())
    return _nothing_matches(str(whole), str(folder), content)


def _nothing_matches(pattern: str, folder: str, content: list[str]) -> str:
    more = f" and {len(content) - _SHOWN} more" if len(content) > _SHOWN else ""
    return f"no file matches {pattern}; {folder} contains {', '.join(content[:_SHOWN]) or 'nothing'}{more}"


def _nearest_on_s3(pattern: str) -> tuple[str, list[str]]:
    """The nearest folder of the pattern that is not empty, and the names in it."""
    from obstore.exceptions import BaseError

    bucket, _, key = pattern.removeprefix("s3://").partition("/")
    folder = _folder_before_magic(key)
    try:
        while True:
            listed = _bucket(bucket).list_with_delimiter(folder or None)
            content = [f"{path}/" for path in listed["common_prefixes"]] + [item["path"] for item in listed["objects"]]
            if content or not folder:
                break
            folder = folder.rpartition("/")[0]
    except (BaseError, OSError) as error:
        raise _unreachable(pattern, error) from None
    before = f"{folder}/" if folder else ""
    return f"s3://{bucket}/{folder}".rstrip("/"), sorted(path.removeprefix(before) for path in content)


def _bucket(name: str) -> S3Store:
    from obstore.store import S3Store

    return S3Store(
        name,
        retry_config={"max_retries": _TRIES, "retry_timeout": timedelta(seconds=_SECONDS)},
        client_options={"allow_http": True, "connect_timeout": timedelta(seconds=_SECONDS)},
    )


def _folder_before_magic(key: str) -> str:
    parts = key.split("/")
    fixed = next((number for number, part in enumerate(parts) if has_magic(part)), len(parts) - 1)
    return "/".join(parts[:fixed])


def _unreachable(path: str, error: Exception) -> SourceError:
    return SourceError(
        f"{path} cannot be read: {reason(error, lines=1)}. Check AWS_ENDPOINT_URL, the credentials and that the "
        "bucket exists, then run it again."
    )
