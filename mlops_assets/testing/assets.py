"""Assets of the testing pipeline: test report, staging report, acceptance. Gates are blocking asset checks."""

import time
from collections.abc import Iterable, Iterator
from typing import Any

import dagster as dg

from mlops_assets.errors import Inconclusive
from mlops_assets.products.gates import Gate
from mlops_assets.products.periods import spelled
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.acceptance import AcceptanceRecord, AcceptanceState, GateResult
from mlops_assets.records.testing import LatencyReading, StagingReport, TestReport
from mlops_assets.records.training import ModelRecord
from resources.asset_parts import dep, key_of, materialized, picture, product_asset, table
from resources.platform import Platform

GROUP = "testing"


class TestReportConfig(dg.Config):
    """render_report: also write Evidently's HTML page, which takes seconds."""

    render_report: bool = True


def build_testing_assets(product: ModelProduct) -> list[dg.AssetsDefinition]:
    return [_test_report(product), _staging_report(product), _acceptance(product)]


def _test_report(product: ModelProduct) -> dg.AssetsDefinition:
    key = key_of(product, TestReport.asset)

    @product_asset(
        product,
        TestReport.asset,
        GROUP,
        build_testing_assets,
        kinds={"scikitlearn", "onnx"},
        description=f"The challenger on the last {spelled(product.test_window)}, which it was not fitted on, beside the "
        "champion on the same rows: scores with intervals, slices, calibration, importance, ONNX parity.",
        deps=[dep(product, ModelRecord.asset), dep(product, "training_set")],
        check_specs=_gate_specs(key, product.report_gates),
    )
    def test_report(
        context: dg.AssetExecutionContext, config: TestReportConfig, platform: Platform
    ) -> Iterator[object]:
        from mlops_assets.testing.gates import judge_report
        from mlops_assets.testing.plots import test_report_figure
        from mlops_assets.testing.run import describe_partition, test_partition

        state, key_of_run = platform.state_of(product), context.partition_key
        started = time.perf_counter()
        report = test_partition(state, key_of_run)
        measured = time.perf_counter() - started
        version = state.records.save(key_of_run, report)
        results = judge_report(product, report)
        card = describe_partition(state, key_of_run, report, results, with_page=config.render_report)
        metadata: dict[str, Any] = {
            **_report_metadata(product, report),
            "plot": picture(test_report_figure(report)),
            "model card": dg.MetadataValue.md(card),
        }
        if config.render_report:
            url = platform.report_url(product.name, TestReport.asset, key_of_run)
            metadata["Evidently report"] = dg.MetadataValue.url(url)
        metadata["seconds measuring"] = measured
        metadata["seconds outside measuring"] = time.perf_counter() - started - measured
        yield materialized(asset_key=key, metadata=metadata, version=version)
        yield from _check_results(key, results)

    return test_report


def _report_metadata(product: ModelProduct, report: TestReport) -> dict[str, Any]:
    """The numbers of a report, as tables."""
    measured = [*report.scores, *([report.calibration_error] if report.calibration_error else [])]
    scores = [
        {"metric": item.metric, "value": item.value, "interval": f"{item.low:.4f} to {item.high:.4f}"}
        for item in measured
    ]
    slices = [
        {
            "slice": f"{item.feature}={item.category}",
            "rows": item.rows,
            "metric": item.metric,
            "value": item.value,
            "gap": item.gap,
        }
        for item in report.slices
    ]
    worst = [
        {
            "slice": item.description,
            "rows": item.rows,
            item.metric: item.value,
            "gap": item.gap,
            f"chance, corrected for {report.slices_examined} slices": "unknown"
            if item.p_adjusted is None
            else item.p_adjusted,
        }
        for item in report.worst_slices
    ]
    metadata: dict[str, Any] = {
        "version": report.version,
        "rows": report.rows,
        product.metric: report.value_of(product.metric),
        "scores": table(scores),
        "slices": table(slices),
        "worst slices": table(worst),
        "ONNX largest difference": report.onnx_difference,
    }
    if confusion := report.confusion:
        rows = [
            {
                "true class": name,
                **{f"predicted {other}": count for other, count in zip(confusion.classes, counts, strict=True)},
            }
            for name, counts in zip(confusion.classes, confusion.counts, strict=True)
        ]
        metadata["confusion" + (f" at {confusion.threshold:g}" if confusion.threshold else "")] = table(rows)
    if report.leakage:
        metadata["skill of each input by itself"] = table(
            [{"input": name, "skill": skill} for name, skill in list(report.leakage.skills.items())[:8]]
        )
    if gain := report.against_champion(product.metric):
        metadata["against champion"] = (
            f"version {gain.champion_version}: {gain.gain:+.4f} {gain.metric} ({gain.low:+.4f} to {gain.high:+.4f})"
        )
    return metadata


