"""The loop on a really trained home: what each run leaves behind, for machines and for people."""

import re
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import msgspec
import polars as pl
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from mlops_assets.products.policy import Action
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.records.readings import DriftRecord, PerformanceRecord, StalenessRecord
from mlops_assets.replay.runs import Replay, failure_of
from mlops_assets.state.model_registry import CHALLENGER, CHAMPION, NEEDS_REWORK
from mlops_assets.training.recipe import current_recipe
from mlops_assets.training.reproduce import reproduce
from resources.asset_parts import key_of
from sensors.runs import CAUSE
from tests.dagster.builders import (
    FIRST_KEY,
    NEXT_WEEK,
    SERVED_WEEK,
    Webhook,
    a_decision,
    a_replay,
    decide,
    evaluate,
    file_of,
    materialize,
    newest_metadata,
)

NAME = "flight_delay"
VERSION_TAG = "dagster/data_version"


def mlflow_of(replay: Replay) -> MlflowClient:
    return MlflowClient(
        tracking_uri=replay.state.workspace.mlflow_store, registry_uri=replay.state.workspace.mlflow_store
    )


def runs_of(replay: Replay, experiment: str, tags: dict[str, str]) -> list[Run]:
    client = mlflow_of(replay)
    found = client.get_experiment_by_name(f"{NAME}/{experiment}")
    assert found is not None
    wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    return list(client.search_runs([found.experiment_id], wanted))


def run_that_trained_first(replay: Replay) -> dg.DagsterRun:
    (run,) = replay.instance.get_runs(dg.RunsFilter(tags={CAUSE: f"{NAME}:{FIRST_KEY}:first-training"}))
    return run


