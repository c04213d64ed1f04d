"""Prediction log: nothing that was answered is lost silently, and a range of time costs its own days only."""

import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from examples.flights.air_time import air_time
from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import DataError, StoreError
from mlops_assets.state.event_log import RETRY_SECONDS
from mlops_assets.state.objects import Folder, Objects, objects_at
from mlops_assets.state.prediction_log import LoggedRows, PredictionLog, log_columns
from tests.serving.running_api import eventually
from tests.unit.state.logged_rows import NOON, answers
from tests.unit.state.places import Watched

DAY = timedelta(days=1)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def log(objects: Objects, spool: Path) -> Iterator[PredictionLog]:
    log = PredictionLog(objects, "predictions", spool)
    yield log
    log.close()


@pytest.fixture
def folder(tmp_path: Path) -> Objects:
    """For what the place of the objects does not change."""
    return objects_at(tmp_path / "state")


def segments(spool: Path) -> list[Path]:
    return list((spool / "predictions" / "flight_delay").glob("*.jsonl"))


def ids(log: PredictionLog, *limits: datetime) -> list[str]:
    return log.read("flight_delay", *limits)["prediction_id"].to_list()


def another_log(objects: Objects, spool: Path) -> PredictionLog:
    """As another process of this machine holds it."""
    return PredictionLog(objects, "predictions", spool)


def on_another_machine(objects: Objects, tmp_path: Path) -> PredictionLog:
    return PredictionLog(objects, "predictions", tmp_path / "spool of another machine")


def test_what_is_appended_is_read_back_typed(log: PredictionLog) -> None:
    log.append(flight_delay, answers("a"))

    rows = log.read("flight_delay")

    assert rows.schema["served_at"] == pl.Datetime("us", "UTC")
    (row,) = rows.to_dicts()
    assert (row["served_at"], row["scheduled_departure"]) == (NOON, NOON)
    assert (row["prediction_id"], row["version"], row["prediction"], row["label"]) == ("a", 3, 0.25, "false")
    assert (row["flight"], row["temperature"], row["humidity"], row["dest"]) == (1545, None, 50.5, None)
    assert (row["trace_id"], row["received_at"], row["probabilities"]) == ("t", NOON, None)


def test_what_is_sealed_is_read_back_as_it_was_unsealed(log: PredictionLog, objects: Objects, spool: Path) -> None:
    log.append(flight_delay, answers("a", "b"))
    unsealed = log.read("flight_delay")

    log.close()

    assert segments(spool) == []
    assert another_log(objects, spool).read("flight_delay").equals(unsealed)


def test_rows_share_values_come_in_columns_and_in_two_parts_of_each_row(log: PredictionLog) -> None:
    (_, columns, _, _), names = answers("a", "b"), list(log_columns(flight_delay))
    by_row = list(zip(*columns, strict=True))

    log.append(flight_delay, (by_row[0][:2], columns[2:9], [row[9:14] for row in by_row], [row[14:] for row in by_row]))

    rows = log.read("flight_delay")
    assert rows.columns == names
    assert rows["prediction_id"].to_list() == ["a", "b"]
    assert (rows["version"].to_list(), rows["humidity"].to_list()) == ([3, 3], [50.5, 50.5])


def test_a_product_nothing_was_logged_for_reads_empty_with_the_core_columns(log: PredictionLog) -> None:
    rows = log.read("flight_delay")

    assert rows.is_empty()
    assert {"prediction_id", "version", "event_time", "served_at", "prediction"} <= set(rows.columns)


def test_appended_rows_reach_the_disk_without_a_flush(log: PredictionLog, objects: Objects, spool: Path) -> None:
    log.append(flight_delay, answers("a"))

    eventually(lambda: log.health.written_rows == 1)

    assert ids(another_log(objects, spool)) == ["a"]


def test_closing_seals_into_one_object_of_the_day_named_as_the_segment(
    log: PredictionLog, objects: Objects, spool: Path
) -> None:
    log.append(flight_delay, answers("a"))
    log.flush()
    (segment,) = segments(spool)

    log.close()

    assert objects.names("") == [f"predictions/flight_delay/2013-07-04/{segment.stem}.parquet"]
    assert segments(spool) == []


