"""Files as a source: one period, lazily, from disk or S3; whatever is wrong in a file is said with its name and line."""

import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mlops_assets.data.contract import conform
from mlops_assets.errors import DeclarationError, SourceError
from mlops_assets.products.periods import hours, weekly
from mlops_assets.products.source import Column, Kind, Source, Table
from mlops_assets.sources.file_source import Files
from tests.servers.object_store import speak_to
from tests.servers.processes import free_port

RIDES = Table(
    "rides",
    columns=(
        Column("ride", Kind.INTEGER),
        Column("origin", Kind.STRING),
        Column("asked_at", Kind.TIMESTAMP),
        Column("distance", Kind.FLOAT, nullable=True),
        Column("shared", Kind.BOOLEAN, nullable=True),
        Column("told_at", Kind.TIMESTAMP),
    ),
    key=("ride",),
    event_timestamp="asked_at",
    created_timestamp="told_at",
)
WEEK = weekly(start="2013-07-01").first
HEADER = "ride,origin,asked_at,distance,shared,told_at\n"
GOOD = "1,EWR,2013-07-02T08:00:00Z,3.5,true,2013-07-02T09:00:00Z\n"


def july(day: int, hour: int = 0) -> datetime:
    return datetime(2013, 7, day, hour, tzinfo=UTC)


ROWS = pl.DataFrame(
    {
        "ride": [1, 2],
        "origin": ["EWR", "JFK"],
        "asked_at": [july(2, 8), july(3, 8)],
        "distance": [3.5, None],
        "shared": [True, False],
        "told_at": [july(2, 9), july(3, 9)],
    },
    schema_overrides={"asked_at": pl.Datetime("us", "UTC"), "told_at": pl.Datetime("us", "UTC")},
)
LATER = ROWS.with_columns(pl.col("asked_at", "told_at").dt.offset_by("1w"), ride=pl.col("ride") + 10)
AS_TEXT = pl.col("asked_at", "told_at").dt.to_string("%Y-%m-%dT%H:%M:%S%z")


def write(rows: pl.DataFrame, path: Path) -> None:
    match path.suffix:
        case ".parquet":
            rows.write_parquet(path)
        case ".csv":
            rows.with_columns(AS_TEXT).write_csv(path)
        case ".json":
            rows.with_columns(AS_TEXT).write_json(path)
        case _:
            rows.with_columns(AS_TEXT).write_ndjson(path)


def files(path: str | Path, **changes: Any) -> Files:
    return Files(RIDES, {"rides": str(path)}, **changes)


def read(path: str | Path, **changes: Any) -> pl.DataFrame:
    return conform(RIDES, files(path, **changes).read("rides", WEEK)).sort("ride")


@pytest.mark.parametrize("ending", ["parquet", "csv", "ndjson", "json"])
def test_the_rows_of_the_period_come_from_every_file_of_a_glob(tmp_path: Path, ending: str):
    write(ROWS.head(1), tmp_path / f"a.{ending}")
    write(pl.concat([ROWS.tail(1), LATER]), tmp_path / f"b.{ending}")

    assert_frame_equal(read(tmp_path / f"*.{ending}"), ROWS)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_csv_is_read_by_its_declared_separator(tmp_path: Path, separator: str):
    quoted = ROWS.with_columns(origin=pl.col("origin") + f"{separator}north")
    quoted.with_columns(AS_TEXT).write_csv(tmp_path / "a.csv", separator=separator)

    assert_frame_equal(read(tmp_path / "a.csv", separator=separator), quoted)


def test_a_csv_of_another_separator_is_refused_with_the_one_to_declare(tmp_path: Path):
    (tmp_path / "a.csv").write_text((HEADER + GOOD).replace(",", ";"))

    with pytest.raises(
        SourceError, match=r"a\.csv is separated by semicolons, and commas are declared\. .*separator=';'\)\.$"
    ):
        read(tmp_path / "a.csv")