def data_versions(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    events = [event.event_specific_data.materialization for event in result.get_asset_materialization_events()]  # type: ignore[union-attr]
    return {event.asset_key.path[-1]: event.tags[VERSION_TAG] for event in events}


# --- data versions


def test_a_partition_that_is_materialised_again_is_the_same_to_the_byte(replay: Replay):
    names = ("raw", "weather", "features", "predictions", "data_drift")
    tables = ("raw", "weather", "features", "predictions")
    first = data_versions(materialize(replay, *names, key=SERVED_WEEK))
    files = {table: file_of(replay.state, table, SERVED_WEEK).read_bytes() for table in tables}

    second = data_versions(materialize(replay, *names, key=SERVED_WEEK))

    assert first == second
    assert set(first) == set(names)
    assert files == {table: file_of(replay.state, table, SERVED_WEEK).read_bytes() for table in tables}


def test_the_data_version_in_dagster_is_that_of_the_stored_partition(trained: Replay):
    event = trained.instance.get_latest_materialization_event(key_of(trained.product, "features"))

    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.tags[VERSION_TAG] == trained.state.tables.version("features", SERVED_WEEK)


def test_other_content_has_another_data_version(replay: Replay):
    before = data_versions(materialize(replay, "labels", key=SERVED_WEEK))
    path = file_of(replay.state, "raw", SERVED_WEEK)
    pl.read_parquet(path).head(100).write_parquet(path)

    after = data_versions(materialize(replay, "labels", key=SERVED_WEEK))

    assert before["labels"] != after["labels"]


def test_a_training_set_holds_only_what_was_known_when_its_period_began(trained: Replay):
    rows = pl.read_parquet(file_of(trained.state, "training_set", FIRST_KEY))

    # the first departure of 2013 was at 5:15 in New York; a departure at midnight UTC two days before the cutoff is the
    # last whose label is known by then
    event = rows["scheduled_departure"]
    assert event.min() == datetime(2013, 1, 1, 10, 15, tzinfo=UTC)
    assert event.max() == datetime(2013, 2, 23, tzinfo=UTC)
    assert set(rows["split"].unique()) == {"fit", "embargo", "test"}


# --- MLflow


def test_a_model_is_found_in_mlflow_by_the_dagster_run_that_trained_it(trained: Replay):
    (run,) = runs_of(trained, "training", {"dagster_run_id": run_that_trained_first(trained).run_id})

    assert run.info.status == "FINISHED"
    assert run.data.tags["product"] == NAME
    assert run.data.tags["partition"] == FIRST_KEY
    assert run.data.tags["dagster_asset"] == f"{NAME}/model"
    assert run.data.tags["recipe_version"] == "1"


def test_the_run_of_a_model_says_what_went_in_and_what_came_out(trained: Replay):
    (run,) = runs_of(trained, "training", {"partition": FIRST_KEY})

    expected = {
        "estimator": "lightgbm",
        "learning_rate": "0.1",
        "n_estimators": "30",
        "recipe_version": "1",
        "partition": FIRST_KEY,
        "data_version": trained.state.tables.version("training_set", FIRST_KEY),
        "dagster_run_id": run_that_trained_first(trained).run_id,
        "seed": "7",
    }
    assert {name: run.data.params[name] for name in expected} == expected
    assert {"window_start", "window_end", "git_commit"} <= set(run.data.params)
    tested = {f"test_{name}" for name in ("roc_auc", "average_precision", "accuracy", "log_loss", "brier")}
    assert tested | {"fit_seconds", "fit_rows", "spread_percent"} <= set(run.data.metrics)
    assert 0.55 < run.data.metrics["test_roc_auc"] < 1


def test_the_registered_version_has_both_aliases_and_the_bundle_that_serves(trained: Replay):
    registry = trained.definitions.resources["tracking"].registry()
    (run,) = runs_of(trained, "training", {"partition": FIRST_KEY})

    version = mlflow_of(trained).get_model_version(NAME, "1")

    assert registry.version_with(NAME, CHALLENGER) == registry.version_with(NAME, CHAMPION) == 1
    assert (version.run_id, version.tags["partition"]) == (run.info.run_id, FIRST_KEY)
    logged = {item.path for item in mlflow_of(trained).list_artifacts(run.info.run_id, "bundle")}
    with trained.state.bundles.folder(1) as bundle:
        served = {f"bundle/{path.name}" for path in bundle.iterdir()}
    assert logged == served
    assert trained.state.bundles.manifest(1).mlflow_run_id == run.info.run_id


def test_an_experiment_logs_every_setting_it_tried_as_a_run_below_its_own(trained: Replay):
    (parent,) = runs_of(trained, "experiment", {"product": NAME, "best": "lightgbm"})

    children = runs_of(trained, "experiment", {"mlflow.parentRunId": parent.info.run_id})

    assert parent.info.status == "FINISHED"
    children.sort(key=lambda child: int(child.data.tags["trial"]))
    # as declared, and the one other setting that the product's search may try
    assert [(child.info.run_name, child.info.status) for child in children] == [
        ("lightgbm 0", "FINISHED"),
        ("lightgbm 1", "FINISHED"),
    ]
    assert {"roc_auc", "seconds", "folds"} <= set(children[0].data.metrics)
    assert {"learning_rate", "num_leaves"} <= set(children[1].data.params)


def test_a_training_that_fails_leaves_its_mlflow_run_failed(replay: Replay):
    file_of(replay.state, "training_set", FIRST_KEY).unlink()

    result = materialize(replay, "model", key=FIRST_KEY)

    assert "PartitionMissing: flight_delay/training_set has no stored partition for 2013-02-25" in failure_of(result)
    (run,) = runs_of(replay, "training", {"dagster_run_id": result.run_id})
    assert run.info.status == "FAILED"
    assert [version.version for version in mlflow_of(replay).search_model_versions(f"name='{NAME}'")] == [1]


# --- what people see


@pytest.mark.parametrize("asset", ["raw", "weather", "labels", "features", "training_set", "predictions"])
def test_a_table_shows_its_row_count_its_columns_and_its_first_rows(trained: Replay, asset: str):
    key = FIRST_KEY if asset == "training_set" else SERVED_WEEK
    stored = pl.read_parquet(file_of(trained.state, asset, key))

    shown = newest_metadata(trained, asset)

    assert shown["dagster/row_count"] == stored.height
    assert [column.name for column in shown["dagster/column_schema"].columns] == stored.columns
    header, _, *rows = shown["preview of rows"].splitlines()
    assert header.startswith(f"| {stored.columns[0]} |")
    assert len(rows) == 5


A_PNG = "![plot](data:image/png;base64,iVBORw0KGgo"  # with its first bytes


@pytest.mark.parametrize("asset", ["experiment", "test_report"])
def test_what_has_a_shape_shows_a_plot(trained: Replay, asset: str):
    assert newest_metadata(trained, asset)["plot"].startswith(A_PNG)


@pytest.mark.parametrize("asset", ["data_drift", "drift_decision"])
def test_a_period_that_is_not_replayed_in_haste_shows_a_plot(replay: Replay, asset: str):
    replay.renders_reports = True

    materialize(replay, asset, key=SERVED_WEEK)

    assert newest_metadata(replay, asset)["plot"].startswith(A_PNG)


def test_links_lead_to_mlflow_the_api_and_the_report(trained: Replay):
    model, deployed, drift = (newest_metadata(trained, name) for name in ("model", "deployment", "data_drift"))

    (run,) = runs_of(trained, "training", {"partition": FIRST_KEY})
    assert model["MLflow run"] == f"http://127.0.0.1:5000/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert model["MLflow version"] == "http://127.0.0.1:5000/#/models/flight_delay/versions/1"
    assert deployed["model information"] == "http://127.0.0.1:8000/v1/models/flight_delay"
    report = "http://127.0.0.1:8000/reports/flight_delay/data_drift/2013-02-25.html"
    assert drift["Evidently report"] == f"[open]({report}) after `mlops report flight_delay 2013-02-25` has rendered it"


def test_numbers_carry_their_units(trained: Replay):
    drift, performance, staged = (
        newest_metadata(trained, name) for name in ("data_drift", "performance", "staging_report")
    )

    assert 0 <= drift["drift (%)"] <= 100
    # the first week of a champion has seven days, and an interval of its loss takes eight
    assert {"natural spread of the loss (%)", "roc_auc of this period"} <= set(performance)
    assert {"p50 of one row (ms)", "p99 of one row (ms)", "memory (MB)", "start until ready (s)"} <= set(staged)


def test_a_deployment_says_since_when_and_why(trained: Replay):
    shown = newest_metadata(trained, "deployment")

    # labels of the last week of history are known two days after it, then the first model is developed
    assert (shown["version"], shown["former champion"]) == (1, "none")
    assert shown["serves since"] == "2013-02-27T00:00:00+00:00"
    assert shown["reason"] == "all 5 gates passed"


def test_predictions_are_those_of_the_champion_from_its_deployment_on(trained: Replay):
    rows = pl.read_parquet(file_of(trained.state, "predictions", SERVED_WEEK))
    raw = pl.read_parquet(file_of(trained.state, "raw", SERVED_WEEK))

    shown = newest_metadata(trained, "predictions")

    assert str(rows["scheduled_departure"].min())[:10] == "2013-02-27"
    assert set(rows["model_version"]) == {1}
    assert shown["rows before the first deployment"] == raw.height - rows.height > 0
    assert rows["score"].is_between(0, 1).all()


# --- rework, recipe, retraining


def test_a_rework_flags_the_version_and_a_new_recipe_clears_the_flag(replay: Replay, webhook: Webhook):
    reason = "12.0 % of rows moved in distance (11.0 to 13.0), above 10, confirmed by 2 periods"
    decision = _rework(reason)
    replay.state.records.save(SERVED_WEEK, decision)
    with a_replay(replay.product, replay.state.workspace.home, webhook.url) as notifying:
        briefed = materialize(notifying, "rework_brief", key=SERVED_WEEK)

    assert briefed.success, failure_of(briefed)
    flag = replay.state.ledger.open_flag()
    assert flag is not None
    assert (flag.version, flag.reason) == (1, reason)
    assert mlflow_of(replay).get_model_version(NAME, "1").tags[NEEDS_REWORK] == reason
    title = "flight_delay: version 1 needs rework"
    text = (
        f"{reason}. The brief is on the asset {NAME}/rework_brief. Change the product's features, windows or candidates, then run "
        f"`mlops experiment {NAME} --finalise` and `mlops train {NAME}`."
    )
    assert webhook.posted == [{"title": title, "text": text, "product": NAME, "level": "warning"}]
    shown = newest_metadata(replay, "rework_brief")
    assert shown["brief"].startswith(f"## Rework flight_delay, version 1\n\n{reason}, since {SERVED_WEEK}.")
    assert shown["notification"] == "logged; posted to the webhook"

    same = materialize(replay, "recipe", key=None)

    assert same.success, failure_of(same)
    assert replay.state.ledger.open_flag() is not None  # out of the experiment that made the last recipe

    development = {"experiment": {"as_of": FIRST_KEY}, "recipe": {"by": "ann@example.org"}}
    answered = materialize(replay, "experiment", "recipe", key=None, **development)

    assert answered.success, failure_of(answered)
    recipe = current_recipe(replay.state)
    assert recipe is not None
    assert (recipe.version, recipe.by) == (3, "ann@example.org")
    assert replay.state.ledger.open_flag() is None
    assert NEEDS_REWORK not in mlflow_of(replay).get_model_version(NAME, "1").tags
    assert [item.cleared_at is None for item in replay.state.ledger.flags()] == [False]


def test_a_webhook_that_is_dead_is_reported_and_stops_nothing(replay: Replay):
    replay.state.records.save(SERVED_WEEK, _rework("12.0 % of rows moved"))
    # nobody listens on port 1
    with a_replay(replay.product, replay.state.workspace.home, "http://127.0.0.1:1/hook") as notifying:
        briefed = materialize(notifying, "rework_brief", key=SERVED_WEEK)

    assert briefed.success
    assert newest_metadata(replay, "rework_brief")["notification"] == "logged; the webhook failed (ConnectError)"


def test_a_retrain_decision_becomes_the_next_champion_with_the_same_recipe(replay: Replay):
    decision = msgspec.structs.replace(a_decision(SERVED_WEEK, Action.RETRAIN), since="2013-02-18")
    decide(replay.state, replay.instance, decision)

    (retrained,) = replay.tick("drift")

    assert retrained.success, failure_of(retrained)
    first, second = replay.state.ledger.history()
    assert (first.version, second.version, second.partition) == (1, 2, NEXT_WEEK)
    # the clock stands where the labels of the served week became known
    assert second.deployed_at.isoformat() == "2013-03-06T00:00:00+00:00"
    assert replay.state.bundles.manifest(2).recipe_version == 1
    registry = replay.definitions.resources["tracking"].registry()
    assert (registry.version_with(NAME, CHALLENGER), registry.version_with(NAME, CHAMPION)) == (2, 2)
    assert re.match(r"version 1: [+-]0\.\d{4} roc_auc", newest_metadata(replay, "test_report")["against champion"])
    assert replay.tick("drift") == []

    # it learned the first of the two weeks that were found to be others, less the days whose labels were not known when the
    # second began, and was tested on that; and it can be built again
    manifest = replay.state.bundles.manifest(2)
    assert manifest.fitted_until is not None
    assert manifest.tested_from is not None
    days = [f"{moment:%Y-%m-%d}" for moment in (manifest.fitted_until, manifest.tested_from)]
    assert (manifest.shift_since, *days) == ("2013-02-18", "2013-02-23", "2013-02-25")
    assert newest_metadata(replay, "training_set")["shift since"] == "2013-02-18"
    assert reproduce(replay.state, 2).is_identical


def test_the_decision_of_the_served_week_rests_on_its_stored_readings(trained: Replay):
    records = trained.state.records
    shown = newest_metadata(trained, "drift_decision")

    decision = records.load(DriftDecision, SERVED_WEEK)

    assert (decision.period, decision.model_version) == (SERVED_WEEK, 1)
    assert shown["action"] == decision.action
    read: dict[str, Any] = shown["read from"]
    assert read == {
        kind.asset: records.version(kind, SERVED_WEEK) for kind in (DriftRecord, PerformanceRecord, StalenessRecord)
    }


def test_sensors_ask_for_nothing_on_a_home_where_everything_is_done(trained: Replay):
    for sensor in ("new_data", "labels", "drift"):
        # as after a restart that lost every cursor
        assert not evaluate(trained, f"{NAME}_{sensor}", None).run_requests


def _rework(reason: str) -> DriftDecision:
    return DriftDecision(
        period=SERVED_WEEK,
        action=Action.REWORK,
        percent=12.0,
        low=11.0,
        high=13.0,
        features=("distance",),
        reason=reason,
        band=Action.REWORK,
        reading=12.0,
        by_feature=(("distance", 12.0),),
        model_version=1,
    )
