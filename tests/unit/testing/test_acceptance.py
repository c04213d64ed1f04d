"""Acceptance: every declared gate was judged and passed, or the answer names what was not."""

from mlops_assets.records.acceptance import AcceptanceRecord, AcceptanceState, GateResult
from mlops_assets.testing.acceptance import accept
from tests.unit.training.builders import a_product, january

PRODUCT = a_product()
EVIDENCE = {"test_report": "aaaa", "staging_report": "bbbb"}


def answers(**changed: bool) -> tuple[GateResult, ...]:
    """Every declared gate passed, but for these."""
    return tuple(
        GateResult(
            gate.name, passed := changed.get(gate.name, True), 0.5, 0.6, f"{gate.name} {'ok' if passed else 'not'}"
        )
        for gate in (*PRODUCT.report_gates, *PRODUCT.staging_gates)
    )


def accepted(gates: tuple[GateResult, ...]) -> AcceptanceRecord:
    return accept(PRODUCT, 3, gates, EVIDENCE, january(9))


def test_a_version_that_passed_every_gate_is_accepted_on_its_evidence():
    record = accepted(answers())

    assert (record.product, record.version, record.accepted, record.by) == ("taxi", 3, True, "automatic")
    assert record.reason == "all 6 gates passed"
    assert (record.evidence, record.at) == (EVIDENCE, january(9))


def test_every_gate_that_failed_is_named():
    record = accepted(answers(roc_auc_at_least_0_6=False, latency_p99=False))

    assert not record.accepted
    assert record.reason == "failed: roc_auc_at_least_0_6 not; latency_p99 not"


def test_a_gate_that_was_not_judged_is_named_and_is_no_pass():
    record = accepted(answers()[:-1])

    assert not record.accepted
    assert record.reason == "not judged: latency_p99"


def test_a_further_answer_that_no_gate_declares_can_refuse_too():
    skew = GateResult("online_equals_offline", False, 0.1, 1e-5, "skew 1.0e-01")

    assert accepted((*answers(), skew)).reason == "failed: skew 1.0e-01"


def test_what_a_busy_machine_left_open_is_neither_accepted_nor_refused():
    slow = GateResult("latency_p99", False, 189.0, 100.0, "99 of 100 requests within 189 ms", inconclusive=True)

    record = accepted((*answers()[:-1], slow))

    assert (record.accepted, record.state) == (False, AcceptanceState.INCONCLUSIVE)
    assert record.reason == "not conclusive: latency_p99: 99 of 100 requests within 189 ms"


def test_a_gate_that_failed_refuses_whatever_a_busy_machine_left_open():
    slow = GateResult("latency_p99", False, 189.0, 100.0, "99 of 100 requests within 189 ms", inconclusive=True)

    record = accepted((*answers(roc_auc_at_least_0_6=False)[:-1], slow))

    assert record.state is AcceptanceState.REFUSED
    assert record.reason == "failed: roc_auc_at_least_0_6 not; 99 of 100 requests within 189 ms"


def test_nothing_judged_is_nothing_accepted():
    assert not accepted(()).accepted
