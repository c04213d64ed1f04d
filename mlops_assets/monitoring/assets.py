"""Assets of the monitoring pipeline: data drift, performance, decision, rework brief."""

from typing import Any

import dagster as dg

from mlops_assets.drift.windows import periods_in_window, periods_with_blocks
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.decisions import BacktestRecord, DriftDecision, ReworkBrief
from mlops_assets.records.readings import DriftRecord, PerformanceRecord, StalenessRecord
from resources.asset_parts import dep, key_of, materialized, picture, product_asset, table
from resources.notifier import Notifier
from resources.platform import Platform
from resources.tracking import Tracking

GROUP = "monitoring"
COMPARISONS_SHOWN = 12


class ReportConfig(dg.Config):
    """render_report: also draw the plots and write Evidently's HTML report, which takes seconds. Replays switch it off, and
    `mlops report` writes the report later."""

    render_report: bool = True


class BacktestConfig(dg.Config):
    """policies: drift policies to replay besides the shipped one, each as `retrain=5,rework=10,cooldown=30d`. answer_after:
    periods after which development answers a rework, 0: never."""

    policies: list[str] = []
    answer_after: int = 1


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
        DriftRecord.asset,
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
        from mlops_assets.monitoring.run import read_drift

        state = platform.state_of(product)
        key = context.partition_key
        record = read_drift(state, key)
        version = state.records.save(key, record)
        reading = record.reading
        if config.render_report:
            render_drift(state, key)
        rows = [
            {
                "feature": item.name,
                "% moved": item.percent,
                "interval": f"{item.low:.1f} to {item.high:.1f}",
                "read in": item.read_in,
                "% of values moved": item.values_percent,
                "smallest detectable %": item.smallest_detectable,
                "actionable": "yes" if item.is_actionable else "no",
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
            "plot": picture(drift_figure(reading, product.drift)) if config.render_report else None,
            "Evidently report": _report_link(config, platform, product, DriftRecord.asset, key),
            "drift (%)": reading.percent,
            "prediction drift (%)": reading.prediction and reading.prediction.percent,
        }
        return materialized(metadata=metadata, version=version)

    return data_drift


def _performance(product: ModelProduct) -> dg.AssetsDefinition:
    @product_asset(
        product,
        PerformanceRecord.asset,
        GROUP,
        build_monitoring_assets,
        kinds={"evidently", "scikitlearn"},
        description=f"`{product.metric}` of the predictions once their labels arrived, against the champion's test report.",
        deps=[dep(product, "predictions"), dep(product, "labels")],
    )
    def performance(
        context: dg.AssetExecutionContext, config: ReportConfig, platform: Platform
    ) -> dg.MaterializeResult[None]:
        from mlops_assets.monitoring.render import render_performance
        from mlops_assets.monitoring.run import read_performance

        state = platform.state_of(product)
        key = context.partition_key
        record = read_performance(state, key)
        version = state.records.save(key, record)
        reading = record.reading
        if config.render_report:
            render_performance(state, key)
        return materialized(
            metadata={
                "state": reading.state.value,
                "reason": reading.reason,
                "champion": record.model_version,
                "rows": reading.rows,
                "labelled rows": reading.labelled,
                "periods pooled": reading.periods,
                "actionable": bool(reading.is_actionable),
                product.metric: reading.value,
                f"{product.metric} in the test report": reading.expected,
                "lost (%)": reading.loss_percent,
                "natural spread of the loss (%)": reading.natural_percent,
                f"{product.metric} of this period": reading.unpooled_value,
                "label drift (%)": reading.label and reading.label.percent,
                "Evidently report": _report_link(config, platform, product, PerformanceRecord.asset, key),
            },
            version=version,
        )

    return performance


def _staleness(product: ModelProduct) -> dg.AssetsDefinition:
    every, policy = product.drift.staleness_every * product.period.a_day, product.drift
    compared_on = max(every, periods_with_blocks(product))
    history = product.training_periods + compared_on - 1

    @product_asset(
        product,
        StalenessRecord.asset,
        GROUP,
        build_monitoring_assets,
        kinds={"scikitlearn", "polars"},
        description=f"What a fresh model would gain: every {every} periods a challenger fitted on what was known before them "
        f"is compared with the champion on the same rows. From {policy.stale:g} % of `{product.metric}` on, the model is retrained."
        if every
        else "Never measured: the policy's staleness_every is 0.",
        deps=[dep(product, name, first=-history) for name in ("features", "labels")],
    )
    def staleness(
        context: dg.AssetExecutionContext, config: ReportConfig, platform: Platform
    ) -> dg.MaterializeResult[None]:
        from mlops_assets.monitoring.plots import staleness_figure
        from mlops_assets.monitoring.run import read_staleness

        state = platform.state_of(product)
        key = context.partition_key
        record = read_staleness(state, key)
        version = state.records.save(key, record)
        reading = record.reading
        recent = [period.key for period in product.period.up_to(key, COMPARISONS_SHOWN * every)]
        keys = [name for name in state.records.keys(StalenessRecord, recent[0]) if name <= key] if recent else []
        records = zip(keys, state.records.load_all(StalenessRecord, keys), strict=True)
        measured = {name: item.reading for name, item in records if item.reading.percent is not None}
        metadata: dict[str, Any] = {
            "state": reading.state.value,
            "reason": reading.reason,
            "champion": record.model_version,
            "recipe": record.recipe_version,
            "rows": reading.rows,
            "actionable": bool(reading.is_actionable),
            "a fresh model gains (%)": reading.percent,
            f"{product.metric} of the champion": reading.champion,
            f"{product.metric} of a fresh model": reading.challenger,
        }
        if measured and config.render_report:
            metadata["plot"] = picture(staleness_figure(measured, policy))
        return materialized(metadata=metadata, version=version)

    return staleness


def _drift_decision(product: ModelProduct) -> dg.AssetsDefinition:
    policy = product.drift

    @product_asset(
        product,
        DriftDecision.asset,
        GROUP,
        build_monitoring_assets,
        kinds={"json"},
        description=f"Below {policy.watch:g} % of drift nothing is done. Up to {policy.retrain:g} % it is watched, up to "
        f"{policy.rework:g} % the model is retrained, and above that it goes back to development, once {policy.agreeing_periods} "
        "periods agree. The drift sensor carries out the decision.",
        deps=[dep(product, name) for name in (DriftRecord.asset, PerformanceRecord.asset, StalenessRecord.asset)],
    )
    def drift_decision(
        context: dg.AssetExecutionContext, config: ReportConfig, platform: Platform
    ) -> dg.MaterializeResult[None]:
        from mlops_assets.monitoring.plots import decisions_figure
        from mlops_assets.monitoring.run import decide_period, decisions_before

        state = platform.state_of(product)
        key = context.partition_key
        earlier = decisions_before(state, key)
        decision = decide_period(state, key, earlier)
        version = state.records.save(key, decision)
        metadata: dict[str, Any] = {
            "action": decision.action.value,
            "reason": decision.reason,
            "band of this period": decision.band.value,
            "features": ", ".join(decision.features) or "none",
            "champion": decision.model_version,
            "read from": dg.MetadataValue.json(dict(decision.read_from)),
            "plot": picture(decisions_figure([*earlier, decision], policy)) if config.render_report else None,
            "acted on (%)": decision.percent,
        }
        return materialized(metadata=metadata, version=version)

    return drift_decision


def _rework_brief(product: ModelProduct) -> dg.AssetsDefinition:
    @product_asset(
        product,
        ReworkBrief.asset,
        GROUP,
        build_monitoring_assets,
        kinds={"markdown", "mlflow"},
        description="Sends the champion back to development with what moved and since when; flags the version and notifies.",
        deps=[
            dep(product, name)
            for name in (DriftDecision.asset, DriftRecord.asset, PerformanceRecord.asset, StalenessRecord.asset)
        ],
    )
    def rework_brief(
        context: dg.AssetExecutionContext, platform: Platform, tracking: Tracking, notifier: Notifier
    ) -> dg.MaterializeResult[None]:
        from mlops_assets.data.next_step import how_a_rework_ends
        from mlops_assets.monitoring.brief import brief_of
        from mlops_assets.monitoring.loop import send_back
        from mlops_assets.monitoring.rework import as_markdown
        from mlops_assets.state.model_registry import NEEDS_REWORK

        state = platform.state_of(product)
        key, name = context.partition_key, product.name
        decision = state.records.load(DriftDecision, key)
        version_url = tracking.registry().version_url(tracking.ui_url, name, decision.model_version)
        links = {
            "drift report": platform.report_url(name, DriftRecord.asset, key),
            "performance report": platform.report_url(name, PerformanceRecord.asset, key),
            "version in MLflow": version_url,
        }
        brief = brief_of(state, key, links)
        version = state.records.save(key, brief)
        send_back(state, decision)
        tracking.registry().tag_version(name, brief.model_version, NEEDS_REWORK, brief.reason)
        notified = notifier.notify(
            title=f"{name}: version {brief.model_version} needs rework",
            text=f"{brief.reason}. The brief is on the asset {name}/rework_brief. {how_a_rework_ends(name)}",
            product=name,
        )
        return materialized(
            metadata={
                "brief": dg.MetadataValue.md(as_markdown(brief)),
                "version": brief.model_version,
                "notification": notified,
                "MLflow version": dg.MetadataValue.url(version_url),
            },
            version=version,
        )

    return rework_brief


def _backtest(product: ModelProduct) -> dg.AssetsDefinition:
    @product_asset(
        product,
        BacktestRecord.asset,
        GROUP,
        build_monitoring_assets,
        kinds={"polars", "scikitlearn"},
        description="Drift policies replayed over the recorded periods, beside plans that never and always retrain. It changes nothing "
        "that serves. The shipped policy gives the recorded decisions unless people intervened.",
        partitioned=False,
        deps=[dg.AssetDep(key_of(product, name)) for name in (DriftDecision.asset, "features", "labels")],
    )
    def backtest(
        context: dg.AssetExecutionContext, config: BacktestConfig, platform: Platform
    ) -> dg.MaterializeResult[None]:
        from mlops_assets.monitoring.backtest import compare, run_backtests
        from mlops_assets.monitoring.plots import backtest_figure

        state = platform.state_of(product)
        results = run_backtests(state, config.policies, context.log.info, config.answer_after or None)
        version = state.records.save("latest", BacktestRecord(tuple(results)))
        return materialized(
            metadata={
                "plans": table(compare(results)),
                "plot": picture(backtest_figure(results, product.drift)),
                "periods": len(results[0].periods),
            },
            version=version,
        )

    return backtest


def _window(product: ModelProduct, asset: str) -> dg.AssetDep:
    """The asset's periods in the monitoring window: one, or as many as make a week."""
    return dep(product, asset, first=1 - periods_in_window(product))


def _report_link(
    config: ReportConfig, platform: Platform, product: ModelProduct, asset: str, key: str
) -> dg.MetadataValue:
    """A link to the report, with the command that renders it if this run does not."""
    if config.render_report:
        return dg.MetadataValue.url(platform.report_url(product.name, asset, key))
    return dg.MetadataValue.md(
        f"[open]({platform.report_url(product.name, asset, key)}) after `mlops report {product.name} {key}` has rendered it"
    )
