"""Assets of the monitoring pipeline: data drift, performance, decision, rework brief."""

from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.data.windows import periods_in_window
from mlops_assets.products.product import ModelProduct
from resources.asset_parts import dep, key_of, periods_in, picture, product_asset, table
from resources.notifier import Notifier
from resources.platform import Platform
from resources.tracking import Tracking

GROUP = "monitoring"


class ReportConfig(dg.Config):
    """render_report: write Evidently's HTML report as well, which takes seconds (`mlops report` makes it later)."""

    render_report: bool = True


class BacktestConfig(dg.Config):
    """policies: drift policies to try beside the shipped one, each as `retrain=5,rework=10,cooldown=30d`."""

    policies: list[str] = []


def build_monitoring_assets(product: ModelProduct) -> list[dg.AssetsDefinition]:
    return [
        _data_drift(product),
        _performance(product),
        _staleness(product),
        _drift_decision(product),
        _rework_brief(product),
        _backtest(product),
    ]


def _data_drift(product: ModelProduct) -> dg.AssetsDefinition:
    @product_asset(
        product,
        "data_drift",
        GROUP,
        build_monitoring_assets,
        kinds={"evidently", "polars"},
        description="Percent of rows that moved since the champion's training window, per feature, with intervals.",
        deps=[_window(product, "features"), _window(product, "predictions")],
    )
    def data_drift(
        context: dg.AssetExecutionContext, config: ReportConfig, platform: Platform
    ) -> dg.MaterializeResult[None]:
        from mlops_assets.monitoring.plots import drift_figure
        from mlops_assets.monitoring.render import render_drift
        from mlops_assets.monitoring.run import DATA_DRIFT, read_drift

        home = platform.open()
        key = context.partition_key
        record = read_drift(product, home, key)
        version = home.documents.save(product.name, DATA_DRIFT, key, record)
        reading = record.reading
        if config.render_report:
            render_drift(product, home, key)
        rows = [
            {
                "feature": item.name,
                "% moved": item.percent,
                "interval": f"{item.low:.1f} to {item.high:.1f}",
                "read in": item.by,
                "% of values moved": item.values_percent,
                "smallest detectable %": item.smallest_detectable,
                "acts": "yes" if item.acts else "no",
                "note": item.note,
            }
            for item in sorted(reading.features, key=lambda item: -item.percent)
        ]
        metadata: dict[str, Any] = {
            "state": reading.state.value,
            "reason": reading.reason,
            "rows": reading.rows,
            "champion": record.model_version,
            "features": table(rows),
            "plot": picture(drift_figure(reading, product.drift)),
            "Evidently report": _report_link(config, platform, product, "data_drift", key),
        }
        if reading.percent is not None:
            metadata["drift (%)"] = reading.percent
        if reading.prediction is not None:
            metadata["prediction drift (%)"] = reading.prediction.percent
        return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(version))

    return data_drift


def _performance(product: ModelProduct) -> dg.AssetsDefinition:
    @product_asset(
        product,
        "performance",
        GROUP,
        build_monitoring_assets,
        kinds={"evidently", "scikitlearn"},
        description=f"`{product.metric}` of what was predicted, once labels arrived, against the champion's own test.",
        deps=[dep(product, "predictions"), dep(product, "labels")],
    )
    def performance(
        context: dg.AssetExecutionContext, config: ReportConfig, platform: Platform
    ) -> dg.MaterializeResult[None]:
        from mlops_assets.monitoring.render import render_performance
        from mlops_assets.monitoring.run import PERFORMANCE, read_performance

        home = platform.open()
        key = context.partition_key
        record = read_performance(product, home, key)
        version = home.documents.save(product.name, PERFORMANCE, key, record)
        reading = record.reading
        if config.render_report:
            render_performance(product, home, key)
        numbers = {
            product.metric: reading.value,
            f"{product.metric} in the test report": reading.expected,
            "lost (%)": reading.loss_percent,
            "what the loss varies by itself (%)": reading.natural_percent,
            f"{product.metric} of this period alone": reading.alone,
            "label drift (%)": reading.label.percent if reading.label is not None else None,
        }
        return dg.MaterializeResult(
            metadata={
                "state": reading.state.value,
                "reason": reading.reason,
                "champion": record.model_version,
                "rows": reading.rows,
                "labelled rows": reading.labelled,
                "periods pooled": reading.periods,
                "acts": bool(reading.acts),
                **{name: value for name, value in numbers.items() if value is not None},
                "Evidently report": _report_link(config, platform, product, "performance", key),
            },
            data_version=dg.DataVersion(version),
        )

    return performance


