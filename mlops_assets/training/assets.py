"""Assets of the training pipeline: experiment, recipe, training set, model."""

from typing import TYPE_CHECKING, Any

import dagster as dg
import msgspec

from mlops_assets.data.assets import raw_assets
from mlops_assets.errors import DataError
from mlops_assets.products.periods import spelled
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.training import (
    ExperimentRun,
    Leaderboard,
    ModelRecord,
    Recipe,
    Settings,
    TrainingInputs,
    Trial,
)
from resources.asset_parts import dep, key_of, materialized, periods_in, picture, product_asset, rows_metadata, table
from resources.platform import Platform
from resources.tracking import Tracking

if TYPE_CHECKING:
    from dagster_mlflow.resources import MlFlow


GROUP = "training"


class ExperimentConfig(dg.Config):
    """as_of: partition whose training window is searched; empty: the newest partition with stored labels."""

    as_of: str = ""


class RecipeConfig(dg.Config):
    """by: the person or program that promotes the recipe."""

    by: str = "mlops"


class ModelConfig(dg.Config):
    """recipe_version: the recipe to train with; 0: the newest. An older one builds a version of the past again.
    search: first search the hyperparameters on this partition's window, and promote the best to a new recipe."""

    recipe_version: int = 0
    search: bool = False


def build_training_assets(product: ModelProduct) -> list[dg.AssetsDefinition]:
    return [_experiment(product), _recipe(product), _training_set(product), _model(product)]


def _experiment(product: ModelProduct) -> dg.AssetsDefinition:
    @product_asset(
        product,
        Leaderboard.asset,
        GROUP,
        build_training_assets,
        kinds={"mlflow", "scikitlearn"},
        description=f"Leaderboard by `{product.metric}` of: {', '.join(c.name for c in product.candidates)}. "
        "They are compared on later folds inside the training window, without the test window.",
        partitioned=False,
        deps=[dg.AssetDep(key_of(product, "features")), dg.AssetDep(key_of(product, "labels"))],
    )
    def experiment(
        context: dg.AssetExecutionContext, config: ExperimentConfig, platform: Platform, tracking: Tracking
    ) -> dg.MaterializeResult[None]:
        from mlops_assets.training.plots import leaderboard_figure
        from mlops_assets.training.search import run_experiment
        from mlops_assets.training.window import load_training_set

        state = platform.state_of(product)
        as_of = config.as_of or _newest_trainable(product, state.tables.keys("labels"))
        rows = load_training_set(state, as_of)
        with tracking.run(context, f"{product.name}/experiment", {"product": product.name, "as_of": as_of}) as mlflow:
            board = run_experiment(product, as_of, rows, context.log.info, trials=state.trials)
            _log_trials(mlflow, product, board)
            mlflow.set_tags({"best": board.best.candidate})
            run_id = str(mlflow.active_run().info.run_id)
        version = state.records.save("latest", board)
        state.records.save("latest", ExperimentRun(run_id))
        leaderboard = [
            {
                "candidate": trial.candidate,
                board.metric: trial.score,
                "interval": f"{trial.low:.4f} to {trial.high:.4f}",
                "behind best": f"{trial.behind_best:.4f} ({trial.behind_low:.4f} to {trial.behind_high:.4f})",
                "differs from the best": _difference(trial, board.best),
                "settings tried": trial.tried,
                "fit s": trial.fit_seconds,
                "µs/row": trial.microseconds_per_row,
                "bundle MB": "no ONNX form" if trial.bundle_bytes is None else trial.bundle_bytes / 1e6,
            }
            for trial in board.trials
        ]
        return materialized(
            metadata={
                "as of": as_of,
                "rows": board.rows,
                "leaderboard": table(leaderboard),
                "plot": picture(leaderboard_figure(board)),
                "best": board.best.candidate,
                "trials": len(board.searched),
                "ended by": board.ended_by,
                "MLflow run": dg.MetadataValue.url(tracking.run_url(run_id)),
            },
            version=version,
        )

    return experiment


