"""Assets of the inference pipeline: deployment, predictions."""

import dagster as dg

from mlops_assets.products.product import ModelProduct
from resources.asset_parts import dep, product_asset, rows_metadata, table
from resources.platform import Platform
from resources.tracking import Tracking

GROUP = "inference"


def build_inference_assets(product: ModelProduct) -> list[dg.AssetsDefinition]:
    return [_deployment(product), _predictions(product)]


def _deployment(product: ModelProduct) -> dg.AssetsDefinition:
    @product_asset(
        product,
        "deployment",
        GROUP,
        build_inference_assets,
        kinds={"mlflow", "litestar"},
        description="Moves the champion to the accepted version and writes the deployment ledger; the API follows by itself.",
        deps=[dep(product, "acceptance"), dep(product, "model")],
    )
    def deployment(
        context: dg.AssetExecutionContext, platform: Platform, tracking: Tracking
    ) -> dg.MaterializeResult[None]:
        from mlops_assets.inference.promotion import promote
        from mlops_assets.stores.model_registry import CHAMPION

        home = platform.open()
        promotion = promote(product, home, context.partition_key, context.run.run_id)
        deployed = promotion.deployment
        # the ledger decides what serves; the alias mirrors it for people who look in MLflow
        tracking.registry().set_alias(product.name, CHAMPION, deployed.version)
        history = [
            {
                "version": item.version,
                "since": f"{item.deployed_at:%Y-%m-%d %H:%M}",
                "partition": item.partition,
                "reason": item.reason,
            }
            for item in home.ledger.history(product.name)[-10:]
        ]
        return dg.MaterializeResult(
            metadata={
                "version": deployed.version,
                "former champion": promotion.former if promotion.former is not None else "none",
                "serves since": deployed.deployed_at.isoformat(),
                "reason": deployed.reason,
                "by": deployed.by,
                "ledger": table(history),
                "model information": dg.MetadataValue.url(f"{platform.api_url}/v1/models/{product.name}"),
                "API": dg.MetadataValue.url(f"{platform.api_url}/schema"),
            },
            data_version=dg.DataVersion(str(deployed.version)),
        )

    return deployment


def _predictions(product: ModelProduct) -> dg.AssetsDefinition:
    @product_asset(
        product,
        "predictions",
        GROUP,
        build_inference_assets,
        kinds={"onnx", "parquet"},
        description="Every row of the period, scored by the champion that served when its event happened; beside it what the "
        "API answered, where it was asked.",
        deps=[dep(product, "features")],
    )
    def predictions(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
        from mlops_assets.inference.batch import SCORE, VERSION, predict_period
        from mlops_assets.inference.live import LIVE_SCORE, with_live_answers
        from mlops_assets.stores.prediction_log import PredictionLog

        home = platform.open()
        features = home.offline.read(f"{product.name}/features", [context.partition_key])
        scored = predict_period(product, features, home.ledger.history(product.name))
        period = product.period.at(context.partition_key)
        logged = PredictionLog(home.prediction_log).read(product.name)
        scored = with_live_answers(product, scored, logged, period.start, period.end)
        version = home.offline.write(f"{product.name}/predictions", context.partition_key, scored)
        by_version = scored.group_by(VERSION).len("rows").sort(VERSION).to_dicts()
        mean = scored[SCORE].mean() if scored[SCORE].dtype.is_numeric() else None
        return dg.MaterializeResult(
            metadata={
                **rows_metadata(scored),
                "served by": table(by_version),
                "rows before the first deployment": features.height - scored.height,
                "rows answered live": scored.height - scored[LIVE_SCORE].null_count(),
                **({f"mean prediction {product.label.unit}".strip(): float(mean)} if isinstance(mean, float) else {}),
            },
            data_version=dg.DataVersion(version),
        )

    return predictions
