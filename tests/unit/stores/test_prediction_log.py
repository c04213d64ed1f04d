"""Prediction log: nothing that was answered is lost silently."""

import errno
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from mlops_assets.errors import DataError
from mlops_assets.products.air_time import air_time
from mlops_assets.products.flight_delay import flight_delay
from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.dtypes import microseconds
from mlops_assets.stores.prediction_log import RETRY_SECONDS, LoggedRows, PredictionLog, log_columns
from mlops_assets.stores.write_ahead_file import WriteAheadFile, add_frame, read_write_ahead

NOON = datetime(2013, 7, 4, 12, 0, 0, 123_456, tzinfo=UTC)


def answers(*names: str, minutes: tuple[int, ...] = (), product: ModelProduct = flight_delay) -> LoggedRows:
    """One row per name, served so many minutes after noon."""
    given = {
        "request_id": "r",
        "trace_id": "t",
        "version": 3,
        "event_time": microseconds(NOON - timedelta(hours=1)),
        "prediction": 0.25,
        "label": "false",
        "carrier": "UA",
        "flight": 1545,
        "scheduled_departure": microseconds(NOON),
        "humidity": 50.5,
    }
    rows = []
    for name, late in zip(names, minutes or (0,) * len(names), strict=True):
        served = microseconds(NOON + timedelta(minutes=late))
        row = {**given, "prediction_id": name, "received_at": served, "served_at": served}
        rows.append(tuple(row.get(column) for column in log_columns(product)))
    return (), list(zip(*rows, strict=True)), [()] * len(rows), [()] * len(rows)


def frame(rows: Sequence[object]) -> bytes:
    content = bytearray()
    add_frame(rows, content)
    return bytes(content)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[PredictionLog]:
    log = PredictionLog(tmp_path)
    yield log
    log.close()


def test_what_is_appended_is_read_back_typed(log: PredictionLog) -> None:
    log.append(flight_delay, answers("a"))

    rows = log.read("flight_delay")

    assert rows.schema["served_at"] == pl.Datetime("us", "UTC")
    (row,) = rows.to_dicts()
    assert (row["served_at"], row["scheduled_departure"]) == (NOON, NOON)
    assert (row["prediction_id"], row["version"], row["prediction"], row["label"]) == ("a", 3, 0.25, "false")
    assert (row["flight"], row["temperature"], row["humidity"], row["dest"]) == (1545, None, 50.5, None)
    assert (row["trace_id"], row["received_at"], row["probabilities"]) == ("t", NOON, None)


def test_a_product_nothing_was_logged_for_reads_empty_with_the_core_columns(log: PredictionLog) -> None:
    rows = log.read("flight_delay")

    assert rows.is_empty()
    assert {"prediction_id", "version", "event_time", "served_at", "prediction"} <= set(rows.columns)


def test_appended_rows_reach_the_disk_without_a_flush(log: PredictionLog, tmp_path: Path) -> None:
    log.append(flight_delay, answers("a"))

    written = threading.Event()
    for _ in range(100):
        if log.health.written_rows or written.wait(0.02):
            break

    assert log.health.written_rows == 1
    assert PredictionLog(tmp_path).read("flight_delay").height == 1


def test_closing_turns_the_write_ahead_file_into_parquet(log: PredictionLog, tmp_path: Path) -> None:
    log.append(flight_delay, answers("a"))

    log.close()

    (file,) = (tmp_path / "flight_delay").iterdir()
    assert file.suffix == ".parquet"
    assert pl.read_parquet(file).height == 1


def test_products_have_folders_of_their_own(log: PredictionLog) -> None:
    log.append(flight_delay, answers("a"))
    log.append(air_time, answers("b", product=air_time))

    assert log.read("flight_delay")["prediction_id"].to_list() == ["a"]
    assert log.read("air_time")["prediction_id"].to_list() == ["b"]


def test_rows_of_several_segments_and_writers_come_oldest_first(tmp_path: Path) -> None:
    closed, running = PredictionLog(tmp_path), PredictionLog(tmp_path)
    closed.append(flight_delay, answers("second", minutes=(2,)))
    closed.close()
    running.append(flight_delay, answers("third", "first", minutes=(3, 1)))
    running.flush()

    names = PredictionLog(tmp_path).read("flight_delay")["prediction_id"].to_list()

    assert names == ["first", "second", "third"]
    running.close()


def test_a_full_segment_is_sealed_and_a_new_one_begun(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, segment_rows=2)
    for name in "abcde":
        log.append(flight_delay, answers(name))
        log.flush()
        for _ in range(100):
            if len(list((tmp_path / "flight_delay").glob("*.parquet"))) * 2 >= log.health.written_rows - 1:
                break
            threading.Event().wait(0.02)

    assert len(list((tmp_path / "flight_delay").glob("*.parquet"))) == 2
    assert log.read("flight_delay").height == 5
    log.close()


