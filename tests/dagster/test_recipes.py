"""Recipes out of real MLflow runs, by the command people use, and the models trained by them."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mlops_assets.cli.app import app
from mlops_assets.products.candidates import lightgbm
from mlops_assets.products.search import Whole
from mlops_assets.records.training import Recipe
from mlops_assets.replay.runs import Replay, failure_of
from mlops_assets.state.manifest import Manifest
from mlops_assets.training.provenance import NEW, SAME
from mlops_assets.training.recipe import current_recipe
from tests.dagster.builders import FIRST_KEY, a_replay, materialize, newest_metadata

NAME = "flight_delay"
SCIENTIST = """
import mlflow
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

mlflow.set_experiment("ann's notebook")
mlflow.sklearn.autolog(log_models=False)
matrix = np.random.default_rng(1).normal(size=(300, 4))
with mlflow.start_run(run_name="shallow trees") as run:
    HistGradientBoostingClassifier(max_iter=25, max_leaf_nodes=7, learning_rate=0.2).fit(matrix, matrix[:, 0] > 0)
print(run.info.run_id)
"""


def promote(replay: Replay, run_id: str, *more: str) -> Recipe:
    """`mlops recipe promote` as ann types it."""
    place = ["--home", str(replay.state.workspace.home)]
    app(
        ["recipe", "promote", run_id, "--by", "ann", "--why", "ranks better", *place, *more],
        result_action="return_value",
    )
    made = current_recipe(replay.state)
    assert made is not None
    return made


def trained_anew(replay: Replay) -> Manifest:
    result = materialize(replay, "model", key=FIRST_KEY)
    assert result.success, failure_of(result)
    return replay.state.bundles.manifest(2)


def test_a_run_that_a_data_scientist_logged_becomes_the_recipe_the_next_model_is_trained_by(
    replay: Replay, tmp_path: Path
):
    notebook = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCIENTIST],
        cwd=tmp_path,  # where autologging puts its pictures
        env={**os.environ, "MLFLOW_TRACKING_URI": replay.state.workspace.mlflow_store},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert notebook.returncode == 0, notebook.stderr

    recipe = promote(replay, notebook.stdout.split()[-1], "--product", NAME)
    manifest = trained_anew(replay)

    assert (recipe.version, recipe.by, recipe.reason, recipe.candidate) == (2, "ann", "ranks better", "shallow trees")
    assert recipe.estimator.endswith(":HistGradientBoostingClassifier")
    chosen = {"max_iter": 25, "max_leaf_nodes": 7, "learning_rate": 0.2}
    assert chosen.items() <= recipe.hyperparameters.items()
    assert (manifest.recipe_version, manifest.estimator, manifest.search) == (2, recipe.estimator, NEW)
    assert manifest.hyperparameters == recipe.hyperparameters
    assert newest_metadata(replay, "recipe")["by"] == "ann"  # Dagster was told


def test_a_trial_of_an_experiment_knows_its_product_and_becomes_the_recipe(replay: Replay):
    client = MlflowClient(tracking_uri=replay.state.workspace.mlflow_store)
    experiment = client.get_experiment_by_name(f"{NAME}/experiment")
    assert experiment is not None
    (trial,) = client.search_runs([experiment.experiment_id], "tags.trial = '1'")

    recipe = promote(replay, trial.info.run_id)
    manifest = trained_anew(replay)

    assert (recipe.version, recipe.mlflow_run_id, recipe.estimator) == (2, trial.info.run_id, "lightgbm")
    assert str(recipe.hyperparameters["num_leaves"]) == trial.data.params["num_leaves"]
    assert (manifest.recipe_version, manifest.hyperparameters) == (2, recipe.hyperparameters)


@pytest.mark.parametrize(("trees", "search"), [(20, NEW), (30, SAME)])
def test_a_retraining_that_searches_trains_by_the_recipe_it_found_and_says_whether_that_is_new(
    replay: Replay, trees: int, search: str
):
    # version 1 has 30 trees and LightGBM's own number of leaves
    space = {"num_leaves": Whole(2, 3)} if search == SAME else {}  # what the search may try besides is hopeless
    candidate = replace(lightgbm(learning_rate=0.1, n_estimators=trees), space=space)
    with a_replay(replace(replay.product, candidates=(candidate,)), replay.state.workspace.home) as searching:
        result = materialize(searching, "model", key=FIRST_KEY, model={"search": True})

    assert result.success, failure_of(result)
    recipe, manifest = current_recipe(replay.state), replay.state.bundles.manifest(2)
    assert recipe is not None
    assert (recipe.version, recipe.by) == (2, "retraining")
    assert recipe.hyperparameters == {"learning_rate": 0.1, "n_estimators": trees} == manifest.hyperparameters
    assert (manifest.recipe_version, manifest.search) == (2, search)
    assert newest_metadata(replay, "model")["search"] == search
    client = MlflowClient(tracking_uri=replay.state.workspace.mlflow_store)
    assert recipe.mlflow_run_id == manifest.mlflow_run_id
    run = client.get_run(recipe.mlflow_run_id)
    assert (run.info.status, run.data.tags["recipe_version"]) == ("FINISHED", "2")
    tried = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
    assert sorted(item.data.tags["trial"] for item in tried) == (["0", "1"] if search == SAME else ["0"])