def _recipe(product: ModelProduct) -> dg.AssetsDefinition:
    @product_asset(
        product,
        Recipe.asset,
        GROUP,
        build_training_assets,
        kinds={"json"},
        description="Estimator and hyperparameters that leave development. A new recipe clears the flag for rework.",
        partitioned=False,
        deps=[dg.AssetDep(key_of(product, Leaderboard.asset))],
    )
    def recipe(
        context: dg.AssetExecutionContext, config: RecipeConfig, platform: Platform, tracking: Tracking
    ) -> dg.MaterializeResult[None]:
        from mlops_assets.state.model_registry import NEEDS_REWORK
        from mlops_assets.training.recipe import current_recipe, leave_development, promote_best

        state = platform.state_of(product)
        board = state.records.load(Leaderboard, "latest")
        run_id = state.records.load(ExperimentRun, "latest").mlflow_run_id
        former = current_recipe(state)
        now = state.clock.now()
        promoted = promote_best(product, board, former.version + 1 if former else 1, config.by, now, run_id)
        result = leave_development(state, former, promoted)
        if result.cleared is not None:
            tracking.registry().untag_version(product.name, result.cleared, NEEDS_REWORK)
        elif state.ledger.open_flag() is not None:
            context.log.warning("the newest recipe comes from the same experiment, so the flag for rework stays")
        return materialized(
            metadata={
                "recipe version": promoted.version,
                "estimator": promoted.estimator,
                "hyperparameters": dg.MetadataValue.json(dict(promoted.hyperparameters)),
                "by": promoted.by,
                "reason": promoted.reason,
            },
            version=result.data_version,
        )

    return recipe


def _training_set(product: ModelProduct) -> dg.AssetsDefinition:
    length = product.training_periods

    @product_asset(
        product,
        "training_set",
        GROUP,
        build_training_assets,
        kinds={"polars", "parquet"},
        description=f"The {length} periods before the partition, with the labels known when it began. The last "
        f"{spelled(product.test_window)} are kept for the test; after a confirmed shift the later half of the time since then, if "
        "that is shorter.",
        deps=[dep(product, name, first=-length, last=-1) for name in ("features", "labels")],
    )
    def training_set(context: dg.AssetExecutionContext, platform: Platform) -> dg.MaterializeResult[None]:
        from mlops_assets.training.onset import onset_before
        from mlops_assets.training.provenance import inputs_of_window
        from mlops_assets.training.split import SPLIT
        from mlops_assets.training.window import load_after_shift

        state = platform.state_of(product)
        onset = onset_before(state, context.partition_key)
        rows, since = load_after_shift(state, context.partition_key, onset)
        versions = inputs_of_window(state, context.partition_key)
        version = state.tables.write("training_set", context.partition_key, rows)
        state.records.save(context.partition_key, TrainingInputs(version, versions, since))
        if rows["period"].n_unique() < length:
            context.log.warning(
                f"the training window holds {rows['period'].n_unique()} of {length} periods: the others lie before the first "
                "period of the product or have no labels yet"
            )
        counts = dict(rows[SPLIT].value_counts().iter_rows())
        return materialized(
            metadata={
                **rows_metadata(rows),
                **{f"rows to {split}": int(count) for split, count in counts.items()},
                f"periods (of {length})": rows["period"].n_unique(),
                "from": str(rows[product.event_timestamp].min()),
                "to": str(rows[product.event_timestamp].max()),
                "shift since": since or "no shift that needs a split of its own",
            },
            version=version,
        )

    return training_set


