"""Entries of the ledger and what follows from them: deployments, those in effect after rollbacks, flags for rework."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

import msgspec


class Kind(StrEnum):
    DEPLOYED = "deployed"
    ROLLED_BACK = "rolled back"
    FLAGGED = "flagged for rework"
    CLEARED = "flag cleared"


class Entry(msgspec.Struct, frozen=True):
    """What happened to `version`. number: from 1, without gaps. run_id: the Dagster run, empty outside of one.

    evidence: content hashes of what the decision is based on. previous: SHA-256 of the bytes of the previous entry, empty in
    the first. writer: random, so that two attempts never have equal content, which `Objects.create` requires. sha256: of the
    bytes of this entry without this hash."""

    schema_version: int
    number: int
    kind: Kind
    product: str
    version: int
    partition: str
    at: datetime
    reason: str
    by: str
    run_id: str
    evidence: dict[str, str]
    previous: str
    writer: str
    sha256: str = ""


@dataclass(frozen=True)
class Deployment:
    """One champion: `version` serves from `deployed_at` until the next one. number: of its entry."""

    number: int
    version: int
    partition: str
    deployed_at: datetime
    reason: str
    by: str
    run_id: str = ""
    kind: Kind = Kind.DEPLOYED
    evidence: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class ReworkFlag:
    """`version` was sent back to development at `flagged_at`; `cleared_at` is None while the flag is open."""

    version: int
    flagged_at: datetime
    reason: str
    cleared_at: datetime | None


def deployments_of(entries: Iterable[Entry]) -> list[Deployment]:
    """Every deployment and rollback, oldest first."""
    return [deployment_of(entry) for entry in entries if entry.kind in (Kind.DEPLOYED, Kind.ROLLED_BACK)]


def flags_of(entries: Iterable[Entry]) -> list[ReworkFlag]:
    """Every flag for rework, oldest first. Only the last one may be open; while it is, another one changes nothing."""
    flags: list[ReworkFlag] = []
    for entry in entries:
        is_open = bool(flags) and flags[-1].cleared_at is None
        if entry.kind is Kind.FLAGGED and not is_open:
            flags.append(ReworkFlag(entry.version, entry.at, entry.reason, None))
        elif entry.kind is Kind.CLEARED and is_open:
            flags[-1] = replace(flags[-1], cleared_at=entry.at)
    return flags


def terms(history: Sequence[Deployment]) -> list[tuple[Deployment, datetime | None]]:
    """Every deployment with the time at which the next one replaced it; None for the one that serves."""
    ends: list[datetime | None] = [following.deployed_at for following in history[1:]]
    return list(zip(history, [*ends, None], strict=False))  # not strict: without deployments there is still one end


def standing(history: Sequence[Deployment]) -> list[Deployment]:
    """The deployments that no rollback undid, oldest first: the last one serves, and a rollback returns to one of the others.

    A rollback undoes every deployment since the version that it returns to, so a second rollback goes further back."""
    stack: list[Deployment] = []
    for item in history:
        versions = [earlier.version for earlier in stack]
        if item.version in versions:
            del stack[versions.index(item.version) :]
        stack.append(item)
    return stack


def deployment_of(entry: Entry) -> Deployment:
    facts = (entry.number, entry.version, entry.partition, entry.at, entry.reason, entry.by, entry.run_id)
    return Deployment(*facts, entry.kind, entry.evidence)


def open_flag_of(entries: Iterable[Entry]) -> ReworkFlag | None:
    flags = flags_of(entries)
    return flags[-1] if flags and flags[-1].cleared_at is None else None


def partition_of(entries: Sequence[Entry], version: int) -> str:
    """Empty for a version that was never deployed."""
    return next((entry.partition for entry in reversed(entries) if entry.version == version), "")
