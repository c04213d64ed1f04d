"""Retention on a really trained home: what it removes, what it says, when it runs, and that old versions still speak."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import msgspec
import pytest

from mlops_assets.inference.assets import RETENTION
from mlops_assets.inference.why import Places, Step, explain
from mlops_assets.monitoring.render import render_drift
from mlops_assets.products.keep import KINDS, Keep
from mlops_assets.replay.runs import Replay, expect_success
from mlops_assets.state.workspace import Workspace
from mlops_assets.training.reproduce import reproduce
from resources.event_log import EventLog
from tests.dagster.builders import (
    FIRST_KEY,
    NEXT_WEEK,
    SERVED_WEEK,
    a_location,
    a_replay,
    a_small_product,
    an_environment,
    materialize,
    newest_metadata,
)

NOTHING = Keep(**dict.fromkeys(KINDS, timedelta(0)))
YEARS_LATER = datetime(2033, 1, 1, tzinfo=UTC)
LOGGED_DAY = "2013-02-18"  # the next period reads the logs from its week before on, which begins on 25 February
PLACES = Places("http://dagster", "http://mlflow", "http://api")


@pytest.fixture
def replaced(trained: Replay, tmp_path: Path) -> Iterator[Replay]:
    """The trained home, whose product keeps nothing, years after another version has taken the place of its champion."""
    shutil.copytree(trained.state.workspace.home, tmp_path / "home")
    with a_replay(replace(trained.product, keep=NOTHING), tmp_path / "home") as replay:
        state = replay.state
        first = state.bundles.manifest(1)
        state.tables.write("training_set", NEXT_WEEK, state.tables.scan("training_set", [FIRST_KEY]))
        for version, partition in ((2, FIRST_KEY), (3, NEXT_WEEK)):  # nobody ever deployed the second one
            manifest = msgspec.structs.replace(first, version=version, partition=partition)
            state.bundles.write(manifest, {name: state.bundles.read(1, name) for name in first.checksums})
        at = replay.clock.now()
        state.ledger.deploy(3, NEXT_WEEK, at, reason="a test", by="test", after=state.ledger.position())
        for kind in ("predictions", "shadow", "labels"):
            state.workspace.objects.put(f"{kind}/{replay.product.name}/{LOGGED_DAY}/a.parquet", b"1")
        state.workspace.objects.put(f"reports/{replay.product.name}/data_drift/{SERVED_WEEK}.html", b"1")
        replay.at(YEARS_LATER)
        yield replay


def chain(replay: Replay, version: int) -> dict[str, Step]:
    log = EventLog(replay.instance, replay.product)
    return {step.name: step for step in explain(replay.state, version, log.newest, PLACES)}


def test_an_old_version_is_explained_and_built_again_when_nothing_that_can_go_is_left(replaced: Replay):
    before = chain(replaced, 1)

    expect_success(materialize(replaced, RETENTION, key=None))

    assert replaced.state.tables.keys("training_set") == [NEXT_WEEK]
    assert replaced.state.bundles.versions() == [1, 3]
    after = chain(replaced, 1)
    built_from = f"training_set {FIRST_KEY}"
    assert after[built_from].facts[0].endswith(", which is no longer stored")
    assert {name: step for name, step in after.items() if name != built_from} == {
        name: step for name, step in before.items() if name != built_from
    }
    assert reproduce(replaced.state, 1).is_identical


def test_the_report_of_a_period_can_be_made_again_without_the_champions_training_set(replaced: Replay):
    expect_success(materialize(replaced, RETENTION, key=None))

    render_drift(replaced.state, SERVED_WEEK)

    page = replaced.state.reports.read("data_drift", SERVED_WEEK)
    assert page is not None
    assert "<html" in page


def test_it_says_what_it_removed(replaced: Replay):
    expect_success(materialize(replaced, RETENTION, key=None))

    said = newest_metadata(replaced, RETENTION)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in said["removed"].splitlines()]
    assert rows[0] == ["kind", "kept for", "objects", "from", "to"]
    removed = {row[0]: row[1:] for row in rows[2:]}
    assert list(removed) == list(KINDS)
    assert removed["shadow"] == ["0 days", "1", LOGGED_DAY, LOGGED_DAY]
    assert removed["reports"] == ["0 days", "1", SERVED_WEEK, SERVED_WEEK]
    assert removed["training_sets"] == ["0 days", "2", FIRST_KEY, FIRST_KEY]
    assert said["objects"] == sum(int(row[1]) for row in removed.values())


def test_what_the_installation_says_counts_in_place_of_what_the_product_declares(replaced: Replay):
    environment = replace(an_environment(Workspace(replaced.state.workspace.home)), keep="shadow:none,reports:100y")
    replaced.definitions = a_location(replaced.product, environment)

    expect_success(materialize(replaced, RETENTION, key=None))

    objects = replaced.state.workspace.objects
    assert objects.folders(f"shadow/{replaced.product.name}") == [LOGGED_DAY]
    assert replaced.state.reports.read("data_drift", SERVED_WEEK) is not None
    assert objects.folders(f"predictions/{replaced.product.name}") == []


@pytest.mark.parametrize(("sensors", "is_running"), [((), False), (("flight_delay",), True), (("air_time",), False)])
def test_it_runs_every_night_where_the_sensors_of_the_product_run(
    tmp_path: Path, sensors: tuple[str, ...], is_running: bool
):
    product = a_small_product()
    environment = replace(an_environment(Workspace(tmp_path)), sensors=sensors)
    repository = a_location(product, environment).get_repository_def()
    schedule = repository.get_schedule_def("flight_delay_retention")

    with dg.build_schedule_context() as context:
        (asked,) = schedule.evaluate_tick(context).run_requests or ()

    assert (schedule.default_status is dg.DefaultScheduleStatus.RUNNING) == is_running
    assert schedule.cron_schedule == "30 3 * * *"
    assert asked.tags["product"] == product.name
    assert [node.name for node in repository.get_job(schedule.job_name).nodes] == ["flight_delay__retention"]