def test_a_line_of_too_few_fields_is_found_whatever_the_separator(tmp_path: Path):
    (tmp_path / "a.csv").write_text((HEADER + GOOD).replace(",", ";") + "2;JFK\n")

    with pytest.raises(SourceError, match="line 3 has 2 fields, the header has 6"):
        read(tmp_path / "a.csv", separator=";")


def test_a_separator_that_is_not_known_is_refused_at_once():
    with pytest.raises(DeclarationError, match=r"separator ', ' is not supported\. Give one of ',', ';'"):
        files("a.csv", separator=", ")


def test_a_file_per_period_is_found_by_its_key(tmp_path: Path):
    write(ROWS, tmp_path / "2013-07-01.csv")
    write(LATER, tmp_path / "2013-07-08.csv")

    assert_frame_equal(read(tmp_path / "{period}.csv"), ROWS)


@pytest.mark.parametrize("ending", ["parquet", "csv", "ndjson"])
def test_files_on_s3_are_read_like_those_on_disk(bucket: str, tmp_path: Path, ending: str):
    from obstore.store import from_url

    for name, rows in (("a", ROWS.head(1)), ("b", pl.concat([ROWS.tail(1), LATER]))):
        write(rows, tmp_path / f"{name}.{ending}")
        from_url(bucket, client_options={"allow_http": True}).put(
            f"rides/2013/{name}.{ending}", tmp_path / f"{name}.{ending}"
        )

    assert_frame_equal(read(f"{bucket}/rides/*/*.{ending}"), ROWS)


def test_an_endpoint_that_is_down_is_said_within_seconds(bucket: str, monkeypatch: pytest.MonkeyPatch):
    speak_to(f"http://127.0.0.1:{free_port()}", monkeypatch)

    with pytest.raises(SourceError, match=r"s3://.*/\*\.parquet cannot be read: .*Check AWS_ENDPOINT_URL"):
        read(f"{bucket}/*.parquet")


def test_nothing_but_the_schema_is_read_before_the_rows_are_asked_for(tmp_path: Path):
    (tmp_path / "a.csv").write_text(HEADER + "no,rows,that,fit,this,table\n")

    lazy = files(tmp_path / "a.csv").read("rides", WEEK)

    assert lazy.collect_schema().names() == [column.name for column in RIDES.columns]
    with pytest.raises(SourceError):
        lazy.collect()


def test_a_period_has_arrived_when_it_is_over_and_its_file_is_there(tmp_path: Path):
    source = files(tmp_path / "{period}.parquet", arrives_after=hours(6))
    before = source.has_arrived(WEEK, july(20))
    write(ROWS, tmp_path / "2013-07-01.parquet")

    assert not before
    assert isinstance(source, Source)
    assert [source.has_arrived(WEEK, july(8, hour)) for hour in (5, 6)] == [False, True]


def test_offsets_are_moments_in_utc(tmp_path: Path):
    (tmp_path / "a.csv").write_text(HEADER + "1,EWR,2013-07-02T04:00:00-04:00,3.5,true,2013-07-02 09:00:00+00:00\n")

    assert read(tmp_path / "a.csv").select("asked_at", "told_at").row(0) == (july(2, 8), july(2, 9))


def test_a_wall_clock_of_a_declared_zone_is_read_as_its_moment(tmp_path: Path):
    (tmp_path / "a.csv").write_text(HEADER + "1,EWR,2013-07-02T04:00:00,3.5,true,2013-07-02T05:00:00\n")

    assert read(tmp_path / "a.csv", zone="America/New_York")["asked_at"].to_list() == [july(2, 8)]


def test_a_parquet_file_with_a_wall_clock_is_read_in_the_declared_zone(tmp_path: Path):
    ROWS.with_columns(pl.col("asked_at", "told_at").dt.replace_time_zone(None)).write_parquet(tmp_path / "a.parquet")

    assert read(tmp_path / "a.parquet", zone="UTC").equals(ROWS)


