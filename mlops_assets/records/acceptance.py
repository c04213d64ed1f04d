"""Records of user acceptance: the verdicts of the gates on a version, and the answers of people."""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

import msgspec

from mlops_assets.records.record import Record


class GateResult(msgspec.Struct, frozen=True):
    """A gate's verdict: the value, the limit, and both in one sentence. `value` is None if there is nothing to
    compare; the gate then passes and says why. inconclusive: it did not pass, and a busy machine is the cause, not the version."""

    gate: str
    passed: bool
    value: float | None
    limit: float
    reason: str
    inconclusive: bool = False


class AcceptanceState(StrEnum):
    ACCEPTED = "accepted"
    WAITING = "waiting"  # every gate passed, a person has not answered yet
    REFUSED = "refused"  # a gate failed
    REJECTED = "rejected"  # a person said no
    INCONCLUSIVE = "inconclusive"  # the machine was too busy to measure latency, so the version is staged again


class AcceptanceRecord(Record, frozen=True):
    """Whether a version is accepted. evidence: content hashes of the reports and the bundle that this rests on.

    answers: length of the product's chain of signed answers at that time."""

    asset: ClassVar[str] = "acceptance"

    product: str
    version: int
    accepted: bool
    by: str
    at: datetime
    reason: str
    gates: tuple[GateResult, ...]
    evidence: dict[str, str]
    state: AcceptanceState
    answers: int = 0


class Verdict(StrEnum):
    APPROVED = "approved"
    REJECTED = "rejected"


class Approval(Record, frozen=True):
    """A person's signed answer. evidence: content hashes of the reports and the bundle that it rests on. An approval counts
    until `expires_at`; a rejection does not expire, and its `expires_at` is the time of the answer. through: how the person
    was identified. number: its place among all answers of the product, 0 for one that was given before they formed a chain.
    previous: the signature of the answer before, empty for the first.

    The signature covers the name of this class and every field, so renaming either invalidates every stored answer."""

    asset: ClassVar[str] = "approval"

    product: str
    version: int
    partition: str
    verdict: Verdict
    by: str
    note: str
    at: datetime
    expires_at: datetime
    evidence: dict[str, str]
    through: str
    number: int = 0
    previous: str = ""
    signature: str = ""


class Head(Record, frozen=True):
    """The end of a product's chain of answers: their number, and the signature of the newest, empty where a new chain
    begins after it. Signed like an approval."""

    asset: ClassVar[str] = "approval_head"

    product: str
    number: int
    newest: str
    signature: str = ""
