"""A version on a really trained home: why it serves, whether it can be built again, and recipes out of MLflow runs."""

from dataclasses import replace

import msgspec
import polars as pl
import pytest
from mlflow import MlflowClient

from mlops_assets.errors import DataError
from mlops_assets.inference.why import Places, Step, explain
from mlops_assets.records.acceptance import AcceptanceRecord
from mlops_assets.records.inference import ProbationRecord, ProbationState
from mlops_assets.replay.runs import Replay
from mlops_assets.state.manifest import MANIFEST
from mlops_assets.state.model_registry import ModelRegistry
from mlops_assets.training.from_run import settings_of_run
from mlops_assets.training.provenance import NEW
from mlops_assets.training.reproduce import reproduce
from resources.event_log import EventLog
from tests.dagster.builders import FIRST_KEY, SERVED_WEEK, file_of

NAME = "flight_delay"
PLACES = Places("http://dagster", "http://mlflow", "http://api")


def chain(replay: Replay, version: int | None = None) -> dict[str, Step]:
    log = EventLog(replay.instance, replay.product)
    return {step.name: step for step in explain(replay.state, version, log.newest, PLACES)}


def registry_of(replay: Replay) -> ModelRegistry:
    return ModelRegistry(replay.state.workspace.mlflow_store, replay.state.workspace.mlflow_artifacts)


def test_why_leads_from_the_deployment_back_to_the_raw_partitions(trained: Replay):
    steps = chain(trained)

    assert list(steps) == [
        "deployment",
        f"acceptance {FIRST_KEY}",
        f"staging_report {FIRST_KEY}",
        f"test_report {FIRST_KEY}",
        "model version 1",
        "triggered by",
        "recipe 1",
        f"training_set {FIRST_KEY}",
        "features",
        "labels",
        "raw",
    ]
    assert steps["deployment"].facts[0] == "2013-02-27 00:00 to now, by automatic: all 5 gates passed"
    assert steps["model version 1"].link == "http://mlflow/#/models/flight_delay/versions/1"
    version = trained.state.tables.version("training_set", FIRST_KEY)
    assert steps[f"training_set {FIRST_KEY}"].facts == (f"data version {version}, as it is stored",)
    assert steps["features"].facts[0].startswith("8 partitions, 2012-12-31 (")
    assert steps["features"].facts[1] == "all as they are stored"
    assert steps["triggered by"].facts == (
        f"first-training of {FIRST_KEY} (run tag {NAME}:{FIRST_KEY}:first-training)",
    )
    raw = trained.state.tables.version("raw", "2012-12-31")
    assert steps["raw"].facts[0].startswith(f"2012-12-31: data version {raw}, Dagster run ")


def test_why_names_the_runs_that_dagster_recorded(trained: Replay):
    (run_id,) = {record.run_id for record in trained.state.ledger.history()}

    steps = chain(trained)

    assert f"Dagster run {run_id}" in steps["deployment"].facts
    assert steps["model version 1"].facts[-1].startswith(f"Dagster run {run_id}, data version ")


def test_why_says_what_changed_since_and_what_was_never_recorded(replay: Replay):
    path = file_of(replay.state, "features", "2013-01-07")
    pl.read_parquet(path).head(10).write_parquet(path)
    replay.state.records.remove(AcceptanceRecord, FIRST_KEY)

    steps = chain(replay)

    assert steps["features"].facts[1] == "changed since: 2013-01-07"
    assert steps[f"acceptance {FIRST_KEY}"].facts[0] == "not recorded"


def test_a_version_is_built_again_to_the_last_bit(trained: Replay):
    found = reproduce(trained.state, 1)

    assert found.files == dict.fromkeys(("estimator.skops", "golden.zip", "model.onnx", "reference.json"), True)
    assert (found.data_is_same, found.largest_difference, found.changed) == (True, 0.0, ())
    assert found.is_identical
    assert found.rows > 5_000


def test_a_bundle_says_what_it_was_made_from(trained: Replay):
    manifest = trained.state.bundles.manifest(1)

    assert (manifest.seed, manifest.search) == (7, NEW)
    assert {key.partition("/")[0] for key in manifest.input_versions} == {"features", "labels"}
    assert len(manifest.input_versions) == 16
    assert "lightgbm" in manifest.packages


def test_what_keeps_a_version_from_being_built_again_is_named(replay: Replay):
    path = file_of(replay.state, "labels", "2013-01-14")
    labels = pl.read_parquet(path)
    turned = (1 - pl.col("label").cast(pl.Int8)).alias("label")
    labels.with_columns(turned).cast(labels.schema).write_parquet(path)  # type: ignore[arg-type]
    manifest = replay.state.bundles.manifest(1)
    old = msgspec.structs.replace(manifest, packages={"lightgbm": "3.0"}, git_commit="abc")
    workspace = replay.state.workspace
    workspace.objects.put(f"bundles/{NAME}/1/{MANIFEST}", msgspec.json.encode(old))

    found = reproduce(workspace.of(replace(replay.product, seed=8)), 1)

    assert not found.is_identical
    assert not found.data_is_same
    data, seed, code, packages = found.changed
    assert data == "data: labels/2013-01-14"
    assert seed == "seed: 7, now 8"
    assert code.startswith("code: commit abc, now ")
    assert packages.startswith("packages: lightgbm 3.0, now ")


def test_a_recipe_can_come_of_any_trial_of_an_experiment(trained: Replay):
    registry = registry_of(trained)
    client = MlflowClient(tracking_uri=trained.state.workspace.mlflow_store)
    experiment = client.get_experiment_by_name(f"{NAME}/experiment")
    assert experiment is not None
    (run, *_) = client.search_runs([experiment.experiment_id], "tags.trial = '0'")
    facts = registry.run_facts(run.info.run_id)

    settings = settings_of_run(trained.product, run.info.run_id, facts.params, facts.tags)

    assert (settings.candidate, settings.estimator) == ("lightgbm", "lightgbm")
    assert settings.hyperparameters == {"learning_rate": 0.1, "n_estimators": 30}  # trial 0 is what was declared


def test_a_run_nobody_knows_is_named(trained: Replay):
    with pytest.raises(DataError, match="has no run 'feed'"):
        registry_of(trained).run_facts("feed")


def test_a_week_without_a_new_champion_has_nobody_in_probation(trained: Replay):
    record = trained.state.records.load(ProbationRecord, SERVED_WEEK)

    assert record.state is ProbationState.NONE