def test_every_kind_and_product_has_a_folder_of_its_own(log: PredictionLog, objects: Objects, spool: Path) -> None:
    shadow = PredictionLog(objects, "shadow", spool)
    log.append(flight_delay, answers("a"))
    log.append(air_time, answers("b", product=air_time))
    shadow.append(flight_delay, answers("c"))
    shadow.close()

    assert ids(log) == ["a"]
    assert log.read("air_time")["prediction_id"].to_list() == ["b"]
    assert ids(shadow) == ["c"]


def test_rows_of_several_segments_and_writers_come_oldest_first(objects: Objects, spool: Path) -> None:
    closed, running = another_log(objects, spool), another_log(objects, spool)
    closed.append(flight_delay, answers("second", minutes=(2,)))
    closed.close()
    running.append(flight_delay, answers("third", "first", minutes=(3, 1)))
    running.flush()

    assert ids(another_log(objects, spool)) == ["first", "second", "third"]
    running.close()


def test_columns_that_came_later_are_null_in_earlier_rows(objects: Objects, spool: Path) -> None:
    log = another_log(objects, spool)
    log.append(air_time, answers("a", product=air_time))
    log.close()
    (name,) = objects.names("")
    content = objects.get(name)
    assert content is not None
    objects.put(name.replace("air_time", "flight_delay"), content)
    log = another_log(objects, spool)
    log.append(flight_delay, answers("b"))

    rows = log.read("flight_delay")

    assert "carrier_late_rate" not in log_columns(air_time)
    assert rows["prediction_id"].to_list() == ["a", "b"]
    assert rows["carrier_late_rate"].to_list() == [None, None]
    log.close()


@pytest.mark.parametrize("limits", [{"segment_rows": 1}, {"segment_seconds": 0.0}], ids=["full", "old"])
def test_a_full_or_old_segment_is_sealed_while_the_process_goes_on(
    objects: Objects, spool: Path, tmp_path: Path, limits: dict[str, float]
) -> None:
    log = PredictionLog(objects, "predictions", spool, **limits)
    elsewhere = on_another_machine(objects, tmp_path)
    for name in "ab":
        log.append(flight_delay, answers(name))
        eventually(lambda name=name: name in ids(elsewhere))

    assert len(objects.names("")) == 2
    eventually(lambda: log.health.unsealed_rows == 0)
    assert segments(spool) == []
    log.close()


def test_a_segment_that_is_neither_full_nor_old_stays_on_this_machine(
    objects: Objects, spool: Path, tmp_path: Path
) -> None:
    log = PredictionLog(objects, "predictions", spool, segment_rows=3)
    log.append(flight_delay, answers("a", "b"))
    log.flush()

    assert ids(on_another_machine(objects, tmp_path)) == []
    assert ids(another_log(objects, spool)) == ["a", "b"]
    assert log.health.unsealed_rows == 2
    log.close()


def test_rows_lie_under_the_day_in_utc_on_which_they_were_served(objects: Objects, spool: Path) -> None:
    midnight = datetime(2013, 7, 5, tzinfo=UTC)
    log = another_log(objects, spool)
    log.append(flight_delay, answers("before", "after", minutes=(-1, 0), day=midnight))
    log.close()

    days = objects.folders("predictions/flight_delay")

    assert days == ["2013-07-04", "2013-07-05"]
    assert ids(log, midnight - DAY, midnight) == ["before"]
    assert ids(log, midnight, midnight + DAY) == ["after"]
    assert ids(log, midnight - DAY) == ["before", "after"]


@pytest.mark.parametrize("is_sealed", [True, False])
def test_a_range_holds_its_start_and_not_its_end(objects: Objects, spool: Path, is_sealed: bool) -> None:
    log = another_log(objects, spool)
    log.append(flight_delay, answers("first", "second", "third", minutes=(0, 1, 2)))
    if is_sealed:
        log.close()
    minute = timedelta(minutes=1)

    assert ids(log, NOON, NOON + minute) == ["first"]
    assert ids(log, NOON + minute) == ["second", "third"]
    assert ids(log, NOON, NOON) == []
    assert ids(log, NOON + 3 * minute) == []
    log.close()