NO_FILE = r"no file matches /.*a\.csv; /.* contains .*\. Deliver it"


@pytest.mark.parametrize(
    ("content", "zone", "said"),
    [
        (HEADER + GOOD + "2,JFK\n", None, r"a.csv is broken: line 3 has 2 fields, the header has 6"),
        (HEADER + GOOD + GOOD.strip() + ",more\n", None, r"a.csv is broken: line 3 has 7 fields, the header has 6"),
        (HEADER + GOOD.replace("EWR", '"E,R"') + "2,JFK\n", None, r"a.csv is broken: line 3 has 2 fields"),
        (HEADER + GOOD.replace("3.5", "far"), None, r"a.csv does not fit rides: row 1: distance is 'far', not float"),
        (
            HEADER + GOOD.replace("08:00:00Z", "08:00:00"),
            None,
            r"row 1: asked_at is '2013-07-02T08:00:00', no timestamp with an offset .* declare `zone`",
        ),
        (
            # the clocks go forward from 02:00 to 03:00: this time never was
            HEADER + "1,EWR,2013-03-10T02:30:00,3.5,true,2013-03-10T04:00:00\n",
            "America/New_York",
            r"row 1: asked_at is '2013-03-10T02:30:00', which occurs never or twice in America/New_York",
        ),
        (
            # they go back from 02:00 to 01:00: this time was twice
            HEADER + "1,EWR,2013-11-03T01:30:00,3.5,true,2013-11-03T04:00:00\n",
            "America/New_York",
            r"row 1: asked_at is '2013-11-03T01:30:00', which occurs never or twice in America/New_York",
        ),
    ],
    ids=["short line", "long line", "quoted", "no number", "no zone", "skipped hour", "repeated hour"],
)
def test_a_damaged_csv_is_named_with_its_line_and_works_when_it_is_mended(
    tmp_path: Path, content: str, zone: str | None, said: str
):
    path = tmp_path / "a.csv"
    path.write_text(content)

    with pytest.raises(SourceError, match=said):
        files(path, zone=zone).read("rides", WEEK).collect()

    path.write_text(HEADER + GOOD)
    assert read(path)["ride"].to_list() == [1]


def test_another_encoding_is_named_with_its_byte_and_line(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes((HEADER + GOOD + GOOD.replace("EWR", "Zürich")).encode("latin-1"))

    with pytest.raises(SourceError, match=r"a.csv is not UTF-8: byte 0xfc in line 3. .*iconv"):
        read(tmp_path / "a.csv")


def test_a_broken_line_of_json_is_named(tmp_path: Path):
    write(ROWS, tmp_path / "a.ndjson")
    with (tmp_path / "a.ndjson").open("a") as handle:
        handle.write('{"ride": 3, "origin": "EWR"')

    with pytest.raises(SourceError, match=r"a.ndjson is broken: line 3 is not JSON"):
        read(tmp_path / "a.ndjson")


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_truncated_parquet_file_is_named_and_works_when_it_is_whole(tmp_path: Path, kept: float):
    path = tmp_path / "a.parquet"
    write(ROWS, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: math.floor(len(whole) * kept)])

    with pytest.raises(SourceError, match=r"a.parquet is an incomplete or damaged Parquet file"):
        read(path)

    path.write_bytes(whole)
    assert_frame_equal(read(path), ROWS)


def test_a_parquet_file_that_is_damaged_inside_is_named(tmp_path: Path):
    path = tmp_path / "a.parquet"
    pl.concat([ROWS] * 500).write_parquet(path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[40:200] = b"\xff" * 160
    path.write_bytes(content)

    with pytest.raises(SourceError, match=r"a.parquet is an incomplete or damaged Parquet file"):
        read(path)


def test_a_file_that_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(SourceError, match=NO_FILE):
        read(tmp_path / "a.csv")


def test_a_path_that_matches_nothing_is_said_whole_with_what_lies_in_the_nearest_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "data" / "old").mkdir(parents=True)
    (tmp_path / "data" / "rides.csv").touch()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SourceError) as refused:
        files("data/2013/*/{period}.csv").read("rides", WEEK)

    assert str(refused.value) == (
        f"rides: no file matches {tmp_path}/data/2013/*/2013-07-01.csv; {tmp_path}/data contains old/, rides.csv. Deliver it, or correct "
        "`paths`."
    )


