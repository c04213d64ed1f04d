"""Trains a version and registers it: everything that was used goes into the MLflow run and the bundle's manifest."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.home import Home
from mlops_assets.stores.model_bundle import MANIFEST, Manifest, read_manifest, write_bundle
from mlops_assets.stores.model_registry import CHALLENGER, ModelRegistry, git_commit
from mlops_assets.training.build import Trained, train
from mlops_assets.training.provenance import NEW, SAME, lock_hash, numeric_packages, recorded_inputs
from mlops_assets.training.recipe import RECIPE_TAG, Recipe

if TYPE_CHECKING:
    from dagster_mlflow.resources import MlFlow

MODEL = "model"


class ModelRecord(msgspec.Struct, frozen=True):
    """Which version the partition's model is."""

    version: int


def train_and_register(
    product: ModelProduct,
    recipe: Recipe,
    home: Home,
    key: str,
    registry: ModelRegistry,
    mlflow: "MlFlow",
    dagster_run_id: str,
    told: Callable[[str], None],
) -> Manifest:
    """Train on the stored training set of `key`; the version gets the alias `challenger`.

    A killed run leaves at most a registered version without alias; the next attempt registers its own."""
    table = f"{product.name}/training_set"
    training_set = home.offline.read(table, [key])
    data_version = home.offline.version(table, key)
    trained = train(product, recipe.as_candidate(), training_set, told)
    run_id = str(mlflow.active_run().info.run_id)
    commit = git_commit()
    mlflow.log_params(
        {
            "estimator": recipe.estimator,
            **recipe.hyperparameters,
            "recipe_version": recipe.version,
            "partition": key,
            "window_start": str(training_set[product.event_timestamp].min()),
            "window_end": str(training_set[product.event_timestamp].max()),
            "data_version": data_version,
            "git_commit": commit,
            "dagster_run_id": dagster_run_id,
            "seed": product.seed,
            "calibrate": product.calibrate,
        }
    )
    mlflow.log_metrics({f"test_{name}": value for name, value in trained.metrics.items()})
    mlflow.log_metrics(
        {"fit_seconds": trained.fitted.seconds, "fit_rows": trained.rows, "spread_percent": trained.spread_percent}
    )
    version = registry.register(
        product.name, run_id, {"partition": key, "data_version": data_version, "dagster_run_id": dagster_run_id}
    )
    mlflow.set_tag(RECIPE_TAG, msgspec.json.encode(recipe.as_settings()).decode())
    told(f"registered as version {version}")
    manifest = write_bundle(
        home.bundle(product.name, version),
        msgspec.structs.replace(
            manifest_of(product, trained, recipe, version, key, home.clock.now(), data_version),
            mlflow_run_id=run_id,
            dagster_run_id=dagster_run_id,
            git_commit=commit,
            seed=product.seed,
            search=searched_or_same(product, home, recipe, version),
            input_versions=recorded_inputs(product, home, key, data_version),
            packages=numeric_packages(),
            lock=lock_hash(),
        ),
        trained.files,
    )
    mlflow.log_artifacts(str(home.bundle(product.name, version)), "bundle")
    registry.set_alias(product.name, CHALLENGER, version)
    home.documents.save(product.name, MODEL, key, ModelRecord(version))
    return manifest


def searched_or_same(product: ModelProduct, home: Home, recipe: Recipe, version: int) -> str:
    """Whether this version keeps the estimator and hyperparameters of the version before it."""
    for earlier in range(version - 1, 0, -1):
        if (home.bundle(product.name, earlier) / MANIFEST).exists():
            before = read_manifest(home.bundle(product.name, earlier))
            is_same = (before.estimator, before.hyperparameters) == (recipe.estimator, recipe.hyperparameters)
            return SAME if is_same else NEW
    return NEW


def manifest_of(
    product: ModelProduct, trained: Trained, recipe: Recipe, version: int, key: str, now: datetime, data_version: str
) -> Manifest:
    """What the bundle says of a version, but for the runs and the commit it came from."""
    return Manifest(
        product=product.name,
        version=version,
        partition=key,
        created_at=now,
        task=product.task,
        label=product.label.name,
        label_unit=product.label.unit,
        metric=product.metric,
        inputs=trained.fitted.inputs,
        classes=trained.fitted.classes,
        features_fingerprint=product.fingerprint(),
        estimator=recipe.estimator,
        hyperparameters=recipe.hyperparameters,
        recipe_version=recipe.version,
        training_data_version=data_version,
        mlflow_run_id="",
        dagster_run_id="",
        git_commit="",
        rows=trained.rows,
        metrics=trained.metrics,
        spread_percent=trained.spread_percent,
        typical=trained.typical,
        calibrated=product.calibrate,
    )
