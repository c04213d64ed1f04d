"""Deployment ledger: which version served since when, why and by whom; numbered entries that are created once and never change.

The newest entry that deployed or rolled back names the champion. Each entry contains its own hash and the hash of the previous
one, and a copy of the newest is stored beside them, so a reader of all entries detects the first that was changed, removed or
replaced. Every read checks this: a champion that cannot be trusted is an error.
"""

import re
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from hashlib import sha256

import msgspec

from mlops_assets.errors import ChampionChanged, LedgerBroken, NoChampion, StoreError
from mlops_assets.state.ledger_entries import (
    Deployment,
    Entry,
    Kind,
    ReworkFlag,
    deployment_of,
    deployments_of,
    flags_of,
    open_flag_of,
    partition_of,
    standing,
    terms,
)
from mlops_assets.state.objects import Objects

__all__ = ["Deployment", "Entry", "Kind", "Ledger", "ReworkFlag", "deployments_of", "flags_of", "standing", "terms"]

FOLDER = "ledger"
SCHEMA_VERSION = 1
COPY = 0  # stands for the copy of the newest entry, which has no number of its own
_READERS = 16  # a bucket answers a request in about 20 ms, and many at once
_NAME = re.compile(r"[0-9]{6}\.json")


class Ledger:
    """The ledger of one product. Entries are cached, so that each read requests only newer ones.

    Every method raises StoreError: the state cannot be reached. LedgerBroken: an entry was changed or removed."""

    def __init__(self, objects: Objects, product: str) -> None:
        self._objects, self._product = objects, product
        # entries and the content of the newest; a single value, so that threads can read it without a lock
        self._cached: tuple[list[Entry], bytes] = [], b""

    def entries(self) -> list[Entry]:
        """All entries, oldest first. A decision that is based on several facts has to take them all from one call."""
        return self._read()[0]

    def position(self) -> int:
        """Number of the newest entry, 0 before the first; for cheap polling."""
        return len(self.entries())

    def history(self) -> list[Deployment]:
        """Every deployment and rollback, oldest first."""
        return deployments_of(self.entries())

    def champion(self) -> Deployment:
        """What serves now. Raises NoChampion."""
        history = self.history()
        if not history:
            raise NoChampion(self._product)
        return history[-1]

    def champion_at(self, moment: datetime) -> Deployment | None:
        """What served at `moment`, None before the first deployment."""
        served = [deployment for deployment in self.history() if deployment.deployed_at <= moment]
        return served[-1] if served else None

    def flags(self) -> list[ReworkFlag]:
        """Every flag for rework, oldest first."""
        return flags_of(self.entries())

    def open_flag(self) -> ReworkFlag | None:
        """The flag for rework that still stands, if any."""
        return open_flag_of(self.entries())

    def verify(self) -> int:
        """Read every entry again; returns how many there are.

        Raises LedgerBroken, with the first entry that was changed or removed, or does not follow the previous one."""
        return Ledger(self._objects, self._product).position()

    def deploy(
        self,
        version: int,
        partition: str,
        at: datetime,
        *,
        reason: str,
        by: str,
        after: int,
        run_id: str = "",
        evidence: Mapping[str, str] | None = None,
        kind: Kind = Kind.DEPLOYED,
    ) -> Deployment:
        """Make the version champion; ROLLED_BACK: an earlier version serves again. Raises ChampionChanged, as `append` does."""
        entry = self.append(
            kind, version, partition, at, reason=reason, by=by, after=after, run_id=run_id, evidence=evidence
        )
        return deployment_of(entry)

    def flag_for_rework(self, version: int, at: datetime, reason: str) -> None:
        """Send the version back to development. Where a flag stands already, nothing happens."""
        while open_flag_of(entries := self.entries()) is None:
            with suppress(ChampionChanged):
                partition, after = partition_of(entries, version), len(entries)
                self.append(Kind.FLAGGED, version, partition, at, reason=reason, by="drift policy", after=after)
                return

    def clear_rework(self, at: datetime) -> None:
        """Automatic retraining is on again. Where no flag stands, nothing happens."""
        while (flag := open_flag_of(entries := self.entries())) is not None:
            with suppress(ChampionChanged):
                partition, after = partition_of(entries, flag.version), len(entries)
                reason = "a new recipe left development"
                self.append(Kind.CLEARED, flag.version, partition, at, reason=reason, by="development", after=after)
                return

    def append(
        self,
        kind: Kind,
        version: int,
        partition: str,
        at: datetime,
        *,
        reason: str,
        by: str,
        after: int,
        run_id: str = "",
        evidence: Mapping[str, str] | None = None,
    ) -> Entry:
        """Write the next entry. after: number of the newest entry that the decision rests on, 0 where there was none.

        Raises ChampionChanged: another one was written since, so nothing was written now: decide again."""
        entries, newest = self._read()
        entry = _sealed(
            Entry(
                schema_version=SCHEMA_VERSION,
                number=after + 1,
                kind=kind,
                product=self._product,
                version=version,
                partition=partition,
                at=at,
                reason=reason,
                by=by,
                run_id=run_id,
                evidence=dict(evidence or {}),
                previous=_hash(newest),
                writer=secrets.token_hex(8),
            )
        )
        if len(entries) != after or not self._objects.create(self._name(after + 1), _encoded(entry)):
            raise ChampionChanged(
                f"version {version} was not {kind}, because another entry was added to the ledger of {self._product} in the meantime. "
                "Nothing was changed. Run it again, so that it is decided by what is true now."
            )
        with suppress(StoreError):  # the entry stands; the next one replaces a copy that is behind
            self._objects.put(self._copy, _encoded(entry))
        return entry

    def _read(self) -> tuple[list[Entry], bytes]:
        """Every entry, and the content of the newest."""
        cached, newest = self._cached
        entries = list(cached)
        if entries and self._objects.get(self._name(len(entries))) != newest:
            entries, newest = [], b""  # the folder was removed, and perhaps created again
        # read before the entries are listed, so that it is not newer than they are
        copy = None if entries else self._read_copy()
        for content in self._contents(len(entries), copy.number if copy else 0):
            entries.append(self._checked(len(entries) + 1, content, newest))
            newest = content or b""
        if copy is not None and entries[copy.number - 1] != copy:
            raise self._broken(copy.number, "is not the one that was written there first")
        self._cached = entries, newest
        return list(entries), newest

    def _contents(self, last: int, newest: int) -> list[bytes | None]:
        """The contents of the entries after number `last`, at least up to `newest`; ends with None where one is missing."""
        folder = f"{FOLDER}/{self._product}"
        listed = self._objects.names(folder, after=self._name(last) if last else "")
        numbers = {int(name[-11:-5]) for name in listed if _NAME.fullmatch(name.removeprefix(f"{folder}/"))}
        names: list[str] = []
        for number in range(last + 1, max(numbers | {newest}) + 1):
            names.append(self._name(number))
            # the list of a folder may lack an entry that was written meanwhile, and still have a later one
            if number not in numbers and self._objects.get(names[-1]) is None:
                break
        if len(names) < 2:
            return [self._objects.get(name) for name in names]
        with ThreadPoolExecutor(_READERS) as readers:
            return list(readers.map(self._objects.get, names))

    def _checked(self, number: int, content: bytes | None, before: bytes) -> Entry:
        if content is None:
            raise self._broken(number, "was removed")
        entry = self._unsealed(number, content)
        if (entry.number, entry.product) != (number, self._product):
            raise self._broken(number, f"was replaced by entry {entry.number} of {entry.product}")
        if entry.previous != _hash(before):
            raise self._broken(number, "does not follow the previous entry: one of the two was replaced")
        return entry

    def _read_copy(self) -> Entry | None:
        """The newest entry, from its copy, which may be one behind. It shows whether entries at the end were removed."""
        content = self._objects.get(self._copy)
        return None if content is None else self._unsealed(COPY, content)

    def _unsealed(self, number: int, content: bytes) -> Entry:
        try:
            seal = msgspec.json.decode(content, type=_Seal)
            if _hash(content.replace(seal.sha256.encode(), b"", 1)) != seal.sha256:
                raise self._broken(number, "was changed after it was written")
            if seal.schema_version > SCHEMA_VERSION:
                raise LedgerBroken(
                    self._product,
                    number,
                    f"{self._place(number)} was written by a newer release, whose entries have schema version "
                    f"{seal.schema_version}; this one reads up to {SCHEMA_VERSION}. Install the newer release here as well.",
                )
            return msgspec.json.decode(content, type=Entry)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise self._broken(number, f"cannot be read ({error})") from None

    def _broken(self, number: int, what: str) -> LedgerBroken:
        remedy = (
            "Remove it: the next entry creates a new one" if number == COPY else "Restore it from a copy of the state"
        )
        return LedgerBroken(
            self._product,
            number,
            f"{self._place(number)} {what}. {remedy}, and run `mlops history {self._product} --verify`.",
        )

    def _place(self, number: int) -> str:
        name = "the copy of the newest entry" if number == COPY else f"entry {number}"
        address = self._objects.address(self._copy if number == COPY else self._name(number))
        return f"{name} of the ledger of {self._product} ({address})"

    def _name(self, number: int) -> str:
        return f"{FOLDER}/{self._product}/{number:06d}.json"

    @property
    def _copy(self) -> str:
        return f"{FOLDER}/{self._product}.json"


class _Seal(msgspec.Struct):
    """The fields that entries of every schema version have."""

    schema_version: int
    sha256: str


def _sealed(entry: Entry) -> Entry:
    return msgspec.structs.replace(entry, sha256=_hash(_encoded(entry)))


def _encoded(entry: Entry) -> bytes:
    return msgspec.json.format(msgspec.json.encode(entry, order="deterministic"))


def _hash(content: bytes) -> str:
    """Empty for no content, as before the first entry."""
    return sha256(content).hexdigest() if content else ""
