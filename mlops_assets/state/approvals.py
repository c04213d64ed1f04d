"""Signed approvals: a person's answer to one version, bound to the evidence it was given on, that ends by itself.

Dagster's webserver takes materialisations from anybody, so a record alone proves nothing. An answer is signed with a key
that only those hold who may answer (HMAC-SHA256, RFC 2104), and whoever deploys verifies it. The answers of a product form
a chain: each signs the signature of the one before, and a signed head says how far they go. An answer that was removed or
changed leaves a gap, and nothing before a gap counts, so that a removed rejection does not revive an approval.
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
LATELY = 20  # answers
SHORTEST_KEY = 16  # bytes; a shorter key could be guessed by trying


@dataclass(frozen=True)
class Chain:
    """The answers that follow each other without a gap up to the newest, oldest first. reach: how far answers are known to
    have gone. gap: what is missing, in words; empty where nothing is. next: number of the next answer."""

    links: tuple[Approval, ...]
    reach: int
    gap: str
    next: int

    @property
    def last(self) -> str:
        """What the next answer follows; empty after a gap, where a chain begins anew."""
        return self.links[-1].signature if self.links and self.links[-1].number == self.next - 1 else ""


@dataclass(frozen=True)
class ApprovalBook:
    """Every answer that was given to versions of a product, and the key they are signed with.

    key_file: the key of an installation of one machine, which the first answer makes; None where machines share the state.
    given_key: the key itself, from the environment."""

    records: Records
    key_file: Path | None
    given_key: str = ""

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
        """Sign and keep it. Raises ApprovalRefused: nobody is named, or the key cannot be used."""
        if not by.strip() or not note.strip():
            raise ApprovalRefused(
                f"an answer to version {version} of {self.records.product} needs a name and a reason. Give both, as in "
                '--by ana --note "checked the worst slices".'
            )
        key = self._key(make=True)
        expires_at = at + valid_for if verdict is Verdict.APPROVED else at
        product = self.records.product
        bare = Approval(product, version, partition, verdict, by, note, at, expires_at, dict(evidence), through)
        self._begin(key)
        while True:
            chain = self.chain()
            following = msgspec.structs.replace(bare, number=chain.next, previous=chain.last)
            signed = msgspec.structs.replace(following, signature=sign(following, key))
            if self.records.create(_key_of(signed.number), signed):
                break  # else somebody answered in the same moment, and this answer follows that one
        self._move_head(key)
        return signed

    def _begin(self, key: bytes) -> None:
        """Write the head before the first answer; otherwise answers given at the same moment would take it for removed.

        Where it was removed, no answer that is kept by now counts any more."""
        kept = [int(name) for name in self.records.keys(Approval) if name.isdecimal()]
        if self._head(key) is None:  # asked after the answers: whoever gave one since has made a head first
            head = Head(self.records.product, max(kept, default=0), newest="")
            self.records.save(HEAD, msgspec.structs.replace(head, signature=sign(head, key)))

    def _move_head(self, key: bytes) -> None:
        """Let the head name the newest answer, also where somebody answers in the same moment."""
        newest = self._newest_signed(key)
        while newest is not None:
            head = Head(self.records.product, newest.number, newest.signature)
            self.records.save(HEAD, msgspec.structs.replace(head, signature=sign(head, key)))
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
        """Answer the stored acceptance that waits for this version, on the evidence it names.

        Raises ApprovalRefused: none waits, with what is known of the version."""
        product = self.records.product
        for key in reversed(self.records.keys(AcceptanceRecord)):
            waiting = self.records.load(AcceptanceRecord, key)
            if waiting.version != version:
                continue
            if waiting.state not in OPEN:
                raise ApprovalRefused(
                    f"version {version} of {product} is {waiting.state or 'answered'}, so it needs no answer."
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
        """Whether this is the key that answers are signed with; compared in constant time."""
        own = self._key(make=False)
        return bool(own) and hmac.compare_digest(hashlib.sha256(own).digest(), hashlib.sha256(key.encode()).digest())

    def newest(self, version: int, evidence: Mapping[str, str], now: datetime) -> Approval | None:
        """The newest answer to this version on this evidence that is rightly signed, counts at `now`, and after which no
        answer is missing.

        Others are as if they were not there: `why_not` says so in words."""
        links = [item for item in self.chain().links if item.version == version]
        counted = [item for item in links if self._fault(item, evidence, now) is None]
        return counted[-1] if counted else None

    def why_not(self, version: int, evidence: Mapping[str, str], now: datetime) -> str:
        """Why the answers that are kept do not count, empty when there is none."""
        chain = self.chain()
        faults = [chain.gap]
        for item in self.answers(version):
            fault = self._fault(item, evidence, now)
            if fault is None and item not in chain.links:
                fault = f"{_who(item)} counts no more: answer again"
            faults.append(fault or "")
        return "; ".join(fault for fault in faults if fault)

    def answers(self, version: int) -> list[Approval]:
        """What is kept for this version, by the moment it says it was given, verified or not."""
        kept = [self._load(key) for key in self.records.keys(Approval)]
        return sorted((item for item in kept if item and item.version == version), key=lambda item: item.at)

    def answered_lately(self) -> set[str]:
        """Partitions that the newest answers are about, verified or not."""
        kept = [self._load(key) for key in self.records.keys(Approval)[-LATELY:]]
        return {item.partition for item in kept if item}

    def chain(self) -> Chain:
        """Verified answers. What goes missing is noticed by the signed head, and by how far the answers went when an
        acceptance was judged; numbers beyond both count where they are signed."""
        product, key = self.records.product, self._key(make=False)
        head = self._head(key)  # before the answers, or one that is given meanwhile would seem to be missing
        kept = {int(name): self._load(name) for name in self.records.keys(Approval) if name.isdecimal()}
        acceptances = self.records.load_all(AcceptanceRecord, self.records.keys(AcceptanceRecord))
        judged = max((record.answers for record in acceptances), default=0)
        reach = max(head.number if head else 0, judged)
        links: list[Approval] = []
        gap, end = "", 0  # end: how far the answers were followed
        for number, link in sorted(kept.items()):
            is_signed = link is not None and link.number == number and link.product == product and is_genuine(link, key)
            if not is_signed and number > reach:
                break  # what nobody with the key ever wrote
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
        if kept and head is None:
            links = []
            gap = f"{Head.asset}/{HEAD}.json of {product} is missing or signed with another key, and no answer counts"
        return Chain(tuple(links), reach, gap, max(reach, 0, *kept) + 1)

    def _head(self, key: bytes) -> Head | None:
        """None where there is none that this key signed."""
        try:
            head = self.records.load(Head, HEAD)
        except DataError:  # there is none, or it cannot be read
            return None
        return head if head.product == self.records.product and is_genuine(head, key) else None

    def _load(self, name: str) -> Approval | None:
        """None where it cannot be read, which is as if it were missing."""
        try:
            return self.records.load(Approval, name)
        except DataError:
            return None

    def _fault(self, answer: Approval, evidence: Mapping[str, str], now: datetime) -> str | None:
        who = _who(answer)
        if not answer.number:
            return f"{who} is of before answers formed a chain: answer again"
        if not is_genuine(answer, self._key(make=False)):
            return f"{who} is not signed with the key of this installation"
        if answer.evidence != dict(evidence):
            changed = sorted(name for name in evidence if answer.evidence.get(name) != evidence[name])
            return f"{who} was given on another {', '.join(changed) or 'evidence'}"
        if answer.verdict is Verdict.APPROVED and not answer.at <= now < answer.expires_at:
            return f"{who} ended at {answer.expires_at:%Y-%m-%d %H:%M}"
        return None

    def _key(self, *, make: bool) -> bytes:
        """Empty where there is none, which no signature is made with."""
        if self.given_key:
            return _checked(self.given_key.encode(), "MLOPS_APPROVAL_KEY")
        if self.key_file is None:
            if make:
                raise ApprovalRefused(
                    "the state is shared by several machines, so the key that answers are signed with comes from "
                    "MLOPS_APPROVAL_KEY. Set it on each of them; make one with: openssl rand -hex 32"
                )
            return b""
        if make and not self.key_file.exists():
            self.key_file.parent.mkdir(parents=True, exist_ok=True)
            # written whole before it has its name, so that nobody reads half a key; the first of several stays
            with tempfile.NamedTemporaryFile("w", dir=self.key_file.parent, prefix=".approval-key-") as made:
                made.write(secrets.token_hex(32))
                made.flush()
                os.fsync(made.fileno())
                with suppress(FileExistsError):
                    os.link(made.name, self.key_file)
        return _checked(self.key_file.read_bytes().strip(), str(self.key_file)) if self.key_file.exists() else b""


def sign(document: Approval | Head, key: bytes) -> str:
    """HMAC-SHA256 over what it is and every field but the signature, as hex."""
    content = msgspec.json.encode(msgspec.structs.replace(document, signature=""), order="deterministic")
    return hmac.new(key, type(document).__name__.encode() + b"\n" + content, hashlib.sha256).hexdigest()


def is_genuine(document: Approval | Head, key: bytes) -> bool:
    return bool(key) and hmac.compare_digest(document.signature.encode(), sign(document, key).encode())


def _key_of(number: int) -> str:
    """Sorts in the order of numbers."""
    return f"{number:06d}"


def _gap(product: str, number: int) -> str:
    return f"answer {number} of {product} is missing or was changed, and none before it counts"


def _who(answer: Approval) -> str:
    return f"the answer of {answer.by or 'nobody'} at {answer.at:%Y-%m-%d %H:%M}"


def _checked(key: bytes, where: str) -> bytes:
    if len(key) < SHORTEST_KEY:
        raise ApprovalRefused(
            f"the approval key in {where} has {len(key)} bytes, {SHORTEST_KEY} are needed. Make one with: openssl rand -hex 32"
        )
    return key
