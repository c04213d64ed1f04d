"""Records of user acceptance: what the gates say of a version, and what people answered."""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

import msgspec

from mlops_assets.records.record import Record


class GateResult(msgspec.Struct, frozen=True):
    """A gate's verdict: the value, the limit, and both in one sentence. `value` is None where there is nothing to
    compare; the gate then passes and says why. inconclusive: it did not pass, and the machine is the cause, not the version."""

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
    INCONCLUSIVE = (
        "inconclusive"  # the machine was too busy to judge it: neither accepted nor refused, staged again later
    )


class AcceptanceRecord(Record, frozen=True):
    """The answer, bound to the content of the reports and the bundle it rests on.

    answers: how far the product's chain of answers went."""

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
    """A person's answer. evidence: content hash of each report and of the bundle it was given on. It counts until
    `expires_at`; a rejection has no end, and `expires_at` is when it was given. through: how the name in `by` is known.
    number: its place among all answers of the product, 0 for one of before they formed a chain. previous: the signature
    of the answer before; empty where the chain begins.

    The signature covers the name of this class and every field, so that a change of either ends every answer."""

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
    """How far the answers of a product go. newest: the signature of the last of them, empty where a chain
    begins after it. Signed as an approval is."""

    asset: ClassVar[str] = "approval_head"

    product: str
    number: int
    newest: str
    signature: str = ""
