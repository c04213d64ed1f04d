"""Label log: what was taken is on disk, and the label that arrived last counts, whatever the clocks say."""

import concurrent.futures
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.errors import DataError, StoreError
from mlops_assets.state.label_log import LabelLog, ReportedLabel
from mlops_assets.state.objects import Objects, objects_at
from tests.serving.running_api import eventually
from tests.unit.state.places import Watched

NOON = datetime(2013, 7, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def a_label(**changes: Any) -> ReportedLabel:
    given = {"prediction_id": "a", "label": "true", "value": None, "observed_at": None, "received_at": NOON}
    return ReportedLabel(**{**given, **changes})


def told(log: LabelLog, *limits: datetime) -> list[tuple[Any, ...]]:
    return log.read("flight_delay", *limits).select("prediction_id", "label", "is_corrected").rows()


def test_a_label_is_on_disk_when_it_was_taken(objects: Objects, spool: Path) -> None:
    log, observed = LabelLog(objects, spool), NOON - HOUR
    log.append("flight_delay", [a_label(observed_at=observed), a_label(prediction_id="b", label=None, value=183.5)])

    first, second = LabelLog(objects, spool).read("flight_delay").to_dicts()

    assert (first["prediction_id"], first["label"], first["value"]) == ("a", "true", None)
    assert (first["observed_at"], first["received_at"], first["is_corrected"]) == (observed, NOON, False)
    assert (second["prediction_id"], second["label"], second["value"]) == ("b", None, 183.5)
    log.close()


def test_nothing_was_told_of_a_product_without_labels(objects: Objects, spool: Path) -> None:
    log = LabelLog(objects, spool)
    log.append("flight_delay", [])

    rows = log.read("flight_delay")

    assert rows.is_empty()
    assert rows.columns == [
        *("prediction_id", "label", "value", "observed_at", "received_at", "arrival", "is_corrected"),
    ]
    assert not spool.exists()


def test_the_label_that_arrived_last_counts_where_the_clocks_of_a_machine_went_back(
    objects: Objects, spool: Path
) -> None:
    clock = iter([3_000, 1_000, 2_000])
    first, second = (LabelLog(objects, spool, wall_clock=lambda: next(clock)) for _ in range(2))  # as two processes
    first.append("flight_delay", [a_label()])
    second.append("flight_delay", [a_label(received_at=NOON - 3 * HOUR, label="false")])
    first.append("flight_delay", [a_label(received_at=NOON - HOUR, prediction_id="b")])
    second.close()

    log = LabelLog(objects, spool)

    assert told(log) == [("a", "false", True), ("b", "true", False)]
    assert log.read("flight_delay")["arrival"].to_list() == [3_001, 3_002]
    first.close()


def test_labels_of_several_machines_are_in_the_order_of_their_clocks(objects: Objects, tmp_path: Path) -> None:
    busy = LabelLog(objects, tmp_path / "busy", wall_clock=lambda: 1_000)
    idle = LabelLog(objects, tmp_path / "idle", wall_clock=lambda: 500_000)
    later = LabelLog(objects, tmp_path / "busy", wall_clock=lambda: 900_000)
    busy.append("flight_delay", [a_label(prediction_id=f"{number}", label="false") for number in range(100)])
    idle.append("flight_delay", [a_label(prediction_id="7")])
    later.append("flight_delay", [a_label(prediction_id="8")])
    for log in (busy, idle, later):
        log.close()

    found = told(LabelLog(objects, tmp_path / "a third"))

    assert found[-2:] == [("7", "true", True), ("8", "true", True)]


def test_labels_of_one_request_are_numbered_as_they_came(objects: Objects, spool: Path) -> None:
    log = LabelLog(objects, spool, wall_clock=lambda: 10)
    log.append("flight_delay", [a_label(prediction_id=name) for name in "abc"])
    log.append("flight_delay", [a_label(prediction_id="d")])

    assert log.read("flight_delay")["arrival"].to_list() == [10, 11, 12, 13]
    log.close()


def test_a_machine_whose_numbers_were_lost_goes_on_with_the_time(objects: Objects, spool: Path) -> None:
    log = LabelLog(objects, spool, wall_clock=lambda: 10)
    log.append("flight_delay", [a_label()])
    (spool / "labels" / "flight_delay" / "arrivals").write_bytes(b"???")

    log.append("flight_delay", [a_label(label="false")])
    later = LabelLog(objects, spool, wall_clock=lambda: 11)
    later.append("flight_delay", [a_label()])

    assert told(later) == [("a", "true", True)]
    log.close()
    later.close()


def test_labels_lie_under_the_day_on_which_they_came_and_a_range_holds_its_start_and_not_its_end(
    objects: Objects, spool: Path
) -> None:
    midnight = datetime(2013, 7, 6, tzinfo=UTC)
    log = LabelLog(objects, spool)
    log.append("flight_delay", [a_label(received_at=midnight - timedelta(microseconds=1))])
    log.append("flight_delay", [a_label(received_at=midnight, label="false")])
    log.close()

    assert objects.folders("labels/flight_delay") == ["2013-07-05", "2013-07-06"]
    assert told(log, midnight) == [("a", "false", False)]
    assert told(log, NOON, midnight) == [("a", "true", False)]
    assert told(log, NOON) == [("a", "false", True)]


def test_while_the_spool_takes_nothing_labels_are_refused_with_the_reason_and_never_turn_up(
    tmp_path: Path, spool: Path
) -> None:
    log = LabelLog(objects_at(tmp_path / "state"), spool)
    spool.write_text("a disk that takes nothing")

    with pytest.raises(StoreError, match="Not a directory"):
        log.append("flight_delay", [a_label()])
    spool.unlink()
    log.append("flight_delay", [a_label(prediction_id="b")])

    assert told(log) == [("b", "true", False)]
    log.close()


def test_a_label_is_on_disk_also_where_the_spool_was_taken_away_and_put_back(tmp_path: Path, spool: Path) -> None:
    log = LabelLog(objects_at(tmp_path / "state"), spool)
    log.append("flight_delay", [a_label()])
    spool.rename(tmp_path / "away")
    spool.mkdir()

    log.append("flight_delay", [a_label(prediction_id="b")])

    assert told(LabelLog(objects_at(tmp_path / "state"), spool)) == [("b", "true", False)]
    log.close()


def test_labels_are_taken_while_the_objects_are_away(objects: Objects, spool: Path) -> None:
    place = Watched(objects)
    place.is_away = True
    log = LabelLog(place, spool, segment_rows=1)
    log.append("flight_delay", [a_label()])
    eventually(lambda: log.health.seal_error is not None)

    place.is_away = False
    eventually(lambda: log.health.unsealed_rows == 0)

    assert told(log) == [("a", "true", False)]
    assert len(objects.names("labels")) == 1
    log.close()


def test_labels_of_many_threads_and_two_logs_get_numbers_that_nobody_else_has(objects: Objects, spool: Path) -> None:
    logs = LabelLog(objects, spool, segment_rows=5), LabelLog(objects, spool)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        requests = [
            pool.submit(logs[n % 2].append, "flight_delay", [a_label(prediction_id=f"{n}-{m}") for m in range(3)])
            for n in range(40)
        ]
    assert [request.result() for request in requests] == [None] * 40
    for log in logs:
        log.close()

    rows = LabelLog(objects, spool).read("flight_delay")

    assert sorted(rows["prediction_id"]) == sorted(f"{n}-{m}" for n in range(40) for m in range(3))
    assert rows["arrival"].n_unique() == 120


def test_after_closing_no_label_is_taken(tmp_path: Path, spool: Path) -> None:
    log = LabelLog(objects_at(tmp_path / "state"), spool)
    log.close()

    with pytest.raises(StoreError, match="closed"):
        log.append("flight_delay", [a_label()])


def test_a_damaged_segment_of_labels_is_an_error_that_names_the_file(objects: Objects, spool: Path) -> None:
    folder = spool / "labels" / "flight_delay"
    folder.mkdir(parents=True)
    (folder / "host-1-bad.jsonl").write_bytes(b'{"prediction_id":"string"}\n{"prediction_id": [[[\n')

    with pytest.raises(DataError, match=r"host-1-bad\.jsonl is damaged.* Move it away to read the others"):
        LabelLog(objects, spool).read("flight_delay")
