"""Logs of real processes that are killed, that write at once, and whose bucket goes away."""

import queue
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.state.objects import Objects, objects_at
from mlops_assets.state.prediction_log import PredictionLog
from tests.servers.object_store import speak_to
from tests.servers.processes import free_port
from tests.serving.running_api import eventually
from tests.unit.state.logged_rows import answers


@contextmanager
def a_process(program: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", f"tests.unit.state.{program}", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def logged(objects: Objects, spool: Path) -> list[str]:
    return sorted(PredictionLog(objects, "predictions", spool).read("flight_delay")["prediction_id"])


def seal_what_was_left(objects: Objects, spool: Path) -> None:
    following = PredictionLog(objects, "predictions", spool)
    following.start()
    eventually(lambda: not list(spool.rglob("*.jsonl")))
    following.close()


def test_kill_9_before_any_step_of_sealing_loses_nothing_and_leaves_nothing_twice(
    objects: Objects, tmp_path: Path
) -> None:
    spool, elsewhere = tmp_path / "spool", tmp_path / "spool of another machine"
    with a_process("killed_sealing", objects.url, spool) as process:
        killed = int(process.communicate(timeout=200)[0])
    places = {step: objects_at(f"{objects.url}/{step}") for step in range(1, killed + 2)}

    left = [step for step in places if list((spool / str(step)).rglob("*.jsonl"))]
    half = [step for step in left if len(places[step].names("predictions")) == 1]
    whole = [step for step in left if len(places[step].names("predictions")) == 2]
    before = {step: logged(place, spool / str(step)) for step, place in places.items()}
    for step, place in places.items():
        seal_what_was_left(place, spool / str(step))
    after = {step: logged(place, elsewhere) for step, place in places.items()}

    assert killed >= 6  # at least: read the segment, two puts from both sides, remove
    assert half  # killed between the two objects of the segment
    assert whole  # killed between the last object and the removal of the segment
    assert killed + 1 not in left  # nobody killed that one
    assert before == after == {step: ["a", "b"] for step in places}


def test_kill_9_of_one_of_two_writers_loses_no_acknowledged_row_and_the_next_process_seals_the_rest(
    objects: Objects, tmp_path: Path
) -> None:
    spool, elsewhere = tmp_path / "spool", tmp_path / "spool of another machine"
    with (
        a_process("logging_process", objects.url, spool, "killed") as killed,
        a_process("logging_process", objects.url, spool, "ended", 100) as ended,
    ):
        assert killed.stdout is not None
        acknowledged: list[str] = []
        for _ in range(10):  # while both write and seal
            acknowledged += [next(killed.stdout).strip() for _ in range(10)]
            in_between = logged(objects, spool)
            assert set(in_between) >= set(acknowledged)
            assert len(in_between) == len(set(in_between))
        acknowledged += ended.communicate(timeout=100)[0].split()
        killed.kill()
        acknowledged += map(str.strip, killed.stdout)
    left = len(list(spool.rglob("*.jsonl")))
    before = logged(objects, spool)

    seal_what_was_left(objects, spool)

    assert ended.returncode == 0
    assert left >= 1
    assert logged(objects, elsewhere) == before
    # the last one may have been on disk when its writer was killed before it could say so
    assert set(before) >= set(acknowledged)
    assert len(before) == len(set(before)) <= len(acknowledged) + 1


def test_a_bucket_that_is_away_and_comes_back_gets_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.server import ThreadedMotoServer

    port, spool = free_port(), tmp_path / "spool"
    speak_to(f"http://127.0.0.1:{port}", monkeypatch)
    bucket = objects_at("s3://logs/state")
    log, told = PredictionLog(bucket, "predictions", spool, segment_rows=1), queue.SimpleQueue[str | None]()
    for name in "ab":
        log.append(flight_delay, answers(name), told.put)
        assert told.get(timeout=20) is None
    eventually(lambda: log.health.seal_error is not None)
    sick = log.health

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        httpx.put(f"http://127.0.0.1:{port}/logs").raise_for_status()
        eventually(lambda: log.health.unsealed_rows == 0 and log.health.seal_error is None)

        assert "s3://logs/state cannot be used" in str(sick.seal_error)
        assert (sick.is_writing, sick.unsealed_rows) == (True, 2)
        assert logged(bucket, tmp_path / "spool of another machine") == ["a", "b"]
        log.close()
    finally:
        server.stop()
