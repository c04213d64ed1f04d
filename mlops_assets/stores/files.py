"""Atomic files: a reader sees the old content or the new, never half of it; a killed writer leaves the old."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A neighbour of `path` to write to; when the block ends well, it is synced and moved into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # two writers, of two processes or of two threads, never share a half
    half = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")
    try:
        yield half
        with half.open("rb") as handle:
            os.fsync(handle.fileno())
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def replace_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a neighbour of `path`, then move it into place."""
    with replacing(path) as half:
        write(half)


def write_bytes(path: Path, content: bytes) -> None:
    replace_atomically(path, lambda half: half.write_bytes(content))
