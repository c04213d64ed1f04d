"""Trains a version and registers it, with its origin in the MLflow run and in the bundle's manifest."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from mlops_assets.products.product import ModelProduct
from mlops_assets.records.training import ModelRecord, Recipe
from mlops_assets.state.manifest import GOLDEN, Manifest
from mlops_assets.state.model_registry import CHALLENGER, ModelRegistry, git_commit
from mlops_assets.state.workspace import ProductState
from mlops_assets.training.build import Trained, train
from mlops_assets.training.golden import golden_rows
from mlops_assets.training.provenance import NEW, SAME, lock_hash, numeric_packages, recorded_inputs
from mlops_assets.training.recipe import RECIPE_TAG

if TYPE_CHECKING:
    from dagster_mlflow.resources import MlFlow


def train_and_register(
    state: ProductState,
    recipe: Recipe,
    key: str,
    registry: ModelRegistry,
    mlflow: "MlFlow",
    dagster_run_id: str,
    on_progress: Callable[[str], None],
) -> Manifest:
    """Train on the stored training set of `key`; the version gets the alias `challenger`.

    A killed run leaves at most a registered version without an alias; the next attempt registers a new version."""
    product = state.product
    training_set = state.tables.read("training_set", [key])
    data_version = state.tables.version("training_set", key)
    inputs = recorded_inputs(state, key, data_version)
    golden = golden_rows(state, key, training_set)
    trained = train(product, recipe.as_candidate(), training_set, on_progress, inputs.shift_since)
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
            "shift_since": inputs.shift_since or "no shift",
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
    on_progress(f"registered as version {version}")
    manifest = state.bundles.write(
        msgspec.structs.replace(
            manifest_of(product, trained, recipe, version, key, state.clock.now(), data_version),
            mlflow_run_id=run_id,
            dagster_run_id=dagster_run_id,
            git_commit=commit,
            seed=product.seed,
            search=searched_or_same(state, recipe, version),
            input_versions=inputs.versions,
            packages=numeric_packages(),
            lock=lock_hash(),
        ),
        {**trained.files, GOLDEN: golden},
    )
    with state.bundles.folder(version) as folder:
        mlflow.log_artifacts(str(folder), "bundle")
    registry.set_alias(product.name, CHALLENGER, version)
    state.records.save(key, ModelRecord(version))
    return manifest


def searched_or_same(state: ProductState, recipe: Recipe, version: int) -> str:
    """SAME if this version has the estimator and hyperparameters of the version before it, else NEW."""
    earlier = [number for number in state.bundles.versions() if number < version]
    if not earlier:
        return NEW
    before = state.bundles.manifest(max(earlier))
    is_same = (before.estimator, before.hyperparameters) == (recipe.estimator, recipe.hyperparameters)
    return SAME if is_same else NEW


def manifest_of(
    product: ModelProduct, trained: Trained, recipe: Recipe, version: int, key: str, now: datetime, data_version: str
) -> Manifest:
    """The manifest of a version, without the runs, the commit and the inputs it came from."""
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
        baseline_row=trained.baseline,
        calibration=trained.fitted.calibration,
        shift_since=trained.shift_since,
        fitted_until=trained.fitted_until,
        tested_from=trained.tested_from,
    )
