"""Judges a product's gates on the measurements of a challenger."""

from collections.abc import Iterable

from mlops_assets.products.gates import (
    AtLeast,
    AtMost,
    BundleSize,
    Gate,
    LatencyP99,
    LeakageProbe,
    NotWorseThanChampion,
    OnnxParity,
    SliceGap,
)
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.acceptance import GateResult
from mlops_assets.records.testing import StagingReport, TestReport
from mlops_assets.testing.latency import Verdict, in_words, verdict_on
from mlops_assets.testing.staging import LARGEST_SKEW


def judge_report(product: ModelProduct, report: TestReport) -> tuple[GateResult, ...]:
    return tuple(_judge(gate, report) for gate in product.report_gates)


def judge_staging(product: ModelProduct, staged: StagingReport) -> tuple[GateResult, ...]:
    """The declared staging gates, and the two that every product has."""
    skew = f"largest difference of {staged.rows:,} rows {staged.skew:.3g} float32 steps, limit {LARGEST_SKEW:g}"
    refused = "an unknown field was " + ("refused" if staged.refused_bad_request else "accepted")
    return (
        *(judge_latency(gate, staged) for gate in product.staging_gates),
        GateResult("online_equals_offline", staged.skew <= LARGEST_SKEW, staged.skew, LARGEST_SKEW, skew),
        GateResult("refuses_a_bad_request", staged.refused_bad_request, None, 0.0, refused),
    )


def judge_latency(gate: LatencyP99, staged: StagingReport) -> GateResult:
    limit, p99, latency = gate.milliseconds, staged.p99_milliseconds, staged.latency
    if latency is None:  # reports of earlier releases have no witness
        passed = p99 <= limit
        reason = f"99 of 100 requests within {p99:.1f} ms {'<=' if passed else '>'} {limit:g} ms"
        return GateResult(gate.name, passed, p99, limit, reason)
    verdict = verdict_on(latency, limit)
    is_open = verdict is Verdict.INCONCLUSIVE
    return GateResult(gate.name, verdict is Verdict.PASSED, p99, limit, in_words(latency, limit), is_open)


def why_undecided(results: Iterable[GateResult]) -> str | None:
    """Why the gates cannot decide yet: all that did not pass are inconclusive. None if they can decide."""
    failed = [result for result in results if not result.passed]
    is_open = failed and all(result.inconclusive for result in failed)
    return "; ".join(f"{result.gate}: {result.reason}" for result in failed) if is_open else None


def _judge(gate: Gate, report: TestReport) -> GateResult:
    match gate:
        case AtLeast(metric, limit):
            value = report.value_of(metric)
            sign = ">=" if value >= limit else "<"
            return GateResult(gate.name, value >= limit, value, limit, f"{metric} {value:.4g} {sign} {limit:g}")
        case AtMost(metric, limit):
            value = report.value_of(metric)
            sign = "<=" if value <= limit else ">"
            return GateResult(gate.name, value <= limit, value, limit, f"{metric} {value:.4g} {sign} {limit:g}")
        case NotWorseThanChampion():
            return _judge_comparison(gate, report)
        case SliceGap():
            return _judge_slices(gate, report)
        case OnnxParity(tolerance):
            value = report.onnx_difference
            passed = value <= tolerance and not report.flipped_labels
            reason = (
                f"largest difference of {report.parity_rows:,} rows {value:.1e} {'<=' if value <= tolerance else '>'} "
                f"{tolerance:.0e}, {report.flipped_labels} of them with another label"
            )
            return GateResult(gate.name, passed, value, tolerance, reason)
        case BundleSize(megabytes):
            return _judge_size(gate.name, megabytes, report.bundle_bytes)
        case LeakageProbe():
            return _judge_leakage(gate, report)
        case LatencyP99():
            raise AssertionError("latency is judged on the staging report")


def _judge_size(name: str, limit: float, size: int | None) -> GateResult:
    if size is None:
        return GateResult(name, False, None, limit, "the bundle was not measured: materialise test_report again")
    value = size / 1e6
    passed = value <= limit
    return GateResult(name, passed, value, limit, f"bundle of {value:.3g} MB {'<=' if passed else '>'} {limit:g} MB")


def _judge_leakage(gate: LeakageProbe, report: TestReport) -> GateResult:
    leakage = report.leakage
    if leakage is None:
        return GateResult(gate.name, False, None, gate.at_most, "leakage was not probed: materialise test_report again")
    name, skill = leakage.most_predictive
    passed = skill <= gate.at_most and leakage.shared_rows == 0
    sign = "<=" if skill <= gate.at_most else ">"
    reason = f"the most predictive single input, {name}, has skill {skill:.3g} {sign} {gate.at_most:g}"
    if leakage.shared_rows:
        reason += f"; {leakage.shared_rows} test rows were also fitted on"
    if skill > gate.at_most:
        reason += (
            ". Is it computed from the label, or looked up after the outcome was known? If it is legitimate, declare "
            f"gates.leakage_probe(at_most=…) above {skill:.3g}"
        )
    return GateResult(gate.name, passed, skill, gate.at_most, reason)


def _judge_comparison(gate: NotWorseThanChampion, report: TestReport) -> GateResult:
    gain = report.against_champion(gate.metric)
    if gain is None:
        return GateResult(gate.name, True, None, -gate.margin, "no champion yet: nothing to compare with")
    passed = gain.low >= -gate.margin
    reason = (
        f"{gain.metric} differs from champion {gain.champion_version} by {gain.gain:+.4f}, at {gate.confidence:.0%} "
        f"confidence by at least {gain.low:+.4f} {'>=' if passed else '<'} {-gate.margin:g}"
    )
    return GateResult(gate.name, passed, gain.low, -gate.margin, reason)


def _judge_slices(gate: SliceGap, report: TestReport) -> GateResult:
    measured = [
        item
        for item in report.slices
        if item.feature == gate.feature
        and item.metric == gate.metric
        and item.gap is not None
        and item.rows >= gate.min_rows
    ]
    if not measured:
        reason = f"no {gate.feature} has {gate.min_rows} rows of both outcomes: nothing to compare"
        return GateResult(gate.name, True, None, gate.at_most, reason)
    worst = max(measured, key=lambda item: item.gap or 0.0)
    gap = worst.gap or 0.0
    passed = gap <= gate.at_most
    reason = (
        f"worst of {len(measured)} slices {gate.feature}={worst.category} loses {gap:.4g} {gate.metric} "
        f"{'<=' if passed else '>'} {gate.at_most:g}"
    )
    return GateResult(gate.name, passed, gap, gate.at_most, reason)