def test_a_path_that_matches_nothing_on_s3_is_said_with_what_lies_in_the_nearest_folder(bucket: str):
    from obstore.store import from_url

    store = from_url(bucket, client_options={"allow_http": True})
    for name in ("rides/2012/a.csv", "rides/readme.txt"):
        store.put(name, b"")

    with pytest.raises(SourceError) as refused:
        files(f"{bucket}/rides/2013/*.csv").read("rides", WEEK)

    assert str(refused.value) == (
        f"rides: no file matches {bucket}/rides/2013/*.csv; {bucket}/rides contains 2012/, readme.txt. Deliver it, or correct `paths`."
    )


def test_in_an_empty_bucket_nothing_lies_beside_the_path(bucket: str):
    with pytest.raises(
        SourceError, match=r"no file matches s3://.*/rides/a.csv; s3://\S+ contains nothing. Deliver it"
    ):
        files(f"{bucket}/rides/a.csv").read("rides", WEEK)


def test_a_file_of_one_column_whose_declared_name_holds_a_separator_is_read(tmp_path: Path):
    table = Table("moments", (Column("at", Kind.TIMESTAMP, source_name="Zeit; UTC"),), event_timestamp="at")
    (tmp_path / "a.csv").write_text("Zeit; UTC\n2013-07-02T08:00:00Z\n")

    rows = Files(table, {"moments": f"{tmp_path}/a.csv"}).read("moments", WEEK).collect()

    assert rows["at"].to_list() == [july(2, 8)]


def test_a_table_without_path_and_a_format_nobody_knows_are_refused():
    with pytest.raises(DeclarationError, match="no path is declared for table 'rides'"):
        Files(RIDES, {})
    with pytest.raises(DeclarationError, match=r"Known: csv, json, .* Did you mean 'parquet'\?"):
        files("rides.parket")
    with pytest.raises(SourceError, match=r"no table 'ride'. Known: rides. Did you mean 'rides'\?"):
        files("a.csv").read("ride", WEEK)


def read_prices(path: Path, at: Column, **changes: Any) -> pl.DataFrame:
    """Prices of one series, whose file calls them "Preis in €"."""
    prices = Table(
        "prices", (at, Column("price", Kind.FLOAT, nullable=True, source_name="Preis in €")), event_timestamp="at"
    )
    return conform(prices, Files(prices, {"prices": str(path)}, **changes).read("prices", WEEK))


def test_a_decimal_comma_and_another_name_in_the_source_are_declared(tmp_path: Path):
    (tmp_path / "a.csv").write_text("at;Preis in €\n2013-07-02T08:00:00Z;3,5\n2013-07-03T08:00:00Z;-12\n")

    prices = read_prices(tmp_path / "a.csv", Column("at", Kind.TIMESTAMP), separator=";", decimal=",")

    assert prices.rows() == [(july(2, 8), 3.5), (july(3, 8), -12.0)]


def test_a_decimal_comma_that_is_not_declared_is_said_with_the_cell(tmp_path: Path):
    (tmp_path / "a.csv").write_text("at;Preis in €\n2013-07-02T08:00:00Z;3,5\n")

    with pytest.raises(
        SourceError, match="row 1: price is '3,5', not float; declare decimal=',' if that is its decimal mark"
    ):
        read_prices(tmp_path / "a.csv", Column("at", Kind.TIMESTAMP), separator=";")