def _staleness(product: ModelProduct) -> dg.AssetsDefinition:
    every, policy = product.drift.staleness_every, product.drift
    history = periods_in(product, product.training_window) + every - 1

    @product_asset(
        product,
        "staleness",
        GROUP,
        build_monitoring_assets,
        kinds={"scikitlearn", "polars"},
        description=f"What a fresh model would gain: every {every} periods a challenger fitted on what was known before them "
        f"is compared with the champion on the same rows. {policy.stale:g} % of `{product.metric}` or more asks for retraining."
        if every
        else "Never measured: the policy's staleness_every is 0.",
        deps=[dep(product, name, first=-history) for name in ("features", "labels")],
    )
    def staleness(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
        from mlops_assets.monitoring.plots import staleness_figure
        from mlops_assets.monitoring.run import STALENESS, StalenessRecord, read_staleness

        home = platform.open()
        key = context.partition_key
        record = read_staleness(product, home, key)
        version = home.documents.save(product.name, STALENESS, key, record)
        reading = record.reading
        earlier = [name for name in home.documents.keys(product.name, STALENESS) if name <= key]
        readings = {
            name: home.documents.load(product.name, STALENESS, name, StalenessRecord).reading for name in earlier
        }
        measured = {name: item for name, item in readings.items() if item.percent is not None}
        numbers = {
            "a fresh model gains (%)": reading.percent,
            f"{product.metric} of the champion": reading.champion,
            f"{product.metric} of a fresh model": reading.challenger,
        }
        metadata: dict[str, Any] = {
            "state": reading.state.value,
            "reason": reading.reason,
            "champion": record.model_version,
            "recipe": record.recipe_version,
            "rows": reading.rows,
            "acts": bool(reading.acts),
            **{name: value for name, value in numbers.items() if value is not None},
        }
        if measured:
            metadata["plot"] = picture(staleness_figure(measured, policy))
        return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(version))

    return staleness


def _drift_decision(product: ModelProduct) -> dg.AssetsDefinition:
    policy = product.drift

    @product_asset(
        product,
        "drift_decision",
        GROUP,
        build_monitoring_assets,
        kinds={"json"},
        description=f"below {policy.watch:g} % none, to {policy.retrain:g} % watch, to {policy.rework:g} % retrain, above that "
        f"rework; {policy.agreeing_periods} periods must agree. The drift sensor carries the decision out.",
        deps=[dep(product, name) for name in ("data_drift", "performance", "staleness")],
    )
    def drift_decision(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
        from mlops_assets.monitoring.plots import decisions_figure
        from mlops_assets.monitoring.run import DECISION, decide_period, decisions_before

        home = platform.open()
        key = context.partition_key
        decision = decide_period(product, home, key)
        version = home.documents.save(product.name, DECISION, key, decision)
        history = [*decisions_before(product, home, key), decision]
        metadata: dict[str, Any] = {
            "action": decision.action.value,
            "reason": decision.reason,
            "band of this period alone": decision.band.value,
            "features": ", ".join(decision.features) or "none",
            "champion": decision.model_version,
            "read from": dg.MetadataValue.json(dict(decision.read_from)),
            "plot": picture(decisions_figure(history, policy)),
        }
        if decision.percent is not None:
            metadata["acted on (%)"] = decision.percent
        return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(version))

    return drift_decision


