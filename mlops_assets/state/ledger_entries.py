"""Entries of the ledger and what follows from them: deployments, what stands after rollbacks, flags for rework. No storage."""

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
    """What happened to `version`. number: its place, from 1 without a gap. run_id: the Dagster run, empty outside one.

    evidence: content hashes of what the decision rests on. previous: SHA-256 of the bytes of the entry before, empty in the
    first. writer: differs between all entries that are ever tried, as `Objects.create` needs it. sha256: of the bytes of this
    entry without this hash."""

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
    """`version` was sent back to development at `flagged_at`; None in `cleared_at` while that stands."""

    version: int
    flagged_at: datetime
    reason: str
    cleared_at: datetime | None


def deployments_of(entries: Iterable[Entry]) -> list[Deployment]:
    """Every deployment and rollback, oldest first."""
    return [deployment_of(entry) for entry in entries if entry.kind in (Kind.DEPLOYED, Kind.ROLLED_BACK)]


def flags_of(entries: Iterable[Entry]) -> list[ReworkFlag]:
    """Every flag for rework, oldest first. Only the last one may stand: while it does, another one adds nothing."""
    flags: list[ReworkFlag] = []
    for entry in entries:
        stands = bool(flags) and flags[-1].cleared_at is None
        if entry.kind is Kind.FLAGGED and not stands:
            flags.append(ReworkFlag(entry.version, entry.at, entry.reason, None))
        elif entry.kind is Kind.CLEARED and stands:
            flags[-1] = replace(flags[-1], cleared_at=entry.at)
    return flags


def terms(history: Sequence[Deployment]) -> list[tuple[Deployment, datetime | None]]:
    """Every deployment with the moment at which the next one took its place; None for the one that serves."""
    ends: list[datetime | None] = [following.deployed_at for following in history[1:]]
    return list(zip(history, [*ends, None], strict=False))  # without a deployment there is one end and nothing to end


def standing(history: Sequence[Deployment]) -> list[Deployment]:
    """The deployments that were never taken back, oldest first: the last one serves, the ones before are what to go back to.

    A rollback takes back what served since the version it went back to, so going back twice goes further back."""
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