def test_a_decimal_mark_that_separates_fields_is_refused():
    with pytest.raises(DeclarationError, match="decimal ',' and separator ',' do not go together"):
        files("a.csv", decimal=",")


@pytest.mark.parametrize(
    ("written", "format", "zone"),
    [
        ("02.07.2013 10:00", "%d.%m.%Y %H:%M", "Europe/Berlin"),  # summer time: UTC + 2
        ("07/02/2013 08:00", "%m/%d/%Y %H:%M", None),
        ("2013-07-02T10:00+02:00", "%Y-%m-%dT%H:%M%z", None),
        ("1372752000", "epoch seconds", None),
        ("1372752000000", "epoch milliseconds", None),
    ],
)
def test_a_timestamp_is_read_by_its_declared_format(tmp_path: Path, written: str, format: str, zone: str | None):
    (tmp_path / "a.csv").write_text(f"at,Preis in €\n{written},1\n")

    prices = read_prices(tmp_path / "a.csv", Column("at", Kind.TIMESTAMP, format=format), zone=zone)

    assert prices["at"].to_list() == [july(2, 8)]


def test_a_timestamp_of_another_format_is_said_with_the_cell(tmp_path: Path):
    (tmp_path / "a.csv").write_text("at,Preis in €\n07/02/2013,1\n")

    with pytest.raises(SourceError, match=r"row 1: at is '07/02/2013', not of the format '%d.%m.%Y'"):
        read_prices(tmp_path / "a.csv", Column("at", Kind.TIMESTAMP, format="%d.%m.%Y"))


def test_days_in_a_parquet_file_begin_at_midnight_of_the_zone(tmp_path: Path):
    days = pl.DataFrame({"at": [july(3).date()], "Preis in €": [float("nan")]})
    days.write_parquet(tmp_path / "a.parquet")

    prices = read_prices(tmp_path / "a.parquet", Column("at", Kind.TIMESTAMP), zone="Europe/Berlin")

    assert prices.rows() == [(july(2, 22), None)]  # what pandas writes for null is null


def assert_only_the_second_week_fails(tmp_path: Path, wrong: str, said: str) -> None:
    """wrong: lines after a good one of the second of three weeks."""
    second_week = "2,EWR,2013-07-09T08:00:00Z,3.5,true,2013-07-09T09:00:00Z\n"
    third_week = "4,LGA,2013-07-16T08:00:00Z,3.5,true,2013-07-16T09:00:00Z\n"
    path = tmp_path / "rides.csv"
    path.write_text(HEADER + GOOD + second_week + wrong + third_week)
    source, weeks = Files(RIDES, {"rides": str(path)}), weekly(start="2013-07-01")

    read = [source.read("rides", weeks.at(key)).collect()["ride"].to_list() for key in ("2013-07-01", "2013-07-15")]

    assert read == [[1], [4]]
    with pytest.raises(SourceError, match=re.escape(said)):
        source.read("rides", weeks.at("2013-07-08")).collect()


A_CELL, A_TIME = (
    "3,JFK,2013-07-10T08:00:00Z,far,true,2013-07-10T09:00:00Z\n",
    "3,JFK,yesterday,1,true,2013-07-10T09:00:00Z\n",
)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [(A_CELL, "row 3: distance is 'far', not float"), (A_TIME, "row 3: asked_at is 'yesterday', no timestamp")],
    ids=["a cell", "the time itself"],
)
def test_a_row_that_cannot_be_read_concerns_its_own_period_alone(tmp_path: Path, wrong: str, said: str):
    assert_only_the_second_week_fails(tmp_path, wrong, said)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("3,EWR,2013-07-09T09:00:00Z\n", "line 4 has 3 fields, the header has 6"),
        ("3,EWR,2013-07-09T09:00:00Z,3.5,true,2013-07-09T10:00:00Z,x\n", "line 4 has 7 fields, the header has 6"),
        ('3,"E,WR",2013-07-09T09:00:00Z\n', "line 4 has 3 fields, the header has 6"),
        # of a row whose time cannot be read, that of the row before it counts
        ("3,EWR\n", "line 4 has 2 fields, the header has 6"),
        ("3,1,5,2013-07-02T09:00:00Z,3.5,true,2013-07-09T10:00:00Z\n", "line 4 has 7 fields, the header has 6"),
        ("3,EWR\n5\n", "line 4 has 2 fields, line 5 has 1 fields, the header has 6"),
    ],
    ids=["too few", "too many", "beside a quote", "without a time", "a decimal comma", "two lines"],
)
def test_a_line_of_a_wrong_number_of_fields_concerns_its_own_period_alone(tmp_path: Path, wrong: str, said: str):
    assert_only_the_second_week_fails(tmp_path, wrong, f"is broken: {said}. Correct the lines.")


