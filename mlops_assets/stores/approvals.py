"""Signed approvals: a person's answer to one version, bound to the evidence it was given on, that ends by itself.

Dagster's webserver takes materialisations from anybody, so a record alone proves nothing. An answer is signed with a key
that only those hold who may answer (HMAC-SHA256, RFC 2104), and whoever deploys verifies it.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

import msgspec

from mlops_assets.errors import ApprovalRefused
from mlops_assets.stores.documents import Documents

APPROVAL, ACCEPTANCE = "approval", "acceptance"
OPEN = ("waiting", "rejected")  # states of an acceptance that a person may still change
SHORTEST_KEY = 16  # bytes; shorter ones can be tried out


class Verdict(StrEnum):
    APPROVED = "approved"
    REJECTED = "rejected"


class Approval(msgspec.Struct, frozen=True):
    """A person's answer. evidence: content hash of each report and of the bundle it was given on. It counts until
    `expires_at`; a rejection has no end, and `expires_at` is when it was given."""

    product: str
    version: int
    partition: str
    verdict: Verdict
    by: str
    note: str
    at: datetime
    expires_at: datetime
    evidence: dict[str, str]
    signature: str = ""


class WaitingAcceptance(msgspec.Struct, frozen=True):
    """The part of a stored acceptance that an answer needs; whoever deploys judges the gates anew in any case."""

    version: int
    state: str | None = None
    evidence: dict[str, str] = {}


@dataclass(frozen=True)
class ApprovalBook:
    """Every answer that was given, and the key they are signed with.

    given_key: the key itself, from the environment; empty: the one in `key_file`, which the first answer makes."""

    documents: Documents
    key_file: Path
    given_key: str = ""

    def answer(
        self,
        *,
        product: str,
        version: int,
        partition: str,
        verdict: Verdict,
        by: str,
        note: str,
        at: datetime,
        valid_for: timedelta,
        evidence: Mapping[str, str],
    ) -> Approval:
        """Sign and keep it. Raises ApprovalRefused: nobody is named, or the key cannot be used."""
        if not by.strip() or not note.strip():
            raise ApprovalRefused(
                f"an answer to version {version} of {product} needs who gives it and why. Name both, as in "
                '--by ana --note "checked the worst slices".'
            )
        expires_at = at + valid_for if verdict is Verdict.APPROVED else at
        bare = Approval(product, version, partition, verdict, by, note, at, expires_at, dict(evidence))
        signed = msgspec.structs.replace(bare, signature=sign(bare, self._key(make=True)))
        self.documents.save(product, APPROVAL, f"{version:06d}-{at:%Y%m%dT%H%M%S%f}-{signed.signature[:8]}", signed)
        return signed

    def answer_waiting(
        self, product: str, version: int, verdict: Verdict, by: str, note: str, at: datetime, valid_for: timedelta
    ) -> Approval:
        """Answer the stored acceptance that waits for this version, on the evidence it names.

        Raises ApprovalRefused: none waits, with what is known of the version."""
        for key in reversed(self.documents.keys(product, ACCEPTANCE)):
            waiting = self.documents.load(product, ACCEPTANCE, key, WaitingAcceptance)
            if waiting.version != version:
                continue
            if waiting.state not in OPEN:
                raise ApprovalRefused(
                    f"version {version} of {product} is {waiting.state or 'answered'} and waits for nobody."
                )
            return self.answer(
                product=product,
                version=version,
                partition=key,
                verdict=verdict,
                by=by,
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

    def newest(self, product: str, version: int, evidence: Mapping[str, str], now: datetime) -> Approval | None:
        """The newest answer to this version on this evidence that is rightly signed and counts at `now`.

        Forged, expired and outdated ones are as if they were not there: `why_not` says so in words."""
        counted = [item for item in self.answers(product, version) if self._fault(item, evidence, now) is None]
        return counted[-1] if counted else None

    def why_not(self, product: str, version: int, evidence: Mapping[str, str], now: datetime) -> str:
        """Why the answers that are kept do not count, empty when there is none."""
        faults = [self._fault(item, evidence, now) for item in self.answers(product, version)]
        return "; ".join(fault for fault in faults if fault)

    def answers(self, product: str, version: int) -> list[Approval]:
        """What is kept for this version, by the moment it says it was given, verified or not."""
        keys = [key for key in self.documents.keys(product, APPROVAL) if key.startswith(f"{version:06d}-")]
        found = [self.documents.load(product, APPROVAL, key, Approval) for key in keys]
        return sorted((item for item in found if item.version == version), key=lambda item: item.at)

    def _fault(self, answer: Approval, evidence: Mapping[str, str], now: datetime) -> str | None:
        who = f"the answer of {answer.by or 'nobody'} at {answer.at:%Y-%m-%d %H:%M}"
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
        if make and not self.key_file.exists():
            self.key_file.parent.mkdir(parents=True, exist_ok=True)
            try:
                handle = os.open(self.key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                pass  # somebody else made it in the same moment
            else:
                with os.fdopen(handle, "w") as opened:
                    opened.write(secrets.token_hex(32))
        return _checked(self.key_file.read_bytes().strip(), str(self.key_file)) if self.key_file.exists() else b""


def sign(answer: Approval, key: bytes) -> str:
    """HMAC-SHA256 over every field but the signature, as hex."""
    content = msgspec.json.encode(msgspec.structs.replace(answer, signature=""), order="deterministic")
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def is_genuine(answer: Approval, key: bytes) -> bool:
    return bool(key) and hmac.compare_digest(answer.signature, sign(answer, key))


def _checked(key: bytes, where: str) -> bytes:
    if len(key) < SHORTEST_KEY:
        raise ApprovalRefused(
            f"the approval key in {where} has {len(key)} bytes, {SHORTEST_KEY} are needed. Make one with: openssl rand -hex 32"
        )
    return key
