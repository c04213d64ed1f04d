"""User acceptance: who lets a version that was tested and staged go live, on which evidence."""

from datetime import datetime

import msgspec

from mlops_assets.products.product import ModelProduct
from mlops_assets.testing.gates import GateResult


class AcceptanceRecord(msgspec.Struct, frozen=True):
    """The answer, bound to the data versions of the reports it rests on."""

    product: str
    version: int
    accepted: bool
    by: str
    at: datetime
    reason: str
    gates: tuple[GateResult, ...]
    evidence: dict[str, str]


def accept(
    product: ModelProduct, version: int, gates: tuple[GateResult, ...], evidence: dict[str, str], at: datetime
) -> AcceptanceRecord:
    """Accept when every declared gate was judged and passed; name those that were not."""
    judged = {result.gate: result for result in gates}
    declared = [gate.name for gate in (*product.report_gates, *product.staging_gates)]
    missing = [name for name in declared if name not in judged]
    failed = [result.reason for result in gates if not result.passed]
    if missing:
        reason = f"not judged: {', '.join(missing)}"
    elif failed:
        reason = f"failed: {'; '.join(failed)}"
    else:
        reason = f"all {len(declared)} gates passed"
    return AcceptanceRecord(
        product.name, version, not missing and not failed, product.acceptance.kind, at, reason, gates, evidence
    )
