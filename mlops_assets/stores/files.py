"""Atomic files: a reader sees the old content or the new, never half of it; a killed writer leaves the old."""

import os
from collections.abc import Callable
from pathlib import Path


def replace_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a neighbour of `path`, then move it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(half)
        with half.open("rb") as handle:
            os.fsync(handle.fileno())
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    replace_atomically(path, lambda half: half.write_bytes(content))
