"""Signed approvals: a person's answer to one version, bound to the evidence it was given on, with an expiry.

Dagster's webserver accepts materialisations from anybody, so a record alone proves nothing. An answer is signed with a key
that only the people who may answer have (HMAC-SHA256, RFC 2104), and it is verified at deployment. The answers of a product
form a chain: each signs the signature of the previous one, and a signed head records the newest. An answer that was removed or
changed leaves a gap, and no answer before a gap is valid, so that removing a rejection does not revive an approval.
"""

import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from mlops_assets.errors import ApprovalRefused, DataError
from mlops_assets.records.acceptance import AcceptanceRecord, AcceptanceState, Approval, Head, Verdict
from mlops_assets.state.records import Records

HEAD = "head"
OPEN = (AcceptanceState.WAITING, AcceptanceState.REJECTED)  # states of an acceptance that a person may still change
RECENT_ANSWERS = 20
SHORTEST_KEY = 16  # bytes; a shorter key could be found by brute force


@dataclass(frozen=True)
class Chain:
    """The answers that follow each other without a gap up to the newest, oldest first. reach: the highest number that an
    answer is known to have had. gap: a sentence about a missing answer, empty without one. next: number of the next answer."""

    links: tuple[Approval, ...]
    reach: int
    gap: str
    next: int

    @property
    def last(self) -> str:
        """The signature that the next answer follows; empty after a gap, where a new chain begins."""
        return self.links[-1].signature if self.links and self.links[-1].number == self.next - 1 else ""


