"""Runs whose process is gone are marked failed with the reason; all others are left alone."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import dagster as dg
import msgspec
import pytest

from mlops_assets.replay.runs import Replay
from mlops_assets.state.run_records import record_of_this_process
from resources.asset_parts import key_of
from sensors.lost_runs import LAUNCHED_WITHIN, RECORDED_WITHIN, STARTS_WITHIN, TAKEN_UP_WITHIN, why_lost
from tests.dagster.builders import evaluate
from tests.dagster.test_sensors import watching

Status = dg.DagsterRunStatus


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Replay]:
    yield from watching(tmp_path)


def a_run(watched: Replay, status: Status, *, asset: str = "flight_delay") -> dg.DagsterRun:
    selection = frozenset({dg.AssetKey([asset, "raw"])})
    return watched.instance.add_run(
        dg.DagsterRun(job_name="__ASSET_JOB", run_id=str(uuid4()), status=status, asset_selection=selection)
    )


def status_of(watched: Replay, run: dg.DagsterRun) -> Status:
    found = watched.instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def test_a_run_whose_process_was_killed_is_marked_failed_with_the_reason(watched: Replay):
    run = a_run(watched, Status.STARTED)
    record = record_of_this_process(run.run_id)
    watched.state.workspace.run_records.write(msgspec.structs.replace(record, began=record.began - 60))

    tick = evaluate(watched, "lost_runs", None)

    assert status_of(watched, run) is Status.FAILURE
    assert tick.skip_message == f"{run.run_id}: its process {record.process} on {record.host} has ended"
    messages = [
        entry.dagster_event.message
        for entry in watched.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
        if entry.dagster_event
    ]
    assert messages == [f"This run is lost: its process {record.process} on {record.host} has ended."]
    assert watched.state.workspace.run_records.run_ids() == []


def test_a_run_that_was_being_cancelled_when_its_process_ended_is_cancelled(watched: Replay):
    run = a_run(watched, Status.CANCELING)
    watched.state.workspace.run_records.write(
        msgspec.structs.replace(record_of_this_process(run.run_id), boot="before")
    )

    evaluate(watched, "lost_runs", None)

    assert status_of(watched, run) is Status.CANCELED


def test_runs_that_live_and_runs_of_others_are_left_alone(watched: Replay):
    ours = a_run(watched, Status.STARTED)
    watched.state.workspace.run_records.write(record_of_this_process(ours.run_id))
    theirs = a_run(watched, Status.STARTED, asset="somebody_elses")
    watched.state.workspace.run_records.write(
        msgspec.structs.replace(record_of_this_process(theirs.run_id), boot="before")
    )

    tick = evaluate(watched, "lost_runs", None)

    assert (status_of(watched, ours), status_of(watched, theirs)) == (Status.STARTED, Status.STARTED)
    assert tick.skip_message == "1 runs are under way, and their processes are alive"


def test_the_record_of_a_run_that_has_ended_is_taken_away(watched: Replay):
    run = a_run(watched, Status.FAILURE)
    watched.state.workspace.run_records.write(record_of_this_process(run.run_id))

    evaluate(watched, "lost_runs", None)

    assert watched.state.workspace.run_records.run_ids() == []


@pytest.mark.parametrize(
    ("status", "limit", "reason"),
    [
        (Status.NOT_STARTED, STARTS_WITHIN, "no process started it within 10 minutes"),
        (Status.STARTING, STARTS_WITHIN, "no process started it within 10 minutes"),
        (Status.STARTED, RECORDED_WITHIN, "its process ended before its first step"),
    ],
    ids=lambda value: getattr(value, "value", ""),
)
def test_a_run_that_no_process_took_up_is_lost_after_its_time(
    watched: Replay, status: Status, limit: timedelta, reason: str
):
    now = datetime.now(UTC)
    run = a_run(watched, status)
    (record,) = watched.instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
    began = record._replace(create_timestamp=now, start_time=now.timestamp())

    assert why_lost(began, watched.state.workspace.run_records, now + limit) is None
    assert why_lost(began, watched.state.workspace.run_records, now + limit + timedelta(seconds=1)) == reason


def test_a_run_that_was_asked_of_a_code_server_that_has_ended_is_lost_after_a_minute(watched: Replay):
    run = a_run(watched, Status.STARTING)
    (record,) = watched.instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
    created = record.create_timestamp.astimezone(UTC)
    later = created + TAKEN_UP_WITHIN + timedelta(seconds=1)
    restarted, still_the_same = created + timedelta(seconds=5), created - timedelta(hours=1)

    assert (
        why_lost(record, watched.state.workspace.run_records, later, restarted)
        == "the code server that was to start it has ended"
    )
    assert why_lost(record, watched.state.workspace.run_records, created + TAKEN_UP_WITHIN, restarted) is None
    assert why_lost(record, watched.state.workspace.run_records, later, still_the_same) is None
    assert why_lost(record, watched.state.workspace.run_records, later) is None


def test_a_run_that_a_daemon_recorded_and_did_not_launch_is_lost_where_we_start_the_processes(watched: Replay):
    run = a_run(watched, Status.STARTING)
    (record,) = watched.instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
    created = record.create_timestamp.astimezone(UTC)
    code_server_began = created - timedelta(hours=1)

    assert why_lost(record, watched.state.workspace.run_records, created + LAUNCHED_WITHIN, code_server_began) is None
    assert why_lost(
        record, watched.state.workspace.run_records, created + LAUNCHED_WITHIN + timedelta(seconds=1), code_server_began
    ) == ("no process started it within 2 minutes")


@pytest.mark.parametrize("status", [Status.MANAGED, Status.SUSPENDED], ids=lambda status: status.value)
def test_a_run_that_is_to_have_no_process_is_left_alone(watched: Replay, status: Status):
    run = a_run(watched, status)
    (record,) = watched.instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))

    assert why_lost(record, watched.state.workspace.run_records, datetime.now(UTC) + timedelta(days=2)) is None


def test_a_run_says_which_process_carries_it_out_while_it_runs(watched: Replay):
    watched.at(datetime(2013, 1, 7, tzinfo=UTC))
    seen: list[list[str]] = []

    @dg.asset(key=key_of(watched.product, "seen"))
    def asset(platform: dg.ResourceParam[object]) -> None:
        seen.append(watched.state.workspace.run_records.run_ids())

    result = dg.materialize([asset], resources={"platform": watched.platform}, instance=watched.instance)

    assert seen == [[result.run_id]]
    assert watched.state.workspace.run_records.run_ids() == []
