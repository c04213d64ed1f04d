"""Gates: exactly on the limit passes, what cannot be compared passes and says why."""

import msgspec
import pytest

from mlops_assets.errors import DeclarationError
from mlops_assets.products.gates import (
    AtMost,
    at_least,
    bundle_size,
    latency_p99,
    leakage_probe,
    not_worse_than_champion,
    onnx_parity,
    slice_gap,
)
from mlops_assets.records import testing as reports
from mlops_assets.records.acceptance import GateResult
from mlops_assets.records.testing import Leakage
from mlops_assets.state.records import decoded, encoded
from mlops_assets.testing.gates import judge_latency, judge_report
from tests.unit.testing.builders import a_staging_report
from tests.unit.training.builders import a_product

REPORT = reports.TestReport(
    product="taxi",
    version=3,
    partition="2020-01-09",
    rows=1_200,
    scores=(reports.Scored("roc_auc", 0.75, 0.7, 0.8), reports.Scored("log_loss", 0.5, 0.4, 0.6)),
    slices=(),
    calibration=(),
    importance={},
    onnx_difference=1e-5,
    comparisons=(),
    calibration_error=None,
    confusion=None,
    worst_slices=(),
    slices_examined=0,
    leakage=None,
    bundle_bytes=None,
    parity_rows=1_230,
    flipped_labels=0,
)


def judged(gate, **changes) -> GateResult:
    """The answer of this gate on a report with these changes."""
    result, *_ = judge_report(a_product(gates=(gate,)), msgspec.structs.replace(REPORT, **changes))
    assert result.gate == gate.name
    return result


def compared(low: float) -> reports.Comparison:
    return reports.Comparison(2, "roc_auc", gain=0.001, low=low, high=0.02, confidence=0.9)


def a_slice(category: str, gap: float | None, *, rows: int = 200, feature="origin", metric="roc_auc") -> reports.Slice:
    return reports.Slice(feature, category, rows, metric, None if gap is None else 0.75 - gap, gap)


@pytest.mark.parametrize(
    ("gate", "passed", "reason"),
    [
        (at_least("roc_auc", 0.75), True, "roc_auc 0.75 >= 0.75"),
        (at_least("roc_auc", 0.7501), False, "roc_auc 0.75 < 0.7501"),
        (AtMost("log_loss", 0.5), True, "log_loss 0.5 <= 0.5"),
        (AtMost("log_loss", 0.4999), False, "log_loss 0.5 > 0.4999"),
        (onnx_parity(1e-5), True, "largest difference of 1,230 rows 1.0e-05 <= 1e-05, 0 of them with another label"),
        (onnx_parity(9e-6), False, "largest difference of 1,230 rows 1.0e-05 > 9e-06, 0 of them with another label"),
    ],
)
def test_a_value_exactly_on_the_limit_passes(gate, passed, reason):
    result = judged(gate)

    assert (result.passed, result.reason) == (passed, reason)


def test_one_flipped_label_does_not_pass():
    assert not judged(onnx_parity(1e-5), onnx_difference=1e-9, flipped_labels=1).passed


def test_a_difference_that_is_no_number_does_not_pass():
    assert not judged(onnx_parity(1e-5), onnx_difference=float("nan")).passed


@pytest.mark.parametrize(("size", "passed"), [(2_000_000, True), (2_000_001, False)])
def test_a_bundle_exactly_on_the_limit_passes(size, passed):
    result = judged(bundle_size(megabytes=2), bundle_bytes=size)

    assert (result.passed, result.value, result.limit) == (passed, size / 1e6, 2)


@pytest.mark.parametrize(("skill", "passed"), [(0.9, True), (0.9001, False)])
def test_an_input_that_tells_the_label_by_itself_is_a_leak(skill, passed):
    result = judged(leakage_probe(0.9), leakage=Leakage({"distance": skill, "origin": 0.1}, 0))

    assert (result.passed, result.value) == (passed, skill)
    assert "the most predictive single input, distance, has skill 0.9" in result.reason
    assert ("If it is legitimate, declare gates.leakage_probe(at_most=…) above 0.9" in result.reason) is not passed


def test_a_leak_is_refused_again_when_the_stored_report_is_judged():
    report = msgspec.structs.replace(REPORT, leakage=Leakage({"zone": 0.95, "distance": 0.1}, 0))

    stored = decoded(reports.TestReport, encoded(report), "test_report.json")

    assert stored.leakage is not None
    result = judged(leakage_probe(0.9), leakage=stored.leakage)
    assert (result.passed, result.value) == (False, 0.95)