@dataclass(frozen=True)
class ApprovalBook:
    """Every answer to versions of a product, and the key that signs them.

    key_file: the key of an installation on one machine, created with the first answer; None where machines share the state.
    environment_key: the key from the environment."""

    records: Records
    key_file: Path | None
    environment_key: str = ""

    def answer(
        self,
        *,
        version: int,
        partition: str,
        verdict: Verdict,
        by: str,
        through: str,
        note: str,
        at: datetime,
        valid_for: timedelta,
        evidence: Mapping[str, str],
    ) -> Approval:
        """Sign and store an answer. Raises ApprovalRefused: the name or the reason is missing, or the key cannot be used."""
        if not by.strip() or not note.strip():
            raise ApprovalRefused(
                f"an answer to version {version} of {self.records.product} needs a name and a reason. Give both, as in "
                '--by ana --note "checked the worst slices".'
            )
        key = self._key(create=True)
        expires_at = at + valid_for if verdict is Verdict.APPROVED else at
        product = self.records.product
        unsigned = Approval(product, version, partition, verdict, by, note, at, expires_at, dict(evidence), through)
        self._create_head(key)
        while True:
            chain = self.chain()
            following = msgspec.structs.replace(unsigned, number=chain.next, previous=chain.last)
            signed = msgspec.structs.replace(following, signature=sign(following, key))
            if self.records.create(_key_of(signed.number), signed):
                break  # else another answer got this number at the same time, and this one follows it
        self._move_head(key)
        return signed

    def _create_head(self, key: bytes) -> None:
        """Write the head before the first answer; otherwise simultaneous first answers would see a removed head.

        After a head was removed, no answer that exists by now is valid any more."""
        numbers = [int(name) for name in self.records.keys(Approval) if name.isdecimal()]
        if self._head(key) is None:  # read after the answers, as every writer of a newer answer creates a head first
            self._save_head(Head(self.records.product, max(numbers, default=0), newest=""), key)

    def _save_head(self, head: Head, key: bytes) -> None:
        self.records.save(HEAD, msgspec.structs.replace(head, signature=sign(head, key)))

    def _move_head(self, key: bytes) -> None:
        """Let the head name the newest answer, even where others answer at the same time."""
        newest = self._newest_signed(key)
        while newest is not None:
            self._save_head(Head(self.records.product, newest.number, newest.signature), key)
            written, newest = newest, self._newest_signed(key)
            if newest == written:
                return

    def _newest_signed(self, key: bytes) -> Approval | None:
        for name in reversed(self.records.keys(Approval)):
            answer = self._load(name)
            if answer is not None and is_genuine(answer, key):
                return answer
        return None

    def answer_waiting(
        self,
        version: int,
        verdict: Verdict,
        by: str,
        through: str,
        note: str,
        at: datetime,
        valid_for: timedelta,
    ) -> Approval:
        """Answer the stored acceptance that waits for this version, on its evidence.

        Raises ApprovalRefused: none waits; the error says what became of the version."""
        product = self.records.product
        for key in reversed(self.records.keys(AcceptanceRecord)):
            waiting = self.records.load(AcceptanceRecord, key)
            if waiting.version != version:
                continue
            if waiting.state not in OPEN:
                raise ApprovalRefused(
                    f"version {version} of {product} is {waiting.state or 'answered'} already and needs no answer."
                )
            return self.answer(
                version=version,
                partition=key,
                verdict=verdict,
                by=by,
                through=through,
                note=note,
                at=at,
                valid_for=valid_for,
                evidence=waiting.evidence,
            )
        raise ApprovalRefused(f"no version {version} of {product} waits for an answer.")

    def holds(self, key: str) -> bool:
        """Whether this is the key that signs answers; compared in constant time."""
        own = self._key(create=False)
        return bool(own) and hmac.compare_digest(hashlib.sha256(own).digest(), hashlib.sha256(key.encode()).digest())

    def newest(self, version: int, evidence: Mapping[str, str], now: datetime) -> Approval | None:
        """The newest answer to this version on this evidence that is correctly signed, valid at `now`, and after which no
        answer is missing.

        All others are ignored; `why_not` says why."""
        links = [item for item in self.chain().links if item.version == version]
        valid = [item for item in links if self._fault(item, evidence, now) is None]
        return valid[-1] if valid else None

    def why_not(self, version: int, evidence: Mapping[str, str], now: datetime) -> str:
        """Why the stored answers are not valid; empty when there is none."""
        chain = self.chain()
        faults = [chain.gap]
        for item in self.answers(version):
            fault = self._fault(item, evidence, now)
            if fault is None and item not in chain.links:
                fault = f"{_who(item)} is no longer valid: answer again"
            faults.append(fault or "")
        return "; ".join(fault for fault in faults if fault)

    def answers(self, version: int) -> list[Approval]:
        """The stored answers to this version in the order of their own timestamps, verified or not."""
        stored = [self._load(key) for key in self.records.keys(Approval)]
        return sorted((item for item in stored if item and item.version == version), key=lambda item: item.at)

    def recently_answered(self) -> set[str]:
        """Partitions of the newest answers, verified or not."""
        stored = [self._load(key) for key in self.records.keys(Approval)[-RECENT_ANSWERS:]]
        return {item.partition for item in stored if item}

    def chain(self) -> Chain:
        """The verified answers. Missing ones are detected by the signed head, and by the highest number at the time when an
        acceptance was judged; answers with higher numbers than both count if they are signed."""
        product, key = self.records.product, self._key(create=False)
        head = self._head(key)  # read before the answers, or one that is written meanwhile would seem to be missing
        stored = {int(name): self._load(name) for name in self.records.keys(Approval) if name.isdecimal()}
        acceptances = self.records.load_all(AcceptanceRecord, self.records.keys(AcceptanceRecord))
        judged = max((record.answers for record in acceptances), default=0)
        reach = max(head.number if head else 0, judged)
        links: list[Approval] = []
        gap, end = "", 0  # end: the last number that was checked
        for number, link in sorted(stored.items()):
            is_signed = link is not None and link.number == number and link.product == product and is_genuine(link, key)
            if not is_signed and number > reach:
                break  # a forgery: no holder of the key wrote an answer with this number
            if head is not None and number == head.number:
                is_signed = is_signed and link is not None and link.signature == head.newest
            if number != end + 1 or not is_signed:
                links, gap = [], _gap(product, number if number == end + 1 else end + 1)
            if link is not None and is_signed:
                links = [*links, link] if links and link.previous == links[-1].signature else [link]
            end = number
        if end < reach:
            links, gap = [], _gap(product, end + 1)
        reach = max(reach, end)
        if stored and head is None:
            links = []
            gap = f"{Head.asset}/{HEAD}.json of {product} is missing or signed with another key, so no answer is valid"
        return Chain(tuple(links), reach, gap, max(reach, 0, *stored) + 1)

    def _head(self, key: bytes) -> Head | None:
        """None where there is none that this key signed."""
        try:
            head = self.records.load(Head, HEAD)
        except DataError:  # it is missing or cannot be read
            return None
        return head if head.product == self.records.product and is_genuine(head, key) else None

    def _load(self, name: str) -> Approval | None:
        """None where it cannot be read, which counts as missing."""
        try:
            return self.records.load(Approval, name)
        except DataError:
            return None

    def _fault(self, answer: Approval, evidence: Mapping[str, str], now: datetime) -> str | None:
        who = _who(answer)
        if not answer.number:
            return f"{who} was given before answers formed a chain: answer again"
        if not is_genuine(answer, self._key(create=False)):
            return f"{who} is not signed with the key of this installation"
        if answer.evidence != dict(evidence):
            changed = sorted(name for name in evidence if answer.evidence.get(name) != evidence[name])
            return f"{who} was given on another {', '.join(changed) or 'evidence'}"
        if answer.verdict is Verdict.APPROVED and not answer.at <= now < answer.expires_at:
            return f"{who} expired at {answer.expires_at:%Y-%m-%d %H:%M}"
        return None

    def _key(self, *, create: bool) -> bytes:
        """Empty where there is none; no signature is valid then."""
        if self.environment_key:
            return _checked(self.environment_key.encode(), "MLOPS_APPROVAL_KEY")
        if self.key_file is None:
            if create:
                raise ApprovalRefused(
                    "several machines share the state, so the key that signs answers must come from MLOPS_APPROVAL_KEY. Set it "
                    "on each of them; create one with: openssl rand -hex 32"
                )
            return b""
        if create and not self.key_file.exists():
            self.key_file.parent.mkdir(parents=True, exist_ok=True)
            # written completely before it gets its name, so that nobody reads half a key; of several writers the first wins
            with tempfile.NamedTemporaryFile("w", dir=self.key_file.parent, prefix=".approval-key-") as file:
                file.write(secrets.token_hex(32))
                file.flush()
                os.fsync(file.fileno())
                with suppress(FileExistsError):
                    os.link(file.name, self.key_file)
        return _checked(self.key_file.read_bytes().strip(), str(self.key_file)) if self.key_file.exists() else b""


def sign(document: Approval | Head, key: bytes) -> str:
    """HMAC-SHA256 over the type and every field but the signature, as hex."""
    content = msgspec.json.encode(msgspec.structs.replace(document, signature=""), order="deterministic")
    return hmac.new(key, type(document).__name__.encode() + b"\n" + content, hashlib.sha256).hexdigest()


def is_genuine(document: Approval | Head, key: bytes) -> bool:
    return bool(key) and hmac.compare_digest(document.signature.encode(), sign(document, key).encode())


def _key_of(number: int) -> str:
    """Keys sort in the order of the numbers."""
    return f"{number:06d}"


def _gap(product: str, number: int) -> str:
    return f"answer {number} of {product} is missing or was changed, so no answer before it is valid"


def _who(answer: Approval) -> str:
    return f"the answer of {answer.by or 'nobody'} at {answer.at:%Y-%m-%d %H:%M}"


def _checked(key: bytes, where: str) -> bytes:
    if len(key) < SHORTEST_KEY:
        raise ApprovalRefused(
            f"the approval key in {where} has {len(key)} bytes; it needs {SHORTEST_KEY}. Create one with: openssl rand -hex 32"
        )
    return key