@pytest.mark.parametrize(
    "wrong",
    ['3,"EWR,2013-07-09T09:00:00Z,3.5,true,2013-07-09T10:00:00Z\n', "3,EWR\n" * 1_001],
    ids=["a quote that is not ended", "more than a thousand lines"],
)
def test_a_file_that_is_broken_throughout_is_refused_for_every_period(tmp_path: Path, wrong: str):
    later = "4,LGA,2013-07-16T08:00:00Z,3.5,true,2013-07-16T09:00:00Z\n"
    path = tmp_path / "rides.csv"
    path.write_text(HEADER + GOOD + wrong + later)
    source, weeks = Files(RIDES, {"rides": str(path)}), weekly(start="2013-07-01")

    for key in ("2013-07-01", "2013-07-15"):
        with pytest.raises(SourceError, match="is broken: line "):
            source.read("rides", weeks.at(key)).collect()


def test_of_several_files_only_those_with_rows_of_the_period_are_opened(tmp_path: Path):
    write(ROWS, tmp_path / "a.parquet")
    pl.concat([LATER] * 500).write_parquet(tmp_path / "b.parquet", compression="zstd")
    content = bytearray((tmp_path / "b.parquet").read_bytes())
    content[40:80] = b"\xff" * 40  # within the first column, before the times
    (tmp_path / "b.parquet").write_bytes(content)
    source, weeks = files(tmp_path / "*.parquet"), weekly(start="2013-07-01")

    assert_frame_equal(conform(RIDES, source.read("rides", WEEK)).sort("ride"), ROWS)
    with pytest.raises(SourceError, match=r"b.parquet is an incomplete or damaged Parquet file"):
        source.read("rides", weeks.at("2013-07-08")).collect()


@pytest.mark.parametrize("ending", ["parquet", "csv", "ndjson"])
def test_a_file_that_is_delivered_again_is_read_anew(tmp_path: Path, ending: str):
    write(ROWS.head(1), tmp_path / f"a.{ending}")
    write(LATER, tmp_path / f"b.{ending}")
    source = files(tmp_path / f"*.{ending}")
    before = conform(RIDES, source.read("rides", WEEK))

    write(pl.concat([ROWS.tail(1), LATER]), tmp_path / f"b.{ending}")

    assert_frame_equal(before, ROWS.head(1))
    assert_frame_equal(conform(RIDES, source.read("rides", WEEK)).sort("ride"), ROWS)


def test_a_period_of_no_file_has_no_rows_and_the_columns_of_the_files(tmp_path: Path):
    write(ROWS, tmp_path / "a.csv")
    write(LATER, tmp_path / "b.csv")

    rows = files(tmp_path / "*.csv").read("rides", weekly(start="2013-07-01").at("2013-08-05")).collect()

    assert_frame_equal(rows, ROWS.clear(), check_column_order=False)