def test_a_test_row_that_was_fitted_on_is_a_leak_whatever_the_inputs_tell():
    result = judged(leakage_probe(0.9), leakage=Leakage({"distance": 0.1}, 3))

    assert not result.passed
    assert result.reason.endswith("; 3 test rows were also fitted on")


@pytest.mark.parametrize("gate", [bundle_size(2), leakage_probe()])
def test_what_an_older_report_did_not_measure_does_not_pass(gate):
    result = judged(gate)

    assert (result.passed, result.value) == (False, None)
    assert "materialise test_report again" in result.reason


def test_a_skill_lies_between_nothing_and_everything():
    with pytest.raises(DeclarationError, match="leakage_probe: at_most 1 is a skill"):
        leakage_probe(1)


@pytest.mark.parametrize(("milliseconds", "passed"), [(50.0, True), (50.1, False)])
def test_latency_exactly_on_the_limit_passes(milliseconds, passed):
    result = judge_latency(latency_p99(50), a_staging_report(p99_milliseconds=milliseconds))

    assert (result.gate, result.passed, result.value, result.limit) == ("latency_p99", passed, milliseconds, 50)
    assert result.reason == f"99 of 100 requests within {milliseconds} ms {'<=' if passed else '>'} 50 ms"


@pytest.mark.parametrize(
    "wrong", [{"milliseconds": 0}, {"milliseconds": float("nan")}, {"milliseconds": 50, "rounds": 0}]
)
def test_a_latency_that_cannot_be_kept_or_measured_is_refused(wrong):
    with pytest.raises(DeclarationError, match=r"latency_p99: milliseconds .* must be above 0, rounds .* at least 1"):
        latency_p99(**wrong)


def test_without_a_champion_there_is_nothing_to_be_worse_than():
    result = judged(not_worse_than_champion("roc_auc", margin=0.005))

    assert (result.passed, result.value) == (True, None)
    assert result.reason == "no champion yet: nothing to compare with"


@pytest.mark.parametrize(("low", "passed"), [(-0.005, True), (-0.0051, False), (0.01, True)])
def test_a_challenger_may_lose_the_margin_and_no_more_at_the_lower_end_of_the_interval(low, passed):
    result = judged(not_worse_than_champion("roc_auc", margin=0.005), comparisons=(compared(low),))

    assert (result.passed, result.value, result.limit) == (passed, low, -0.005)
    assert "differs from champion 2 by +0.0010, at 95% confidence by at least" in result.reason


@pytest.mark.parametrize(("gap", "passed"), [(0.1, True), (0.1001, False)])
def test_the_worst_slice_decides(gap, passed):
    slices = (a_slice("EWR", -0.05), a_slice("JFK", gap), a_slice("LGA", 0.02))

    result = judged(slice_gap("origin", "roc_auc", at_most=0.1), slices=slices)

    assert (result.passed, result.value) == (passed, gap)
    assert "worst of 3 slices origin=JFK loses" in result.reason


@pytest.mark.parametrize(
    "outside",
    [
        a_slice("JFK", 0.5, rows=199),
        a_slice("JFK", None),
        a_slice("JFK", 0.5, feature="driver"),
        a_slice("JFK", 0.5, metric="log_loss"),
    ],
    ids=["too few rows", "one class only", "another feature", "another metric"],
)
def test_a_slice_that_cannot_be_compared_does_not_decide(outside):
    gate = slice_gap("origin", "roc_auc", at_most=0.1)

    assert judged(gate, slices=(outside, a_slice("EWR", 0.03))).value == 0.03
    alone = judged(gate, slices=(outside,))
    assert (alone.passed, alone.value) == (True, None)
    assert alone.reason == "no origin has 200 rows of both outcomes: nothing to compare"


def test_a_slice_with_just_enough_rows_decides():
    assert not judged(slice_gap("origin", "roc_auc", at_most=0.1), slices=(a_slice("JFK", 0.5, rows=200),)).passed


def test_the_report_judges_every_gate_but_the_latency_in_the_declared_order():
    product = a_product()

    assert [result.gate for result in judge_report(product, REPORT)] == [gate.name for gate in product.report_gates]


def test_a_product_that_declares_no_gate_is_still_refused_for_a_leak():
    report = msgspec.structs.replace(REPORT, leakage=Leakage({"outcome": 1.0}, 0))

    failed = [result.gate for result in judge_report(a_product(gates=()), report) if not result.passed]

    assert failed == ["leakage_probe"]