def test_one_day_among_500_costs_the_reading_of_one_folder(objects: Objects, spool: Path) -> None:
    first = datetime(2013, 1, 1, 12, tzinfo=UTC)
    log = another_log(objects, spool)
    for day in range(500):
        log.append(flight_delay, answers(str(day), day=first + day * DAY))
    log.close()
    watched = Watched(objects)

    found = ids(another_log(watched, spool), first + 250 * DAY, first + 251 * DAY - timedelta(hours=12))

    assert len(objects.folders("predictions/flight_delay")) == 500
    assert found == ["250"]
    assert watched.listed == ["predictions/flight_delay/2013-09-08"]  # the 251st day of 2013
    assert len(watched.got) == 1


def test_the_segment_of_a_killed_process_is_read_up_to_its_torn_line_and_sealed_by_the_next(
    objects: Objects, spool: Path, tmp_path: Path
) -> None:
    killed = another_log(objects, spool)
    killed.append(flight_delay, answers("a"))
    killed.append(flight_delay, answers("b"))
    killed.flush()
    (segment,) = segments(spool)
    torn = segment.with_name("host-1-0000000000000000.jsonl")
    torn.write_bytes(segment.read_bytes()[:-5])
    killed.close()
    before = ids(another_log(objects, spool))

    following = another_log(objects, spool)
    following.start()
    eventually(lambda: segments(spool) == [])

    assert sorted(before) == ["a", "a", "b"]
    assert sorted(ids(on_another_machine(objects, tmp_path))) == ["a", "a", "b"]
    following.close()


def test_an_empty_segment_of_a_killed_process_leaves_no_object(objects: Objects, spool: Path) -> None:
    folder = spool / "predictions" / "flight_delay"
    folder.mkdir(parents=True)
    (folder / "host-1-0000000000000000.jsonl").write_bytes(b'{"served_at":"micro')

    following = another_log(objects, spool)
    following.start()
    eventually(lambda: segments(spool) == [])

    assert objects.names("") == []
    following.close()


def test_a_segment_that_was_sealed_and_remained_counts_once(
    log: PredictionLog, objects: Objects, spool: Path, tmp_path: Path
) -> None:
    log.append(flight_delay, answers("a"))
    log.flush()
    (segment,) = segments(spool)
    content = segment.read_bytes()
    log.close()
    segment.write_bytes(content)

    before, following = ids(another_log(objects, spool)), another_log(objects, spool)
    following.start()
    eventually(lambda: segments(spool) == [])

    assert before == ids(following) == ids(on_another_machine(objects, tmp_path)) == ["a"]
    following.close()