def test_the_write_ahead_file_of_a_killed_process_is_read_up_to_its_torn_line(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    log.append(flight_delay, answers("a"))
    log.append(flight_delay, answers("b"))
    log.flush()
    (path,) = (tmp_path / "flight_delay").glob("*.wal")
    torn = tmp_path / "flight_delay" / "20130101T000000-1-torn.wal"
    torn.write_bytes(path.read_bytes()[:-5])
    log.close()

    assert PredictionLog(tmp_path).read("flight_delay")["prediction_id"].to_list() == ["a", "a", "b"]


def test_a_file_that_ends_anywhere_gives_every_write_before_that(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    ends = []
    for name in "abc":
        log.append(flight_delay, answers(name))
        log.flush()
        (path,) = (tmp_path / "flight_delay").glob("*.wal")
        ends.append(path.stat().st_size)
    whole, header = path.read_bytes(), path.read_bytes().index(b"\n") + 1
    log.close()

    for size in range(header, len(whole) + 1):
        path.write_bytes(whole[:size])
        rows = read_write_ahead(path)
        assert (0 if rows is None else rows.height) == sum(end <= size for end in ends), size


def test_lines_of_json_are_read_beside_frames(tmp_path: Path) -> None:
    path = tmp_path / "both.wal"
    columns = {"prediction_id": "string", "event_time": "timestamp", "prediction": "float"}
    line = b'[["line", 1372939200123456, 0.5], ["none", null, null]]\n'
    path.write_bytes(
        msgspec.json.encode(columns) + b"\n" + line + frame(((), [["frame"]], [(NOON,)], [(0.25,)])) + line
    )

    rows = read_write_ahead(path)

    assert rows is not None
    assert rows["prediction_id"].to_list() == ["line", "none", "frame", "line", "none"]
    assert rows["event_time"].to_list() == [NOON, None, NOON, NOON, None]
    assert rows["prediction"].to_list() == [0.5, None, 0.25, 0.5, None]


def test_no_number_is_kept_as_null(tmp_path: Path) -> None:
    path = tmp_path / "nan.wal"
    path.write_bytes(b'{"prediction":"float"}\n' + frame(((), [[float("nan"), 149]], [(), ()], [(), ()])))

    rows = read_write_ahead(path)

    assert rows is not None
    assert rows["prediction"].to_list() == [None, 149.0]


def test_a_damaged_frame_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.wal"
    path.write_bytes(b'{"prediction":"float"}\n' + frame(((), [["no number"]], [()], [()])))

    with pytest.raises(DataError, match=r"bad\.wal is damaged"):
        read_write_ahead(path)


def test_a_frame_holds_what_rows_share_once_then_columns_then_the_rest_of_each_row(tmp_path: Path) -> None:
    path = tmp_path / "wide.wal"
    columns = dict.fromkeys(("version", "prediction_id", "label", "carrier", "seats"), "string")
    first = frame((("1",), [["a", "b"], ["true", "false"]], [("UA",), ("US",)], [("9",), (None,)]))
    second = frame((("2",), [["c"], [None]], [("B6",)], [("4",)]))
    path.write_bytes(msgspec.json.encode(columns) + b"\n" + first + second)

    rows = read_write_ahead(path)

    assert rows is not None
    assert rows.rows() == [("1", "a", "true", "UA", "9"), ("1", "b", "false", "US", None), ("2", "c", None, "B6", "4")]


def test_a_write_that_cannot_be_packed_leaves_those_before_it_as_they_are() -> None:
    content = bytearray()
    add_frame(answers("a"), content)
    before = bytes(content)

    with pytest.raises(TypeError):
        add_frame(((), [["b"], [object()]], [()], [()]), content)

    assert content == before


@pytest.mark.parametrize(
    "write",
    [
        (0x8000_0000 + 9).to_bytes(4, "big") + bytes.fromhex("94909191c391909190"),
        (0x8000_0000 + 5_002).to_bytes(4, "big") + b"\x94\x90" + b"\x91" * 5_000,
        b"[[" + b"9" * 400 + b"]]\n",
    ],
    ids=["a boolean", "lists within lists", "a number beyond all"],
)
def test_what_is_no_number_of_ours_is_an_error_that_names_the_file(tmp_path: Path, write: bytes) -> None:
    path = tmp_path / "bad.wal"
    path.write_bytes(b'{"prediction":"float"}\n' + write)

    with pytest.raises(DataError, match=r"bad\.wal is damaged"):
        read_write_ahead(path)


@pytest.mark.parametrize(
    "content",
    [
        ((), [["a", "b"], ["c"]], [(), ()], [(), ()]),
        ((), [["a"]], [("b",), ("c",)], [()]),
        ((), [["a"]], [()], [()]),
        ((), [["a"]], [("b",)], [("c",)]),
        [["a", "b"]],
    ],
    ids=["short column", "long part", "too few values", "too many values", "rows as they were"],
)
def test_a_frame_whose_parts_do_not_fit_is_an_error_that_names_the_file(tmp_path: Path, content: object) -> None:
    path = tmp_path / "bad.wal"
    path.write_bytes(b'{"prediction_id":"string","label":"string"}\n' + frame(content))

    with pytest.raises(DataError, match=r"bad\.wal is damaged"):
        read_write_ahead(path)


def test_a_segment_that_was_sealed_but_whose_write_ahead_file_remained_counts_once(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    log.append(flight_delay, answers("a"))
    log.flush()
    (path,) = (tmp_path / "flight_delay").glob("*.wal")
    content = path.read_bytes()
    log.close()
    path.write_bytes(content)

    assert PredictionLog(tmp_path).read("flight_delay").height == 1


def test_a_damaged_line_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "flight_delay"
    folder.mkdir()
    (folder / "bad.wal").write_bytes(b'{"prediction_id":"string"}\n{"prediction_id": [[[\n')

    with pytest.raises(DataError, match=r"bad\.wal is damaged"):
        PredictionLog(tmp_path).read("flight_delay")


def a_file_in_the_way(folder: Path) -> Path:
    """Where a log's folder should be: nothing can be written until it is gone."""
    root = folder / "log"
    root.write_text("a file where the folder should be")
    return root


def test_a_file_in_the_way_of_the_folder_is_never_silent_and_heals(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = a_file_in_the_way(tmp_path)
    log = PredictionLog(root)
    log.append(flight_delay, answers("a"))
    log.flush()

    sick = log.health
    root.unlink()
    log.flush()

    assert (sick.is_writing, sick.waiting_rows, sick.written_rows) == (False, 1, 0)
    assert str(root) in str(sick.last_error)
    assert "Rows wait in memory" in caplog.text
    assert log.read("flight_delay").height == 1
    assert log.health.is_writing
    log.close()


class FullDisk(WriteAheadFile):
    """Takes the first bytes of every write, then says the disk is full."""

    def append(self, lines: bytes, rows: int) -> None:
        os.write(self._handle, b'{"half":"a hea')
        os.ftruncate(self._handle, self._size)
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_keeps_the_rows_bounds_them_and_counts_what_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = PredictionLog(tmp_path, max_buffered_bytes=500)
    with monkeypatch.context() as patched:
        patched.setattr("mlops_assets.stores.prediction_log.WriteAheadFile", FullDisk)
        for number in range(10):
            log.append(flight_delay, answers(str(number)))
            log.flush()
        full = log.health
    log.flush()

    assert not full.is_writing
    assert "No space left" in str(full.last_error)
    assert full.waiting_rows + full.dropped_rows == 10
    assert 0 < full.dropped_rows < 10
    assert "rows are dropped" in caplog.text
    kept = log.read("flight_delay")["prediction_id"].to_list()
    assert kept == [str(number) for number in range(full.waiting_rows)]
    log.close()


def test_many_threads_lose_no_row(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)

    def write(thread: int) -> None:
        for number in range(50):
            log.append(flight_delay, answers(f"{thread}-{number}"))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()

    assert log.read("flight_delay")["prediction_id"].n_unique() == 200


def test_what_comes_after_closing_is_counted_as_dropped(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    log.close()

    log.append(flight_delay, answers("a"))

    assert log.health.dropped_rows == 1


def test_the_columns_are_the_request_and_the_features() -> None:
    columns = log_columns(flight_delay)

    assert {*flight_delay.request, *flight_delay.feature_names} <= set(columns)
    assert (columns["carrier"], columns["flight"], columns["distance"]) == ("string", "integer", "float")


def test_who_waits_for_the_disk_is_told_when_the_row_is_there(log: PredictionLog, tmp_path: Path) -> None:
    told: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    log.append(flight_delay, answers("a"), told.put)

    assert told.get(timeout=10) is None
    assert PredictionLog(tmp_path).read("flight_delay")["prediction_id"].to_list() == ["a"]


def test_who_waits_for_a_disk_that_fails_is_told_why_and_the_row_never_turns_up(tmp_path: Path) -> None:
    root = a_file_in_the_way(tmp_path)
    log = PredictionLog(root)
    told: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    log.append(flight_delay, answers("refused"), told.put)
    reason = told.get(timeout=10)
    root.unlink()
    log.append(flight_delay, answers("answered"), told.put)

    assert "log" in str(reason)
    assert told.get(timeout=10) is None
    assert log.read("flight_delay")["prediction_id"].to_list() == ["answered"]
    log.close()


def test_that_the_disk_is_well_again_shows_although_nobody_may_append(tmp_path: Path) -> None:
    root = a_file_in_the_way(tmp_path)
    log = PredictionLog(root)
    told: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    log.append(flight_delay, answers("refused"), told.put)
    told.get(timeout=10)
    time.sleep(2 * RETRY_SECONDS)
    while_it_fails = log.last_error

    root.unlink()
    time.sleep(2 * RETRY_SECONDS)

    assert while_it_fails is not None
    assert log.last_error is None
    assert log.health.is_writing
    assert log.read("flight_delay").is_empty()
    log.close()


def test_of_one_failed_write_only_what_nobody_waits_for_is_tried_again(tmp_path: Path) -> None:
    root = a_file_in_the_way(tmp_path)
    log = PredictionLog(root, flush_seconds=30)
    told: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    log.append(flight_delay, answers("kept", "too"))
    log.append(flight_delay, answers("refused"), told.put)
    reason, waiting = told.get(timeout=10), log.health.waiting_rows
    log.append(flight_delay, answers("later"))
    root.unlink()

    assert "log" in str(reason)
    assert waiting == 2
    assert log.read("flight_delay")["prediction_id"].to_list() == ["kept", "too", "later"]
    assert log.health.waiting_rows == 0
    assert log.health.written_rows == 3
    log.close()


class Unsealable(WriteAheadFile):
    """Cannot become Parquet, for a reason that nobody foresaw."""

    def seal(self, *_: object) -> None:
        raise ModuleNotFoundError("an environment that was replaced under the process")


def test_a_segment_that_cannot_be_sealed_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mlops_assets.stores.prediction_log.WriteAheadFile", Unsealable)
    log = PredictionLog(tmp_path, segment_rows=1)
    told: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    log.append(flight_delay, answers("a"), told.put)
    while log.health.is_writing:  # half a second of quiet, then it is tried
        pass

    log.append(flight_delay, answers("b"), told.put)

    assert (told.get(timeout=10), told.get(timeout=10)) == (None, None)
    assert sorted(log.read("flight_delay")["prediction_id"]) == ["a", "b"]
    assert "could not become Parquet: an environment that was replaced" in caplog.text
    assert "The file stays and is read as it is" in caplog.text
    assert "Rows wait" not in caplog.text
    time.sleep(2 * RETRY_SECONDS)
    assert log.last_error is None  # or who refuses to answer without the log would never answer again
    log.close()


def test_a_segment_that_becomes_parquet_stands_still_while_rows_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops_assets.stores.prediction_log.QUIET_SECONDS", 0.01)
    is_sealing, may_ask, went_on, seal = threading.Event(), threading.Event(), threading.Event(), WriteAheadFile.seal

    def asking(self: WriteAheadFile, give_way: Callable[[], object]) -> None:
        is_sealing.set()
        assert may_ask.wait(20)
        give_way()
        went_on.set()
        seal(self, give_way)

    monkeypatch.setattr(WriteAheadFile, "seal", asking)
    log = PredictionLog(tmp_path, segment_rows=1, flush_seconds=30)
    log.append(flight_delay, answers("a"), lambda _: None)  # written at once
    assert is_sealing.wait(20)

    log.append(flight_delay, answers("b"))
    may_ask.set()

    assert not went_on.wait(0.3)
    log.flush()
    assert went_on.wait(20)
    log.close()
    assert sorted(log.read("flight_delay")["prediction_id"]) == ["a", "b"]


def test_who_waits_for_the_disk_does_not_wait_for_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_sealing, may_end, seal = threading.Event(), threading.Event(), WriteAheadFile.seal

    def slow(self: WriteAheadFile, *given: Any) -> None:
        is_sealing.set()
        assert may_end.wait(20)
        seal(self, *given)

    monkeypatch.setattr(WriteAheadFile, "seal", slow)
    log, told = PredictionLog(tmp_path, segment_rows=1), queue.SimpleQueue[str | None]()
    log.append(flight_delay, answers("a"))
    assert is_sealing.wait(20)

    log.append(flight_delay, answers("b"), told.put)

    assert told.get(timeout=20) is None
    assert not may_end.is_set()
    assert sorted(log.read("flight_delay")["prediction_id"]) == ["a", "b"]
    may_end.set()
    log.close()
    assert sorted(log.read("flight_delay")["prediction_id"]) == ["a", "b"]
    assert not list(tmp_path.rglob("*.wal"))
