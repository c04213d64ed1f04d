"""Whether the process of a run still lives: on this machine by the process itself, on another by its record."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from mlops_assets.errors import StoreError
from mlops_assets.state.objects import Folder, Objects, objects_at
from mlops_assets.state.run_records import (
    LOST_AFTER,
    Heartbeat,
    RunRecords,
    reason_it_is_gone,
    record_of_this_process,
)

NOW = datetime.now(UTC)


def test_a_process_that_lives_is_not_gone_however_old_its_record():
    record = msgspec.structs.replace(record_of_this_process("run"), alive_at=NOW - timedelta(days=3))

    assert reason_it_is_gone(record, NOW) is None


def test_a_process_that_was_killed_is_gone_at_once():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        import psutil

        began = psutil.Process(other.pid).create_time()
        record = msgspec.structs.replace(record_of_this_process("run"), process=other.pid, began=began)
        before = reason_it_is_gone(record, NOW)
        other.kill()
        # not waited for yet: to the system it is still listed
        psutil.Process(other.pid).wait(10) if psutil.pid_exists(other.pid) else None

        assert before is None
        assert reason_it_is_gone(record, NOW) == f"its process {other.pid} on {record.host} has ended"


def test_a_process_number_that_was_given_anew_is_not_the_run():
    record = msgspec.structs.replace(record_of_this_process("run"), began=record_of_this_process("run").began - 60)

    assert reason_it_is_gone(record, NOW) == f"its process {record.process} on {record.host} has ended"


def test_a_machine_that_was_restarted_carries_no_run_on():
    record = msgspec.structs.replace(record_of_this_process("run"), boot="the one before")

    assert reason_it_is_gone(record, NOW) == f"{record.host} was restarted during the run"


def test_a_process_on_another_machine_is_gone_once_it_has_been_silent_for_too_long():
    record = msgspec.structs.replace(record_of_this_process("run"), host="elsewhere", process=1, alive_at=NOW)

    assert reason_it_is_gone(record, NOW + LOST_AFTER) is None
    assert reason_it_is_gone(record, NOW + LOST_AFTER + timedelta(seconds=1)) == (
        f"its process 1 on elsewhere has not reported since {NOW:%Y-%m-%d %H:%M:%S}"
    )


def test_a_heartbeat_records_the_process_and_takes_the_record_away_at_the_end(objects: Objects):
    records = RunRecords(objects)
    heartbeat = Heartbeat(records, "run")

    heartbeat.start()
    during = records.read("run")
    heartbeat.stop()

    assert during is not None
    assert reason_it_is_gone(during, NOW) is None
    assert records.read("run") is None


def test_a_run_that_nobody_could_see_alive_does_not_begin(tmp_path: Path):
    (tmp_path / "runs").write_text("a file where the folder should be")

    with pytest.raises(StoreError, match=r"runs/run.json could not be written: "):
        Heartbeat(RunRecords(Folder(tmp_path)), "run").start()


def test_every_machine_knows_which_runs_are_under_way(objects: Objects):
    here, elsewhere = RunRecords(objects), RunRecords(objects_at(objects.url))
    for run_id in ("b", "a", "c"):
        here.write(record_of_this_process(run_id))

    elsewhere.remove("c")

    assert here.run_ids() == elsewhere.run_ids() == ["a", "b"]
    assert elsewhere.read("a").run_id == "a"