def test_one_of_several_files_whose_quote_is_not_ended_may_hold_rows_of_any_period(tmp_path: Path):
    (tmp_path / "a.csv").write_text(HEADER + GOOD)
    swallowed = "4,LGA,2013-07-16T08:00:00Z,3.5,true,2013-07-16T09:00:00Z\n"
    (tmp_path / "b.csv").write_text(HEADER + GOOD + '3,"EWR,2013-07-09T09:00:00Z,3.5,true,x\n' + swallowed)

    with pytest.raises(SourceError, match=r"b\.csv is broken: line "):
        files(tmp_path / "*.csv").read("rides", weekly(start="2013-07-01").at("2013-07-15")).collect()


def test_a_row_without_a_readable_time_in_one_of_several_files_is_of_the_period_of_the_row_before_it(tmp_path: Path):
    (tmp_path / "a.csv").write_text(HEADER + GOOD)
    (tmp_path / "b.csv").write_text(
        HEADER + GOOD.replace("2013-07-02", "2013-07-16") + GOOD.replace("2013-07-02T08", "x")
    )
    source, weeks = files(tmp_path / "*.csv"), weekly(start="2013-07-01")

    assert source.read("rides", WEEK).collect().height == 1
    with pytest.raises(SourceError, match=r"b\.csv.*row 2: asked_at is 'x"):
        source.read("rides", weeks.at("2013-07-15")).collect()


def test_broken_lines_before_the_first_time_that_can_be_read_are_never_passed_over(tmp_path: Path):
    path = tmp_path / "rides.csv"
    path.write_text(HEADER + "3,EWR\n" + GOOD)

    for key in ("2013-07-01", "2013-07-15"):
        with pytest.raises(SourceError, match="line 2 has 2 fields"):
            Files(RIDES, {"rides": str(path)}).read("rides", weekly(start="2013-07-01").at(key)).collect()


def test_a_file_in_which_no_time_can_be_read_is_never_taken_for_one_without_rows(tmp_path: Path):
    path = tmp_path / "rides.csv"
    path.write_text(HEADER + GOOD.replace("T08:00:00Z", " 08:00"))

    with pytest.raises(SourceError, match="row 1: asked_at is '2013-07-02 08:00', no timestamp with an offset"):
        Files(RIDES, {"rides": str(path)}).read("rides", WEEK).collect()


@pytest.mark.parametrize("distance", [pl.Series([None, None]), pl.Series([3, 4]), pl.Series([3, 4], dtype=pl.Float32)])
def test_numbers_may_be_stored_otherwise_in_each_file(tmp_path: Path, distance: pl.Series):
    # pandas writes a column without values as null, and one of whole numbers as integers
    ROWS.with_columns(distance.alias("distance")).write_parquet(tmp_path / "a.parquet")
    later = ROWS.with_columns(ride=pl.col("ride").cast(pl.Int16) + 10)
    later.write_parquet(tmp_path / "b.parquet")

    rows = read(tmp_path / "*.parquet")

    assert rows["ride"].to_list() == [1, 2, 11, 12]
    assert rows["distance"].to_list() == [*distance.cast(pl.Float64), 3.5, None]


def test_a_whole_number_that_fits_no_integer_is_named(tmp_path: Path):
    ROWS.with_columns(ride=pl.Series([1, 2**63], dtype=pl.UInt64)).write_parquet(tmp_path / "a.parquet")

    with pytest.raises(SourceError, match=r"does not fit rides: row 2: ride is 9223372036854775808, not integer"):
        read(tmp_path / "a.parquet")


def test_capitals_are_true_and_false(tmp_path: Path):
    (tmp_path / "a.csv").write_text(HEADER + GOOD.replace("true", "TRUE"))

    assert read(tmp_path / "a.csv")["shared"].to_list() == [True]


@pytest.mark.parametrize("name", ["rides[1]", "rides{x}"])
def test_brackets_and_braces_in_the_name_of_a_file_are_no_pattern(tmp_path: Path, name: str):
    write(ROWS, tmp_path / f"{name}.parquet")

    assert_frame_equal(read(tmp_path / f"{name}.parquet"), ROWS)
