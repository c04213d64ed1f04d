"""Assets of the testing pipeline: test report, staging report, acceptance. Gates are blocking asset checks."""

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.products.gates import Gate
from mlops_assets.products.product import ModelProduct
from resources.asset_parts import dep, key_of, periods_in, picture, product_asset, table
from resources.platform import Platform

if TYPE_CHECKING:
    from mlops_assets.testing.gates import GateResult
    from mlops_assets.testing.report import TestReport

GROUP = "testing"


class TestReportConfig(dg.Config):
    """render_report: write Evidently's HTML page as well, which takes seconds."""

    render_report: bool = True


def build_testing_assets(product: ModelProduct) -> list[dg.AssetsDefinition]:
    return [_test_report(product), _staging_report(product), _acceptance(product)]


def _test_report(product: ModelProduct) -> dg.AssetsDefinition:
    key = key_of(product, "test_report")

    @product_asset(
        product,
        "test_report",
        GROUP,
        build_testing_assets,
        kinds={"scikitlearn", "onnx"},
        description=f"The challenger on the last {product.test_window.days} days, which it never saw, beside the "
        "champion on the same rows: scores with intervals, slices, calibration, importance, ONNX parity.",
        deps=[dep(product, "model"), dep(product, "training_set")],
        check_specs=_gate_specs(key, product.report_gates),
    )
    def test_report(
        context: dg.AssetExecutionContext, config: TestReportConfig, platform: Platform
    ) -> Iterator[object]:
        from mlops_assets.testing.gates import judge_report
        from mlops_assets.testing.plots import test_report_figure
        from mlops_assets.testing.run import describe_partition, test_partition

        home, key_of_run = platform.open(), context.partition_key
        started = time.perf_counter()
        report = test_partition(product, home, key_of_run)
        measured = time.perf_counter() - started
        version = home.documents.save(product.name, "test_report", key_of_run, report)
        results = judge_report(product, report)
        card = describe_partition(product, home, key_of_run, report, results, with_page=config.render_report)
        metadata: dict[str, Any] = {
            **_report_metadata(product, report),
            "plot": picture(test_report_figure(report)),
            "model card": dg.MetadataValue.md(card),
        }
        if config.render_report:
            url = platform.report_url(product.name, "test_report", key_of_run)
            metadata["Evidently report"] = dg.MetadataValue.url(url)
        metadata["seconds measuring"] = measured
        metadata["seconds outside measuring"] = time.perf_counter() - started - measured
        yield dg.MaterializeResult(asset_key=key, metadata=metadata, data_version=dg.DataVersion(version))
        yield from _check_results(key, results)

    return test_report


def _report_metadata(product: ModelProduct, report: "TestReport") -> dict[str, Any]:
    """What people see of a report, as tables."""
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
            f"chance, corrected for {report.slices_examined} slices": item.p_adjusted,
        }
        for item in report.worst_slices
    ]
    metadata: dict[str, Any] = {
        "version": report.version,
        "rows": report.rows,
        product.metric: report.value_of(product.metric),
        "scores": table(scores),
        "slices": table(slices),
        "worst slices found": table(worst),
        "ONNX largest difference": report.onnx_difference,
    }
    if confusion := report.confusion:
        rows = [
            {"true": name, **dict(zip(confusion.classes, counts, strict=True))}
            for name, counts in zip(confusion.classes, confusion.counts, strict=True)
        ]
        metadata["confusion" + (f" at {confusion.threshold:g}" if confusion.threshold else "")] = table(rows)
    if report.leakage:
        metadata["skill of each input alone"] = table(
            [{"input": name, "skill": skill} for name, skill in list(report.leakage.alone.items())[:8]]
        )
    if found := report.against_champion(product.metric):
        metadata["against champion"] = (
            f"version {found.champion_version}: {found.gain:+.4f} {found.metric} ({found.low:+.4f} to {found.high:+.4f})"
        )
    return metadata


