"""Which files a path or glob means, on disk or on S3, and their bytes."""

from __future__ import annotations

from datetime import timedelta
from fnmatch import fnmatchcase
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.errors import SourceError

if TYPE_CHECKING:
    from obstore.store import S3Store

_TRIES, _SECONDS = 3, 10


def find_files(pattern: str) -> list[str]:
    """In the order of their names. Raises SourceError: S3 cannot be reached."""
    if not pattern.startswith("s3://"):
        found = glob(pattern, recursive=True)  # noqa: PTH207  (absolute or relative, with ** or not: Path.glob is not all)
        return sorted(path for path in found if Path(path).is_file())
    bucket, _, key = pattern.removeprefix("s3://").partition("/")
    folder = _folder_before_magic(key)
    try:
        listed = [item["path"] for page in _bucket(bucket).list(folder or None) for item in page]
    except Exception as error:
        raise _unreachable(pattern, error) from error
    return [f"s3://{bucket}/{path}" for path in sorted(listed) if fnmatchcase(path, key)]


def read_bytes(path: str) -> bytes:
    """Raises SourceError: S3 cannot be reached."""
    if not path.startswith("s3://"):
        return Path(path).read_bytes()
    bucket, _, key = path.removeprefix("s3://").partition("/")
    try:
        return bytes(_bucket(bucket).get(key).bytes())
    except Exception as error:
        raise _unreachable(path, error) from error


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
        f"{path} cannot be read: {str(error).splitlines()[0][:300]}. Check AWS_ENDPOINT_URL, the credentials and that the "
        "bucket exists, then run it again."
    )