def _rework_brief(product: ModelProduct) -> dg.AssetsDefinition:
    @product_asset(
        product,
        "rework_brief",
        GROUP,
        build_monitoring_assets,
        kinds={"markdown", "mlflow"},
        description="Sends the champion back to development: what moved and since when; flags the version and notifies.",
        deps=[dep(product, name) for name in ("drift_decision", "data_drift", "performance", "staleness")],
    )
    def rework_brief(
        context: dg.AssetExecutionContext, platform: Platform, tracking: Tracking, notifier: Notifier
    ) -> dg.MaterializeResult[None]:
        from mlops_assets.monitoring.decision import Decision
        from mlops_assets.monitoring.load import serving_at_end
        from mlops_assets.monitoring.rework import write_brief
        from mlops_assets.monitoring.run import (
            DATA_DRIFT,
            DECISION,
            PERFORMANCE,
            STALENESS,
            DriftRecord,
            PerformanceRecord,
            StalenessRecord,
            decisions_before,
            slices_that_fell,
        )
        from mlops_assets.stores.model_bundle import read_manifest
        from mlops_assets.stores.model_registry import NEEDS_REWORK

        home = platform.open()
        key, name = context.partition_key, product.name
        decision = home.documents.load(name, DECISION, key, Decision)
        serving = read_manifest(Path(serving_at_end(product, home, key).bundle)).estimator
        names = [candidate.name for candidate in product.candidates if candidate.estimator != serving]
        present = [candidate.name for candidate in product.candidates if candidate.estimator == serving]
        in_registry = tracking.registry().version_url(tracking.ui_url, name, decision.model_version)
        brief = write_brief(
            name,
            decision,
            decisions_before(product, home, key),
            home.documents.load(name, DATA_DRIFT, key, DriftRecord).reading,
            home.documents.load(name, PERFORMANCE, key, PerformanceRecord).reading,
            home.clock.now(),
            staleness=home.documents.load(name, STALENESS, key, StalenessRecord).reading,
            slices=slices_that_fell(product, home, key),
            candidates=[present[0] if present else serving, *names],
            links={
                "drift report": platform.report_url(name, DATA_DRIFT, key),
                "performance report": platform.report_url(name, PERFORMANCE, key),
                "version in MLflow": in_registry,
            },
        )
        version = home.documents.save(name, "rework_brief", key, brief)
        home.ledger.flag_for_rework(name, brief.model_version, brief.flagged_at, brief.reason)
        tracking.registry().tag_version(name, brief.model_version, NEEDS_REWORK, brief.reason)
        notified = notifier.notify(
            title=f"{name}: version {brief.model_version} needs rework", text=brief.reason, product=name
        )
        return dg.MaterializeResult(
            metadata={
                "brief": dg.MetadataValue.md(brief.as_markdown()),
                "version": brief.model_version,
                "notification": notified,
                "MLflow version": dg.MetadataValue.url(in_registry),
            },
            data_version=dg.DataVersion(version),
        )

    return rework_brief


def _backtest(product: ModelProduct) -> dg.AssetsDefinition:
    @product_asset(
        product,
        "backtest",
        GROUP,
        build_monitoring_assets,
        kinds={"polars", "scikitlearn"},
        description="Drift policies replayed over the recorded periods, beside never and always retraining. Nothing that "
        "serves is touched; the shipped policy gives the recorded decisions, unless people stepped in.",
        partitioned=False,
        deps=[dg.AssetDep(key_of(product, name)) for name in ("drift_decision", "features", "labels")],
    )
    def backtest(
        context: dg.AssetExecutionContext, config: BacktestConfig, platform: Platform
    ) -> dg.MaterializeResult[None]:
        from mlops_assets.monitoring.backtest import compare, run_backtests
        from mlops_assets.monitoring.plots import backtest_figure

        home = platform.open()
        results = run_backtests(product, home, config.policies, context.log.info)
        version = home.documents.save(product.name, "backtest", "latest", results)
        return dg.MaterializeResult(
            metadata={
                "plans": table(compare(results)),
                "plot": picture(backtest_figure(results, product.drift)),
                "periods": len(results[0].periods),
            },
            data_version=dg.DataVersion(version),
        )

    return backtest


def _window(product: ModelProduct, asset: str) -> dg.AssetDep:
    """The periods of a monitoring window: one, or as many as make a week."""
    return dep(product, asset, first=1 - periods_in_window(product))


def _report_link(
    config: ReportConfig, platform: Platform, product: ModelProduct, asset: str, key: str
) -> dg.MetadataValue:
    """The report, or the command that makes it."""
    if config.render_report:
        return dg.MetadataValue.url(platform.report_url(product.name, asset, key))
    return dg.MetadataValue.md(
        f"[open]({platform.report_url(product.name, asset, key)}) after `mlops report {product.name} {key}` has rendered it"
    )