def _staging_report(product: ModelProduct) -> dg.AssetsDefinition:
    key = key_of(product, "staging_report")

    @product_asset(
        product,
        "staging_report",
        GROUP,
        build_testing_assets,
        kinds={"litestar", "onnx"},
        description="The real API in a process of its own with the challenger's bundle, driven over HTTP with unseen rows: "
        "online equals offline, latency, memory, a bad request is refused.",
        deps=[
            *(dep(product, name) for name in ("model", "test_report", "training_set")),
            dep(product, "raw", first=-periods_in(product, product.test_window), last=-1),
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
        from mlops_assets.testing.gates import GateResult, judge_latency
        from mlops_assets.testing.run import stage_partition
        from mlops_assets.testing.staging import LARGEST_SKEW

        home = platform.open()
        report = stage_partition(product, home, context.partition_key)
        version = home.documents.save(product.name, "staging_report", context.partition_key, report)
        yield dg.MaterializeResult(
            asset_key=key,
            metadata={
                "version": report.version,
                "rows sent": report.rows,
                "largest difference to offline": report.skew,
                "p50 of one row (ms)": report.p50_milliseconds,
                "p99 of one row (ms)": report.p99_milliseconds,
                "memory (MB)": report.memory_mb,
                "start until ready (s)": report.start_seconds,
            },
            data_version=dg.DataVersion(version),
        )
        results = [judge_latency(gate, report.p99_milliseconds) for gate in product.staging_gates]
        skew = f"largest difference of {report.rows} rows {report.skew:.1e}, limit {LARGEST_SKEW:.0e}"
        results.append(
            GateResult("online_equals_offline", report.skew <= LARGEST_SKEW, report.skew, LARGEST_SKEW, skew)
        )
        refused = "an unknown field was " + ("refused" if report.refused_bad_request else "accepted")
        results.append(GateResult("refuses_a_bad_request", report.refused_bad_request, None, 0.0, refused))
        yield from _check_results(key, results)

    return staging_report


def _acceptance(product: ModelProduct) -> dg.AssetsDefinition:
    key = key_of(product, "acceptance")

    @product_asset(
        product,
        "acceptance",
        GROUP,
        build_testing_assets,
        kinds={"json"},
        description=f"User acceptance, {product.acceptance.kind}: bound to the evidence of the reports.",
        deps=[dep(product, "test_report"), dep(product, "staging_report")],
        check_specs=[
            dg.AssetCheckSpec("accepted", asset=key, blocking=True, description="Every gate was judged and passed.")
        ],
    )
    def acceptance(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[object]:
        from mlops_assets.testing.acceptance import AcceptanceState
        from mlops_assets.testing.gates import GateResult
        from mlops_assets.testing.run import accept_partition

        home = platform.open()
        record = accept_partition(product, home, context.partition_key, platform.approval_key())
        version = home.documents.save(product.name, "acceptance", context.partition_key, record)
        gates = [{"gate": item.gate, "passed": item.passed, "reason": item.reason} for item in record.gates]
        yield dg.MaterializeResult(
            asset_key=key,
            metadata={
                "version": record.version,
                "state": record.in_words,
                "accepted": record.accepted,
                "by": record.by,
                "reason": record.reason,
                "gates": table(gates),
                "evidence": dg.MetadataValue.json(dict(record.evidence)),
            },
            data_version=dg.DataVersion(version),
        )
        is_answer = record.state in (AcceptanceState.WAITING, AcceptanceState.REJECTED)
        answer = GateResult("accepted", record.accepted, None, 0.0, record.reason)
        # to wait and to be turned down by a person are no failures: the run ends well, and `deployment` refuses both
        severity = dg.AssetCheckSeverity.WARN if is_answer else dg.AssetCheckSeverity.ERROR
        yield from _check_results(key, [answer], severity)

    return acceptance


def _gate_specs(key: dg.AssetKey, gates: Iterable[Gate]) -> list[dg.AssetCheckSpec]:
    return [dg.AssetCheckSpec(gate.name, asset=key, blocking=True, description=str(gate)) for gate in gates]


def _check_results(
    key: dg.AssetKey,
    results: Iterable["GateResult"],
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
