"""Spool: a whole line is kept to the bit, a torn one was never there, and a file belongs to whoever lives."""

import math
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.errors import DataError
from mlops_assets.state.spool import Segment, as_lines, left_behind, read_segment, segments_in

COLUMNS = {
    "name": "string",
    "count": "integer",
    "share": "float",
    "is late": "boolean",
    "moment": "timestamp",
    "served_at": "microseconds",
    "probabilities": "floats",
}
NOON = datetime(2013, 7, 4, 12, 0, 0, 123_456, tzinfo=UTC)
ROW = ("a", 3, 0.25, True, NOON, 1_372_939_200_123_456, [0.5, 0.5])

offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
floats = st.floats(allow_nan=False, allow_infinity=False)
values = st.tuples(
    st.none() | st.text(),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | floats,
    st.none() | st.booleans(),
    st.none() | st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=offsets),
    st.integers(-(2**50), 2**53),
    st.none() | st.lists(floats, max_size=3),
)


def a_segment(folder: Path, *rows: tuple[object, ...]) -> Segment:
    segment = Segment(folder, COLUMNS)
    for row in rows:
        segment.append(as_lines(COLUMNS, [row]), 1)
    return segment


def rows_of(path: Path) -> list[tuple[object, ...]]:
    rows = read_segment(path)
    return [] if rows is None else rows.rows()


@given(st.lists(values, min_size=1, max_size=5))
def test_what_is_written_is_read_to_the_bit(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple]) -> None:
    segment = Segment(tmp_path_factory.mktemp("spool"), COLUMNS)

    segment.append(as_lines(COLUMNS, rows), len(rows))

    moments = [timedelta(microseconds=row[5]) + datetime(1970, 1, 1, tzinfo=UTC) for row in rows]
    expected = [(*row[:5], moment, row[6]) for row, moment in zip(rows, moments, strict=True)]
    found = rows_of(segment.path)
    assert found == expected
    assert [str(row[2]) for row in found] == [str(row[2]) for row in expected]  # 0.0 is not -0.0
    segment.remove()


def test_the_kinds_of_the_columns_are_kept_where_every_value_is_null(tmp_path: Path) -> None:
    segment = a_segment(tmp_path, (None, None, None, None, None, 0, None))

    rows = segment.read()

    moment = pl.Datetime("us", "UTC")
    dtypes = [pl.String(), pl.Int64(), pl.Float64(), pl.Boolean(), moment, moment, pl.List(pl.Float64())]
    assert rows is not None
    assert rows.schema == pl.Schema(zip(COLUMNS, dtypes, strict=True))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_number_is_kept_as_null(tmp_path: Path, number: float) -> None:
    segment = a_segment(tmp_path, ("a", 1, number, True, NOON, 0, [number, 0.5]))

    ((_, _, share, *_, probabilities),) = rows_of(segment.path)

    assert (share, probabilities) == (None, [None, 0.5])


@pytest.mark.parametrize(
    "row", [ROW[:-1], (*ROW, 1), (object(), *ROW[1:]), ("\ud800", *ROW[1:])], ids=["few", "many", "object", "surrogate"]
)
def test_a_row_that_cannot_be_json_is_refused_before_it_is_written(row: tuple[object, ...]) -> None:
    with pytest.raises((TypeError, ValueError)):
        as_lines(COLUMNS, [row])


def test_a_file_that_ends_anywhere_gives_every_line_before_that(tmp_path: Path) -> None:
    segment, ends = a_segment(tmp_path / "log"), []
    for name in "abc":
        segment.append(as_lines(COLUMNS, [(name, *ROW[1:])]), 1)
        ends.append(segment.path.stat().st_size)
    whole, torn = segment.path.read_bytes(), tmp_path / "torn.jsonl"

    for size in range(len(whole) + 1):
        torn.write_bytes(whole[:size])
        assert len(rows_of(torn)) == sum(end <= size for end in ends), size


@pytest.mark.parametrize("tail", [b"\0" * 4096, b'{"name":"b"', b"\xff"])
def test_what_a_machine_left_behind_the_last_line_is_no_row(tmp_path: Path, tail: bytes) -> None:
    segment = a_segment(tmp_path, ROW)
    with segment.path.open("ab") as file:
        file.write(tail)

    assert [row[0] for row in rows_of(segment.path)] == ["a"]