def test_a_damaged_segment_is_an_error_that_names_the_file_and_keeps_no_other_from_being_sealed(
    objects: Objects, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = spool / "predictions" / "flight_delay"
    folder.mkdir(parents=True)
    (folder / "a-1-bad.jsonl").write_bytes(b'{"prediction_id":"string"}\n{"prediction_id": [[[\n')
    whole = b'{"prediction_id":"string","served_at":"microseconds"}\n{"prediction_id":"a","served_at":0}\n'
    (folder / "b-1-whole.jsonl").write_bytes(whole)

    log = another_log(objects, spool)
    with pytest.raises(DataError, match=r"a-1-bad\.jsonl is damaged.* Move it away to read the others"):
        log.read("flight_delay")
    log.start()
    eventually(lambda: [path.name for path in segments(spool)] == ["a-1-bad.jsonl"])
    eventually(lambda: log.health.seal_error is not None)

    assert "a-1-bad.jsonl is damaged" in str(log.health.seal_error)
    assert log.last_error is None  # what is answered can be logged
    (folder / "a-1-bad.jsonl").unlink()
    assert ids(log) == ["a"]
    log.close()


def test_a_damaged_object_is_an_error_that_names_it(log: PredictionLog, objects: Objects) -> None:
    name = "predictions/flight_delay/2013-07-04/host-1-bad.parquet"
    objects.put(name, b"PAR1, said somebody")

    with pytest.raises(DataError, match=rf"{name} is damaged: .+ or delete it so that the others can be read"):
        log.read("flight_delay", NOON)
    assert log.read("flight_delay", NOON + DAY).is_empty()


def a_file_in_the_way(spool: Path) -> Path:
    """Where the spool should be: nothing can be written until it is gone."""
    spool.write_text("a file where the folder should be")
    return spool


def test_a_file_in_the_way_of_the_spool_is_never_silent_and_heals(
    objects: Objects, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a_file_in_the_way(spool)
    log = another_log(objects, spool)
    log.append(flight_delay, answers("a"))
    log.flush()

    sick = log.health
    spool.unlink()
    log.flush()

    assert (sick.is_writing, sick.waiting_rows, sick.written_rows) == (False, 1, 0)
    assert str(spool) in str(sick.last_error)
    assert "Rows wait in memory" in caplog.text
    assert ids(log) == ["a"]
    assert log.health.is_writing
    log.close()


def test_a_folder_that_was_taken_away_takes_no_row_with_it_that_comes_later(folder: Objects, spool: Path) -> None:
    log = another_log(folder, spool)
    log.append(flight_delay, answers("before"))
    log.flush()
    spool.rename(spool.with_name("away"))

    log.append(flight_delay, answers("after"))

    assert ids(log) == ["after"]
    log.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_refuses_who_waits_and_keeps_what_it_acknowledged(folder: Objects, small_disk: Path) -> None:
    place = Watched(folder)
    place.may_put.clear()  # a sealed segment would make room
    log = another_log(place, small_disk / "spool")
    told: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    acknowledged, refusals = set(), []
    for number in range(20):
        names = [f"{number}-{row}" for row in range(20)]  # more than a page: of the last write some lines find room
        log.append(flight_delay, answers(*names), told.put)
        refusal = told.get(timeout=20)
        acknowledged |= set(names) if refusal is None else set()
        refusals += [] if refusal is None else [refusal]
    sick, kept = log.health, ids(another_log(folder, small_disk / "spool"))
    place.may_put.set()
    log.close()  # the objects lie on another disk, which has room

    assert acknowledged
    assert refusals
    assert all("No space left on device" in refusal for refusal in refusals)
    assert (sick.is_writing, sick.dropped_rows, sick.waiting_rows) == (False, 0, 0)
    assert sorted(kept) == sorted(acknowledged) == sorted(ids(another_log(folder, small_disk / "spool")))
    assert segments(small_disk / "spool") == []


def test_where_spool_and_objects_share_a_full_disk_nothing_is_lost_and_the_rest_is_sealed_once_there_is_room(
    small_disk: Path,
) -> None:
    state = objects_at(small_disk / "state")
    log = another_log(state, small_disk / "spool")
    log.append(flight_delay, answers(*map(str, range(20))))
    log.flush()
    filler = small_disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"." * 4096)
    log.close()
    still_there = ids(another_log(state, small_disk / "spool"))

    filler.unlink()
    following = another_log(state, small_disk / "spool")
    following.start()
    eventually(lambda: segments(small_disk / "spool") == [])

    assert still_there == ids(following) == [str(number) for number in range(20)]
    following.close()


def test_a_disk_that_takes_nothing_keeps_the_rows_bounds_them_and_counts_what_is_dropped(
    folder: Objects, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a_file_in_the_way(spool)
    log = PredictionLog(folder, "predictions", spool, max_buffered_bytes=5_000)
    for number in range(10):
        log.append(flight_delay, answers(str(number)))
        log.flush()
    sick = log.health
    spool.unlink()
    log.flush()

    assert not sick.is_writing
    assert sick.waiting_rows + sick.dropped_rows == 10
    assert 0 < sick.dropped_rows < 10
    assert "rows are dropped" in caplog.text
    assert ids(log) == [str(number) for number in range(sick.waiting_rows)]
    assert (log.health.waiting_rows, log.health.written_rows) == (0, sick.waiting_rows)
    log.close()


def test_what_was_written_leaves_its_room_to_what_comes_later(folder: Objects, spool: Path) -> None:
    log = PredictionLog(folder, "predictions", spool, max_buffered_bytes=2_000)
    for number in range(10):
        log.append(flight_delay, answers(str(number)))
        log.flush()

    assert log.health.dropped_rows == 0
    log.append(flight_delay, answers(*"abc"))  # a row takes some 700 bytes
    assert log.health.dropped_rows == 3
    log.close()


def test_many_threads_lose_no_row(objects: Objects, spool: Path) -> None:
    log = PredictionLog(objects, "predictions", spool, segment_rows=20)

    def write(thread: int) -> None:
        for number in range(50):
            log.append(flight_delay, answers(f"{thread}-{number}"), (lambda _: None) if number % 2 else None)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()

    assert sorted(ids(log)) == sorted(f"{thread}-{number}" for thread in range(4) for number in range(50))


def test_what_comes_after_closing_is_counted_as_dropped(folder: Objects, spool: Path) -> None:
    log, told = another_log(folder, spool), queue.SimpleQueue[str | None]()
    log.close()

    log.append(flight_delay, answers("a"), told.put)

    assert told.get_nowait() == "closed, or the disk is slow"
    assert log.health.dropped_rows == 1


def test_a_log_that_is_only_read_writes_nothing(folder: Objects, spool: Path) -> None:
    log = another_log(folder, spool)

    log.read("flight_delay")
    log.close()

    assert not spool.exists()
    assert isinstance(folder, Folder)
    assert not folder.root.exists()


def test_the_columns_are_the_request_and_the_features() -> None:
    columns = log_columns(flight_delay)

    assert {*flight_delay.request, *flight_delay.feature_names} <= set(columns)
    assert (columns["carrier"], columns["flight"], columns["distance"]) == ("string", "integer", "float")


def test_who_waits_for_the_disk_is_told_when_the_row_is_there(
    log: PredictionLog, objects: Objects, spool: Path
) -> None:
    told: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    log.append(flight_delay, answers("a"), told.put)

    assert told.get(timeout=20) is None
    assert ids(another_log(objects, spool)) == ["a"]


def test_who_waits_for_a_disk_that_fails_is_told_why_and_the_row_never_turns_up(folder: Objects, spool: Path) -> None:
    a_file_in_the_way(spool)
    log = another_log(folder, spool)
    told: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    log.append(flight_delay, answers("refused"), told.put)
    reason = told.get(timeout=20)
    spool.unlink()
    log.append(flight_delay, answers("answered"), told.put)

    assert "Not a directory" in str(reason)
    assert told.get(timeout=20) is None
    assert ids(log) == ["answered"]
    log.close()


def test_that_the_disk_is_well_again_shows_although_nobody_may_append(folder: Objects, spool: Path) -> None:
    a_file_in_the_way(spool)
    log = another_log(folder, spool)
    told: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    log.append(flight_delay, answers("refused"), told.put)
    told.get(timeout=20)
    time.sleep(2 * RETRY_SECONDS)
    while_it_fails = log.last_error

    spool.unlink()
    eventually(lambda: log.last_error is None)

    assert while_it_fails is not None
    assert log.health.is_writing
    assert ids(log) == []
    log.close()


def test_of_one_failed_write_only_what_nobody_waits_for_is_tried_again(folder: Objects, spool: Path) -> None:
    a_file_in_the_way(spool)
    log = PredictionLog(folder, "predictions", spool, flush_seconds=30)
    told: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    log.append(flight_delay, answers("kept", "too"))
    log.append(flight_delay, answers("refused"), told.put)
    reason, waiting = told.get(timeout=20), log.health.waiting_rows
    log.append(flight_delay, answers("later"))
    spool.unlink()

    assert "Not a directory" in str(reason)
    assert waiting == 2
    assert ids(log) == ["kept", "too", "later"]
    assert log.health.waiting_rows == 0
    assert log.health.written_rows == 3
    log.close()


def no_json(name: str) -> LoggedRows:
    shared, columns, first, second = answers(name)
    return shared, [[object()], *columns[1:]], first, second


def not_of_the_same_rows(name: str) -> LoggedRows:
    shared, columns, first, second = answers(name)
    return shared, columns, [*first, ()], second


@pytest.mark.parametrize("unfit", [no_json, not_of_the_same_rows])
def test_rows_that_cannot_be_written_down_are_refused_and_their_neighbours_are_not(
    folder: Objects, spool: Path, unfit: Callable[[str], LoggedRows]
) -> None:
    log = PredictionLog(folder, "predictions", spool, flush_seconds=30)
    outcomes: dict[str, str | None] = {}
    with_outcome = {name: lambda refusal, name=name: outcomes.update({name: refusal}) for name in "abc"}

    log.append(flight_delay, answers("x"))
    log.append(flight_delay, unfit("y"))
    log.append(flight_delay, answers("a"), with_outcome["a"])
    log.append(flight_delay, unfit("b"), with_outcome["b"])
    log.append(flight_delay, answers("c"), with_outcome["c"])
    log.flush()
    eventually(lambda: len(outcomes) == 3)

    assert (outcomes["a"], outcomes["c"]) == (None, None)
    assert "rows of flight_delay cannot be encoded" in str(outcomes["b"])
    assert sorted(ids(log)) == ["a", "c", "x"]
    assert (log.health.dropped_rows, log.health.waiting_rows, log.last_error) == (1, 0, None)
    log.close()


def test_while_the_objects_are_away_everybody_is_served_and_it_is_said_and_segments_are_sealed_afterwards(
    objects: Objects, spool: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = Watched(objects)
    place.is_away = True
    log = PredictionLog(place, "predictions", spool, segment_rows=1)
    told: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for name in "ab":
        log.append(flight_delay, answers(name), told.put)
        assert told.get(timeout=20) is None
    eventually(lambda: log.health.seal_error is not None)
    sick, in_the_meantime = log.health, sorted(ids(another_log(objects, spool)))

    place.is_away = False
    eventually(lambda: log.health.seal_error is None)
    eventually(lambda: log.health.unsealed_rows == 0)

    assert "nobody answers" in str(sick.seal_error)
    assert (sick.is_writing, sick.last_error, sick.unsealed_rows) == (True, None, 2)
    assert in_the_meantime == ["a", "b"]
    assert "It stays on this machine, where it can be read, and is tried again." in caplog.text
    assert sorted(ids(on_another_machine(objects, tmp_path))) == ["a", "b"]
    assert segments(spool) == []
    log.close()


def test_a_process_that_ends_while_the_objects_are_away_leaves_its_segments_to_the_next(
    objects: Objects, spool: Path, tmp_path: Path
) -> None:
    place = Watched(objects)
    place.is_away = True
    log = PredictionLog(place, "predictions", spool)
    log.append(flight_delay, answers("a"))
    log.close()
    left = len(segments(spool))

    following = another_log(objects, spool)
    following.start()
    eventually(lambda: segments(spool) == [])

    assert left == 1
    assert ids(on_another_machine(objects, tmp_path)) == ["a"]
    following.close()


def test_objects_that_cannot_be_read_are_an_error(tmp_path: Path, spool: Path) -> None:
    (tmp_path / "state" / "predictions").mkdir(parents=True)
    day = tmp_path / "state" / "predictions" / "flight_delay" / "2013-07-04"
    day.parent.mkdir()
    day.symlink_to(day)  # a loop, which no right opens

    with pytest.raises(StoreError, match="could not be read"):
        another_log(objects_at(tmp_path / "state"), spool).read("flight_delay")


def test_who_waits_for_the_disk_does_not_wait_for_parquet(folder: Objects, spool: Path) -> None:
    place = Watched(folder)
    place.may_put.clear()
    log, told = PredictionLog(place, "predictions", spool, segment_rows=1), queue.SimpleQueue[str | None]()
    log.append(flight_delay, answers("a"))
    assert place.is_putting.wait(20)

    log.append(flight_delay, answers("b"), told.put)

    assert told.get(timeout=20) is None
    assert not place.may_put.is_set()
    assert sorted(ids(log)) == ["a", "b"]
    place.may_put.set()
    log.close()
    assert sorted(ids(log)) == ["a", "b"]
    assert segments(spool) == []
