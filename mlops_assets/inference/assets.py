"""Assets of the inference pipeline: deployment, predictions, probation, retention."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.errors import PartitionMissing, StoreError
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.acceptance import AcceptanceRecord
from mlops_assets.records.inference import ProbationRecord
from mlops_assets.records.training import ModelRecord
from resources.asset_parts import (
    Part,
    dep,
    key_of,
    materialized,
    materialized_parts,
    product_asset,
    rows_metadata,
    table,
)
from resources.notifier import Notifier
from resources.platform import Platform
from resources.tracking import Tracking

if TYPE_CHECKING:
    from mlops_assets.state.ledger import Deployment
    from mlops_assets.state.workspace import ProductState

GROUP, RETENTION = "inference", "retention"


def build_inference_assets(product: ModelProduct) -> list[dg.AssetsDefinition]:
    return [_deployment(product), _predictions(product), _probation(product), _retention(product)]


def _deployment(product: ModelProduct) -> dg.AssetsDefinition:
    @product_asset(
        product,
        "deployment",
        GROUP,
        build_inference_assets,
        kinds={"mlflow", "litestar"},
        description="Makes the accepted version champion with an entry in the deployment ledger, which the API follows.",
        deps=[dep(product, AcceptanceRecord.asset), dep(product, ModelRecord.asset)],
    )
    def deployment(
        context: dg.AssetExecutionContext, platform: Platform, tracking: Tracking
    ) -> dg.MaterializeResult[None]:
        from mlops_assets.data.stored_online import fill_where_empty
        from mlops_assets.inference.promotion import promote
        from mlops_assets.state.model_registry import CHAMPION

        state = platform.state_of(product)
        promotion = promote(state, context.partition_key, context.run.run_id)
        deployed = promotion.deployment
        # the ledger decides which version serves; the alias repeats it for people who look in MLflow
        tracking.registry().set_alias(product.name, CHAMPION, deployed.version)
        try:
            filled = fill_where_empty(state)
        except (
            PartitionMissing,
            StoreError,
        ) as error:  # the version serves nevertheless; its answers name missing values
            context.log.warning(f"the online store of {product.name} was not filled: {error}")
            filled = []
        return materialized(
            metadata={
                **deployment_facts(deployed, promotion.former),
                **({"values put into the empty online store": sum(item.keys for item in filled)} if filled else {}),
                "ledger": _ledger_table(product, platform),
                "model information": dg.MetadataValue.url(f"{platform.api_url}/v1/models/{product.name}"),
                "API": dg.MetadataValue.url(f"{platform.api_url}/schema"),
            },
            version=str(deployed.version),
        )

    return deployment


def _predictions(product: ModelProduct) -> dg.AssetsDefinition:
    @product_asset(
        product,
        "predictions",
        GROUP,
        build_inference_assets,
        kinds={"onnx", "parquet"},
        description="Every row of the period, scored by the champion that served at the time of its event, and the live answer of "
        "the API if there was one.",
        deps=[dep(product, "features")],
        many_at_once=True,
    )
    def predictions(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
        state = platform.state_of(product)
        parts = {period_key: _predict_period(state, period_key) for period_key in context.partition_keys}
        return materialized_parts(context, key_of(product, "predictions"), parts)

    return predictions


def _predict_period(state: "ProductState", period_key: str) -> Part:
    from mlops_assets.inference.batch import SCORE, VERSION, predict_period
    from mlops_assets.inference.live import LIVE_SCORE, with_live_answers

    product = state.product
    features = state.tables.read("features", [period_key])
    scored = predict_period(state, features, state.ledger.history())
    period = product.period.at(period_key)
    logged = state.predictions.read(product.name, period.start - product.serving.asked_ahead)
    scored = with_live_answers(product, scored, logged, period.start, period.end)
    version = state.tables.write("predictions", period_key, scored)
    by_version = scored.group_by(VERSION).len("rows").sort(VERSION).to_dicts()
    mean = scored[SCORE].mean() if scored[SCORE].dtype.is_numeric() else None
    metadata = {
        **rows_metadata(scored),
        "served by": table(by_version),
        "rows before the first deployment": features.height - scored.height,
        "rows answered live": scored.height - scored[LIVE_SCORE].null_count(),
        **({f"mean prediction {product.label.unit}".strip(): float(mean)} if isinstance(mean, float) else {}),
    }
    return Part(version, metadata)


def _probation(product: ModelProduct) -> dg.AssetsDefinition:
    rule = product.probation

    @product_asset(
        product,
        ProbationRecord.asset,
        GROUP,
        build_inference_assets,
        kinds={"onnx", "json"},
        description=f"Compares a new champion with the former one on the same labelled rows in its first {rule.periods} periods; "
        "a new champion that fails is rolled back.",
        deps=[dep(product, name) for name in ("predictions", "labels", "features")],
    )
    def probation(
        context: dg.AssetExecutionContext, platform: Platform, tracking: Tracking, notifier: Notifier
    ) -> dg.MaterializeResult[None]:
        from mlops_assets.inference.probation import end_probation, read_probation
        from mlops_assets.state.model_registry import CHAMPION

        state, key = platform.state_of(product), context.partition_key
        record = read_probation(state, key)
        version, rollback = end_probation(state, key, record, context.run.run_id)
        if rollback is not None:
            deployed = rollback.deployment
            tracking.registry().set_alias(product.name, CHAMPION, deployed.version)
            context.log_event(
                dg.AssetMaterialization(
                    key_of(product, "deployment"),
                    partition=deployed.partition,
                    metadata={
                        **deployment_facts(deployed, rollback.former.version),
                        "ledger": _ledger_table(product, platform),
                    },
                    tags={"dagster/data_version": str(deployed.version)},
                )
            )
            notifier.notify(
                title=f"{product.name}: version {rollback.former.version} failed its probation",
                text=f"version {deployed.version} serves again: {record.reason}",
                product=product.name,
            )
        return materialized(
            metadata={
                "state": record.state.value,
                "reason": record.reason,
                "champion": record.version if record.version is not None else "none in probation",
                "former champion": record.former if record.former is not None else "none",
                "rows": record.rows,
                "rows that could not be scored": record.errors,
                f"{product.metric} gained": record.gain,
                "low": record.low,
                "high": record.high,
            },
            version=version,
        )

    return probation


def _retention(product: ModelProduct) -> dg.AssetsDefinition:
    @product_asset(
        product,
        RETENTION,
        GROUP,
        build_inference_assets,
        kinds={"json"},
        description="Removes objects whose retention time is over, and lists them. What the ledger, `mlops reproduce` and `mlops why` "
        "read is kept for ever.",
        partitioned=False,
    )
    def retention(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
        from mlops_assets.state.retention import expired, in_table, remove

        state = platform.state_of(product)
        groups = expired(state, platform.keep_of(product), state.clock.now())
        remove(state, groups)
        return materialized(
            metadata={"removed": table(in_table(groups)), "objects": sum(len(group.names) for group in groups)}
        )

    return retention


def deployment_facts(deployed: "Deployment", former: int | None) -> dict[str, Any]:
    """Metadata of one deployment or rollback, for the materialisation history of the asset `deployment`."""
    return {
        "version": deployed.version,
        "former champion": former if former is not None else "none",
        "serves since": deployed.deployed_at.isoformat(),
        "reason": deployed.reason,
        "by": deployed.by,
    }


def _ledger_table(product: ModelProduct, platform: Platform) -> dg.MetadataValue[Any]:
    return table(
        [
            {
                "version": item.version,
                "since": f"{item.deployed_at:%Y-%m-%d %H:%M}",
                "partition": item.partition,
                "reason": item.reason,
            }
            for item in platform.state_of(product).ledger.history()[-10:]
        ]
    )
