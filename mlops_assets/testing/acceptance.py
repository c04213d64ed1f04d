"""User acceptance: whether a version that was tested and staged may go live, who decided it, and on which evidence."""

from datetime import datetime

from mlops_assets.products.product import ModelProduct
from mlops_assets.records.acceptance import AcceptanceRecord, AcceptanceState, Approval, GateResult, Verdict
from mlops_assets.testing.gates import why_undecided


def accept(
    product: ModelProduct,
    version: int,
    gates: tuple[GateResult, ...],
    evidence: dict[str, str],
    at: datetime,
    answer: Approval | None = None,
    why_none: str = "",
) -> AcceptanceRecord:
    """Accept the version if every declared gate passed and, for manual acceptance, a person approved it.
    Inconclusive if the only gates that did not pass are those that a busy machine left open.

    answer: a verified answer on this evidence. why_none: why the stored answers do not count."""
    judged = {result.gate: result for result in gates}
    declared = [gate.name for gate in (*product.report_gates, *product.staging_gates)]
    missing = [name for name in declared if name not in judged]
    failed = [result.reason for result in gates if not result.passed]
    state, by = AcceptanceState.REFUSED, product.acceptance.kind
    if missing:
        reason = f"not judged: {', '.join(missing)}"
    elif why := why_undecided(gates):
        state, reason = AcceptanceState.INCONCLUSIVE, f"not conclusive: {why}"
    elif failed:
        reason = f"failed: {'; '.join(failed)}"
    elif product.acceptance.kind == "automatic":
        state, reason = AcceptanceState.ACCEPTED, f"all {len(declared)} gates passed"
    elif answer is None:
        state = AcceptanceState.WAITING
        reason = f"waits for a person: mlops approve {product.name} {version} --by NAME --note WHY"
        reason += f" ({why_none})" if why_none else ""
    else:
        state = AcceptanceState.ACCEPTED if answer.verdict is Verdict.APPROVED else AcceptanceState.REJECTED
        by, reason = answer.by, f"{answer.verdict} by {answer.by}: {answer.note}"
    accepted = state is AcceptanceState.ACCEPTED
    return AcceptanceRecord(product.name, version, accepted, by, at, reason, gates, evidence, state)
