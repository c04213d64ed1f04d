"""Copies a state from one folder or bucket to another, and verifies what it copied."""

import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mlops_assets.errors import DeclarationError, StoreError
from mlops_assets.state.clock import CLOCK
from mlops_assets.state.objects import Objects
from mlops_assets.state.spool import SUFFIX

LEDGER = "ledger"
# the ledger is last, so that everything it names has been copied before
FOLDERS = ("tables", "records", "bundles", "reports", "predictions", "shadow", "pinned", "labels", LEDGER)
SQLITE_FILES = ("online.sqlite",)
WORKERS = 8


@dataclass(frozen=True)
class Copied:
    """objects: number of objects in the source. written: those that were missing or different in the target. bytes: their size."""

    objects: int
    written: int
    bytes: int


def copy_state(
    source: Objects, target: Objects, report: Callable[[int, int], None] = lambda _done, _all: None
) -> Copied:
    """Copy every object of the state. Objects that are already the same in the target are skipped, so a copy can be resumed.

    The source may be in use meanwhile, and an interrupted copy is a complete state of an earlier time.
    report: called with the number of copied objects and of all objects.

    Raises DeclarationError: source and target are the same, the source has no state, or the target has another history.
    StoreError: an object could not be read or written, or the target does not return it unchanged."""
    if source.url.rstrip("/") == target.url.rstrip("/"):
        raise DeclarationError(f"{source.url} cannot be copied onto itself. Name another target.")
    # the source may be written to meanwhile; read in this order, everything that the ledger names is found afterwards
    newest = {name: source.get(name) for name in source.names(LEDGER) if not _is_entry(name)}
    entries = [name for name in source.names(LEDGER) if _is_entry(name)]
    others = [name for folder in FOLDERS if folder != LEDGER for name in source.names(folder)]
    if not entries and not others:
        raise DeclarationError(f"{source.url} has no state to copy. Name the folder or bucket of an installation.")
    _refuse_another_history(source, target, entries)
    clock = [CLOCK] if source.stamp(CLOCK) else []
    existing = {CLOCK, *(name for folder in FOLDERS for name in target.names(folder))}
    sizes: list[int | None] = []
    count = len(clock) + len(others) + len(entries) + len(newest)

    def copy(name: str) -> int | None:
        content = newest[name] if name in newest else source.get(name)
        return _write(target, name, content, exists=name in existing)

    # entries of the ledger are copied one by one, so that there is never a gap, and the copy of the newest entry is last
    for names, workers in ((clock + others, WORKERS), (entries + list(newest), 1)):
        with ThreadPoolExecutor(workers, thread_name_prefix="copy") as pool:
            for size in pool.map(copy, names):
                sizes.append(size)
                report(len(sizes), count)
    written = [size for size in sizes if size is not None]
    return Copied(len(sizes), len(written), sum(written))


def _is_entry(name: str) -> bool:
    """Not the copy of the newest entry, ledger/<product>.json, which is replaced."""
    return name.count("/") == 2


def _refuse_another_history(source: Objects, target: Objects, entries: Sequence[str]) -> None:
    """Entries never change, so a target with an earlier copy has the same ones."""
    for name in filter(_is_entry, target.names(LEDGER)):
        if name not in entries or source.get(name) != target.get(name):
            raise DeclarationError(
                f"{target.url} has another history ({name}) than {source.url}. Name an empty target."
            )


def _write(target: Objects, name: str, content: bytes | None, *, exists: bool) -> int | None:
    """Bytes that were written, None where the target has the same content. content: None if retention removed it meanwhile."""
    if content is None or (exists and target.get(name) == content):
        return None
    target.put(name, content)
    if target.get(name) != content:
        raise StoreError(f"{target.address(name)} is not what was written to it. Check the target, then copy again.")
    return len(content)


def remaining_parts(home: Path) -> list[str]:
    """Sentences that say which parts of this state a copy does not contain, and what to do about it."""
    sentences = []
    if segments := len(list((home / "spool").rglob(f"*{SUFFIX}"))):
        sentences.append(
            f"{segments} files in {home / 'spool'} contain answers or labels that are not sealed yet. Stop the API there, which "
            "seals them, then copy again."
        )
    if (home / "approval.key").exists():
        sentences.append(
            f"The approval key, {home / 'approval.key'}, is never copied. For approvals to stay valid, copy it yourself to the same "
            "place in another folder; for a bucket, set MLOPS_APPROVAL_KEY to its content."
        )
    return sentences


def copy_databases(source: Path, target: Path) -> list[str]:
    """Copy a consistent snapshot of the embedded online store; returns the names of the copied files."""
    copied = []
    for name in SQLITE_FILES:
        if (source / name).exists():
            target.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(source / name)) as read, closing(sqlite3.connect(target / name)) as written:
                read.backup(written)
            copied.append(name)
    return copied
