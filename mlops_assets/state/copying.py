"""Copies a state from one folder or bucket to another, and verifies what it copied."""

import hashlib
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
# the ledger comes last: what it names is there by then
FOLDERS = ("tables", "records", "bundles", "reports", "predictions", "shadow", "pinned", "labels", LEDGER)
SQLITE_FILES = ("online.sqlite",)
WORKERS = 8


@dataclass(frozen=True)
class Copied:
    """objects: how many objects the source holds. written: how many of them were missing or different in the target. bytes: their size."""

    objects: int
    written: int
    bytes: int


def copy_state(source: Objects, target: Objects, told: Callable[[int, int], None] = lambda _done, _all: None) -> Copied:
    """Copy every object of the state. Objects that are already the same in the target are skipped, so a copy can be resumed.

    The source may be in use meanwhile, and a copy that was cut short is a whole state of an earlier moment.
    told: called with the number of objects that are done and of all objects.

    Raises DeclarationError: both are one place, the source holds no state, or
    the target has a history of its own. StoreError: an object could not be read or written, or is not in the target as it
    was written."""
    if source.url.rstrip("/") == target.url.rstrip("/"):
        raise DeclarationError(f"{source.url} cannot be copied onto itself. Name another target.")
    # what the source may still write is read in this order, so that all that is named is there when it is looked for
    newest = {name: source.get(name) for name in source.names(LEDGER) if not _is_entry(name)}
    entries = [name for name in source.names(LEDGER) if _is_entry(name)]
    others = [name for folder in FOLDERS if folder != LEDGER for name in source.names(folder)]
    if not entries and not others:
        raise DeclarationError(f"{source.url} holds no state to copy. Name the folder or bucket of one that has run.")
    _refuse_another_history(source, target, entries)
    clock = [CLOCK] if source.stamp(CLOCK) else []
    there = {CLOCK, *(name for folder in FOLDERS for name in target.names(folder))}
    sizes: list[int | None] = []
    count = len(clock) + len(others) + len(entries) + len(newest)

    def copy(name: str) -> int | None:
        content = newest[name] if name in newest else source.get(name)
        return _write(target, name, content, is_there=name in there)

    # entries of the ledger are copied one by one, so that there is never a gap, and the copy of the newest entry comes last
    for names, workers in ((clock + others, WORKERS), (entries + list(newest), 1)):
        with ThreadPoolExecutor(workers, thread_name_prefix="copy") as pool:
            for size in pool.map(copy, names):
                sizes.append(size)
                told(len(sizes), count)
    written = [size for size in sizes if size is not None]
    return Copied(len(sizes), len(written), sum(written))


def _is_entry(name: str) -> bool:
    """Beside the entries of each product lies a copy of the newest, ledger/<product>.json, which is replaced."""
    return name.count("/") == 2


def _refuse_another_history(source: Objects, target: Objects, entries: Sequence[str]) -> None:
    """Entries never change, so a target that holds an earlier copy has the same ones."""
    for name in filter(_is_entry, target.names(LEDGER)):
        if name not in entries or source.get(name) != target.get(name):
            raise DeclarationError(
                f"{target.url} has a history of its own ({name}), which is not that of {source.url}. Name an empty target."
            )


def _write(target: Objects, name: str, content: bytes | None, *, is_there: bool) -> int | None:
    """Bytes that were written, None where the target has the same already. content: None if retention removed it meanwhile."""
    if content is None or (is_there and target.get(name) == content):
        return None
    target.put(name, content)
    back = target.get(name)
    if back is None or hashlib.sha256(back).digest() != hashlib.sha256(content).digest():
        raise StoreError(f"{target.address(name)} is not what was written to it. Check the target, then copy again.")
    return len(content)


def what_stays(home: Path) -> list[str]:
    """Sentences that say what a copy of this state does not contain, and what to do about it."""
    said = []
    if segments := len(list((home / "spool").rglob(f"*{SUFFIX}"))):
        said.append(
            f"{segments} files in {home / 'spool'} hold newest answers or labels that are not sealed yet. Stop the API there, which "
            "seals them, then copy again."
        )
    if (home / "approval.key").exists():
        said.append(
            f"The approval key, {home / 'approval.key'}, is never copied. So that approvals stay valid, take it yourself to the same "
            "place in another folder; for a bucket set MLOPS_APPROVAL_KEY to what it holds."
        )
    return said


def copy_databases(source: Path, target: Path) -> list[str]:
    """Copy a consistent snapshot of the embedded online store; returns the names of the files that were copied."""
    copied = []
    for name in SQLITE_FILES:
        if (source / name).exists():
            target.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(source / name)) as read, closing(sqlite3.connect(target / name)) as written:
                read.backup(written)
            copied.append(name)
    return copied