def _model(product: ModelProduct) -> dg.AssetsDefinition:
    periods = max(product.period.in_window(product.test_window), 1 + periods_in(product, product.lookback))

    @product_asset(
        product,
        ModelRecord.asset,
        GROUP,
        build_training_assets,
        kinds={"mlflow", "onnx"},
        description="A version trained with the newest recipe, registered in MLflow as challenger, with its serving bundle.",
        deps=[
            dep(product, "training_set"),
            dg.AssetDep(key_of(product, Recipe.asset)),
            # for golden rows: requests of the test window, and the tables that features are looked up from
            *(dep(product, name, first=-periods, last=-1) for name in raw_assets(product)),
        ],
    )
    def model(
        context: dg.AssetExecutionContext, config: ModelConfig, platform: Platform, tracking: Tracking
    ) -> dg.MaterializeResult[None]:
        from mlops_assets.training.recipe import current_recipe, promote_best, recipe_key, recipe_to_train_by
        from mlops_assets.training.register import train_and_register
        from mlops_assets.training.search import run_experiment

        state, key = platform.state_of(product), context.partition_key
        with tracking.run(context, f"{product.name}/training", {"product": product.name}) as mlflow:
            if config.search:
                rows = state.tables.read("training_set", [key])
                board = run_experiment(product, key, rows, context.log.info, trials=state.trials)
                _log_trials(mlflow, product, board)
                run_id = str(mlflow.active_run().info.run_id)
                former = current_recipe(state)
                version = former.version + 1 if former else 1
                promoted = promote_best(product, board, version, "retraining", state.clock.now(), run_id)
                state.records.save(recipe_key(version), promoted)
            recipe = recipe_to_train_by(state, 0 if config.search else config.recipe_version)
            mlflow.set_tags({"recipe_version": str(recipe.version)})
            manifest = train_and_register(
                state, recipe, key, tracking.registry(), mlflow, context.run.run_id, context.log.info
            )
        metadata: dict[str, Any] = {
            "version": manifest.version,
            "estimator": manifest.estimator,
            "hyperparameters": dg.MetadataValue.json(dict(manifest.hyperparameters)),
            "recipe version": recipe.version,
            "search": manifest.search,
            "rows": manifest.rows,
            "week-to-week spread of the metric (%)": manifest.spread_percent,
            "bundle (bytes)": state.bundles.size(manifest.version),
            "git commit": manifest.git_commit,
            "MLflow run": dg.MetadataValue.url(tracking.run_url(manifest.mlflow_run_id)),
            "MLflow version": dg.MetadataValue.url(
                tracking.registry().version_url(tracking.ui_url, product.name, manifest.version)
            ),
        }
        return materialized(metadata=metadata, version=manifest.checksums["model.onnx"][:16])

    return model


def _difference(trial: Trial, best: Trial) -> str:
    """Whether a candidate is behind the best one that can be served, in words."""
    if trial is best:
        return "it is the best"
    return "no, the difference is noise" if trial.is_tied_with_best else "yes"


def _log_trials(mlflow: "MlFlow", product: ModelProduct, board: Leaderboard) -> None:
    """Log every setting of the search, pruned ones included, as a child of the open run."""
    from mlops_assets.training.recipe import RECIPE_TAG

    families = {candidate.name: candidate.estimator for candidate in product.candidates}
    best_trials = {trial.candidate: trial for trial in board.trials}
    for item in board.searched:
        settings = Settings(item.candidate, families[item.candidate], item.hyperparameters)
        with mlflow.start_run(run_name=f"{item.candidate} {item.number}", nested=True):
            mlflow.log_params({"estimator": settings.estimator, **item.hyperparameters})
            mlflow.set_tags(
                {
                    RECIPE_TAG: msgspec.json.encode(settings).decode(),
                    "product": product.name,
                    "trial": str(item.number),
                    "state": "pruned" if item.score is None else "complete",
                }
            )
            metrics = {"seconds": item.seconds, "folds": float(item.folds)}
            if item.score is not None:
                metrics[board.metric] = item.score
            best = best_trials[item.candidate]
            if item.score is not None and best.hyperparameters == item.hyperparameters:
                metrics |= {"fit_seconds": best.fit_seconds, "microseconds_per_row": best.microseconds_per_row}
            mlflow.log_metrics(metrics)


def _newest_trainable(product: ModelProduct, labelled: list[str]) -> str:
    """The partition that begins when the newest labelled period ends."""
    if not labelled:
        raise DataError(f"no labels of {product.name} are stored. Materialise {product.name}/labels first.")
    return product.period.shift(product.period.at(labelled[-1]), 1).key