def _staging_report(product: ModelProduct) -> dg.AssetsDefinition:
    key = key_of(product, StagingReport.asset)

    @product_asset(
        product,
        StagingReport.asset,
        GROUP,
        build_testing_assets,
        kinds={"litestar", "onnx"},
        description="The real API in a process of its own serves the challenger's bundle, and unseen rows are sent over HTTP: "
        "online equals offline, latency, memory, a bad request is refused.",
        deps=[
            *(dep(product, name) for name in (ModelRecord.asset, TestReport.asset, "training_set")),
            dep(product, "raw", first=-product.period.in_window(product.test_window), last=-1),
        ],
        check_specs=[
            *_gate_specs(key, product.staging_gates),
            dg.AssetCheckSpec("online_equals_offline", asset=key, blocking=True, description="Training/serving skew."),
            dg.AssetCheckSpec(
                "refuses_a_bad_request", asset=key, blocking=True, description="An unknown field is a 4xx."
            ),
        ],
    )
    def staging_report(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[object]:
        from mlops_assets.testing.gates import judge_staging, why_undecided
        from mlops_assets.testing.run import stage_partition

        state = platform.state_of(product)
        report = stage_partition(state, context.partition_key)
        version = state.records.save(context.partition_key, report)
        results = judge_staging(product, report)
        if why := why_undecided(results):
            raise Inconclusive(
                f"version {report.version} of {product.name} is neither accepted nor refused: {why}. "
                f"Materialise {product.name}/staging_report for {context.partition_key} again when the machine is less busy."
            )
        yield materialized(
            asset_key=key,
            metadata={
                "version": report.version,
                "rows sent": report.rows,
                "largest difference to offline (float32 steps)": report.skew,
                "p50 of one row (ms)": report.p50_milliseconds,
                "p99 of one row (ms)": report.p99_milliseconds,
                **(_witness_metadata(report.latency) if report.latency else {}),
                "memory (MB)": report.memory_mb,
                "start until ready (s)": report.start_seconds,
            },
            version=version,
        )
        yield from _check_results(key, results)

    return staging_report


def _witness_metadata(latency: LatencyReading) -> dict[str, Any]:
    """The witness that was measured in turn with the challenger, and how busy the machine was."""
    return {
        "witness": latency.witness,
        "p99 of the witness (ms)": latency.witness_p99,
        "machine used by others (%)": 100 * latency.others_share,
        "rounds of requests": latency.rounds,
    }


def _acceptance(product: ModelProduct) -> dg.AssetsDefinition:
    key = key_of(product, AcceptanceRecord.asset)

    @product_asset(
        product,
        AcceptanceRecord.asset,
        GROUP,
        build_testing_assets,
        kinds={"json"},
        description=f"User acceptance, {product.acceptance.kind}: bound to the evidence of the reports.",
        deps=[dep(product, TestReport.asset), dep(product, StagingReport.asset)],
        check_specs=[
            dg.AssetCheckSpec("accepted", asset=key, blocking=True, description="Every gate was judged and passed.")
        ],
    )
    def acceptance(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[object]:
        from mlops_assets.testing.run import accept_partition

        state = platform.state_of(product)
        record = accept_partition(state, context.partition_key)
        version = state.records.save(context.partition_key, record)
        if record.state is AcceptanceState.INCONCLUSIVE:
            raise Inconclusive(
                f"version {record.version} of {product.name}: {record.reason}. Materialise {product.name}/staging_report for "
                f"{context.partition_key} again, then this asset."
            )
        gates = [{"gate": item.gate, "passed": item.passed, "reason": item.reason} for item in record.gates]
        yield materialized(
            asset_key=key,
            metadata={
                "version": record.version,
                "state": record.state.value,
                "accepted": record.accepted,
                "by": record.by,
                "reason": record.reason,
                "gates": table(gates),
                "evidence": dg.MetadataValue.json(dict(record.evidence)),
            },
            version=version,
        )
        is_answer = record.state in (AcceptanceState.WAITING, AcceptanceState.REJECTED)
        answer = GateResult("accepted", record.accepted, None, 0.0, record.reason)
        # waiting for a person and being rejected by one are not failures: the run succeeds, and `deployment` refuses both
        severity = dg.AssetCheckSeverity.WARN if is_answer else dg.AssetCheckSeverity.ERROR
        yield from _check_results(key, [answer], severity)

    return acceptance


def _gate_specs(key: dg.AssetKey, gates: Iterable[Gate]) -> list[dg.AssetCheckSpec]:
    return [dg.AssetCheckSpec(gate.name, asset=key, blocking=True, description=str(gate)) for gate in gates]


def _check_results(
    key: dg.AssetKey,
    results: Iterable[GateResult],
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
) -> Iterator[dg.AssetCheckResult]:
    for result in results:
        metadata: dict[str, Any] = {"limit": result.limit}
        if result.value is not None:
            metadata["value"] = result.value
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=result.gate,
            passed=result.passed,
            severity=severity,
            description=result.reason,
            metadata=metadata,
        )