@pytest.mark.parametrize(
    "line",
    [
        b'{"name": [[[',
        b"\0\0\0\0",
        b'{"share":"no number"}',
        b'{"share":true}',
        b'{"count":1.5}',
        b'{"count":9223372036854775808}',
        b'{"moment":"yesterday"}',
        b'{"served_at":"2013-07-04T12:00:00Z"}',
        b'["a"]',
    ],
)
def test_a_damaged_line_is_an_error_that_names_the_file_and_the_remedy(tmp_path: Path, line: bytes) -> None:
    segment = a_segment(tmp_path, ROW)
    with segment.path.open("ab") as file:
        file.write(line + b"\n")

    with pytest.raises(DataError, match=rf"{segment.path} is damaged: .+\. Move it away to read the others\."):
        read_segment(segment.path)


@pytest.mark.parametrize("header", [b"no columns", b'{"name":"of no known kind"}', b'["name"]'])
def test_a_damaged_header_is_an_error_that_names_the_file(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(header + b'\n{"name":"a"}\n')

    with pytest.raises(DataError, match=r"bad\.jsonl is damaged"):
        read_segment(path)


def test_a_file_that_is_gone_has_no_rows(tmp_path: Path) -> None:
    assert read_segment(tmp_path / "sealed.jsonl") is None


def test_a_segment_is_left_behind_once_its_writer_is_gone(tmp_path: Path) -> None:
    living, released = a_segment(tmp_path, ROW), a_segment(tmp_path, ROW)
    released.release()
    program = (
        "import os, signal, sys; from pathlib import Path; from mlops_assets.state.spool import Segment;"
        "segment = Segment(Path(sys.argv[1]), {'name': 'string'}); print(segment.path);"
        "sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    killed = Path(ended.stdout.strip())

    assert ended.returncode == -9
    assert set(segments_in(tmp_path)) == {living.path, released.path, killed}
    assert set(left_behind(tmp_path)) == {released.path, killed}


def test_a_segment_that_somebody_works_on_is_given_to_nobody_else(tmp_path: Path) -> None:
    a_segment(tmp_path, ROW).release()
    mine = left_behind(tmp_path)
    path = next(mine)

    assert list(left_behind(tmp_path)) == []
    path.unlink()
    mine.close()
    assert list(left_behind(tmp_path)) == []


def test_a_new_segment_is_never_taken_for_one_that_was_left_behind(tmp_path: Path) -> None:
    """A file exists for a moment before its writer holds the lock."""
    taken, is_over = [], threading.Event()

    def take_what_is_left() -> None:
        while not is_over.is_set():
            for path in left_behind(tmp_path):
                taken.extend(row[0] for row in rows_of(path))
                path.unlink(missing_ok=True)

    taker = threading.Thread(target=take_what_is_left)
    taker.start()
    for number in range(300):
        a_segment(tmp_path, (f"{number}", *ROW[1:])).release()
    is_over.set()
    taker.join()
    left = [row[0] for path in segments_in(tmp_path) for row in rows_of(path)]

    assert sorted([*taken, *left]) == sorted(f"{number}" for number in range(300))


def test_the_name_of_a_segment_says_which_process_wrote_it(tmp_path: Path) -> None:
    first, second = a_segment(tmp_path), a_segment(tmp_path)

    _, process, token = first.path.stem.rsplit("-", 2)

    assert int(process) == os.getpid()
    assert len(token) == 16
    assert first.path != second.path


def test_a_segment_is_not_in_place_once_its_folder_was_taken_away(tmp_path: Path) -> None:
    segment = a_segment(tmp_path / "log", ROW)
    was_in_place = segment.is_in_place

    (tmp_path / "log").rename(tmp_path / "away")
    while_away = segment.is_in_place
    (tmp_path / "log").mkdir()
    segment_of_another = a_segment(tmp_path / "log", ROW)
    segment_of_another.path.rename(segment.path)

    assert (was_in_place, while_away, segment.is_in_place) == (True, False, False)
