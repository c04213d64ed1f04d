"""Databases as a source: only the period's rows leave them, in batches; what breaks is said without the password."""

import signal
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from polars.testing import assert_frame_equal

from mlops_assets.data.contract import conform
from mlops_assets.errors import DeclarationError, SourceError
from mlops_assets.products.source import Column, Kind, Source, Table
from mlops_assets.sources.sql_source import Sql
from tests.servers.databases import Server, a_postgres
from tests.servers.processes import free_port
from tests.unit.sources.test_file_source import LATER, RIDES, ROWS, WEEK

VARIABLE = "RIDES_DATABASE"
COLUMNS = "(ride bigint, origin text, asked_at {t}, distance double precision, shared boolean, told_at {t})"


def database(**changes: Any) -> Sql:
    return Sql(RIDES, {"rides": "rides"}, VARIABLE, **changes)


def fill(server: Server, kind: str = "timestamptz") -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS rides")
        connection.execute(f"CREATE TABLE rides {COLUMNS.format(t=kind)}")
        rows = pl.concat([ROWS, LATER]).rows()
        connection.cursor().executemany("INSERT INTO rides VALUES (%s, %s, %s, %s, %s, %s)", rows)


@pytest.fixture
def rides_database(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv(VARIABLE, postgres.url)
    fill(postgres)
    return postgres


def read(source: Sql) -> pl.DataFrame:
    return conform(RIDES, source.read("rides", WEEK))


@pytest.mark.usefixtures("rides_database")
def test_a_period_is_read_from_postgres_as_it_was_written():
    source = database()

    assert isinstance(source, Source)
    assert_frame_equal(read(source), ROWS)
    assert source.read("rides", WEEK).select("origin").filter(pl.col("origin") == "JFK").collect().height == 1


@pytest.mark.usefixtures("rides_database")
def test_a_query_stands_for_a_table():
    source = Sql(RIDES, {"rides": "(SELECT * FROM rides WHERE origin = 'EWR')"}, VARIABLE)

    assert read(source)["origin"].to_list() == ["EWR"]


@pytest.mark.usefixtures("rides_database")
def test_late_rows_are_there_when_the_period_is_read_again(rides_database: Server):
    before = read(database()).height
    with psycopg.connect(rides_database.url, autocommit=True) as connection:
        connection.execute("INSERT INTO rides VALUES (3, 'LGA', '2013-07-04Z', 1, true, '2013-07-20Z')")

    assert (before, read(database()).height) == (2, 3)


def test_a_wall_clock_in_the_database_is_read_in_the_declared_zone(postgres: Server, monkeypatch):
    monkeypatch.setenv(VARIABLE, postgres.url)
    fill(postgres, "timestamp")  # psycopg writes the wall clock of UTC

    assert_frame_equal(read(database(zone="UTC")), ROWS)


def test_sqlite_speaks_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import sqlite3

    monkeypatch.setenv(VARIABLE, f"sqlite://{tmp_path / 'rides.sqlite'}")
    with sqlite3.connect(tmp_path / "rides.sqlite") as connection:
        connection.execute("CREATE TABLE rides (ride, origin, asked_at, distance, shared, told_at)")
        texts = pl.concat([ROWS, LATER]).with_columns(
            pl.col("asked_at", "told_at").dt.to_string("%Y-%m-%dT%H:%M:%SZ"), pl.col("shared").cast(pl.String)
        )
        connection.executemany("INSERT INTO rides VALUES (?, ?, ?, ?, ?, ?)", texts.rows())
    connection.close()

    assert_frame_equal(read(database()), ROWS)


@pytest.mark.usefixtures("rides_database")
def test_connectorx_reads_what_adbc_reads(rides_database: Server):
    """It stands in for the databases that ADBC has no driver for; here both read the same Postgres."""
    from mlops_assets.sources.sql_source import _through_adbc, _through_connectorx

    query = "SELECT ride, origin, distance FROM rides ORDER BY ride"

    assert_frame_equal(
        _through_connectorx(rides_database.url, query).collect(), _through_adbc(rides_database.url, query).collect()
    )
    with pytest.raises(SourceError, match=r"stopped: .*nothing_there"):
        _through_connectorx(rides_database.url, "SELECT * FROM nothing_there")


def test_a_database_that_is_killed_in_mid_read_is_said_and_a_rerun_works(monkeypatch: pytest.MonkeyPatch):
    with a_postgres() as server:
        monkeypatch.setenv(VARIABLE, server.url)
        fill(server)
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO rides SELECT n, repeat('x', 60), '2013-07-02Z', 1, true, '2013-07-03Z' "
                "FROM generate_series(10, 800000) AS n"
            )
        batches = database().read("rides", WEEK).collect_batches(chunk_size=1_000)
        first = next(iter(batches))
        server.process.send_signal(signal.SIGQUIT)  # every backend ends at once
        server.process.wait(20)

        with pytest.raises(SourceError, match=r"127\.0\.0\.1:\d+/postgres stopped after [\d,]+ rows: .*run it again"):
            for _ in batches:
                pass
    assert first.height > 0


def test_a_database_that_is_down_is_said_without_its_password(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, f"postgresql://tester:secret@127.0.0.1:{free_port()}/postgres")

    with pytest.raises(
        SourceError, match=r"the database postgresql://127\.0\.0\.1:\d+/postgres stopped: .*refused"
    ) as caught:
        database().read("rides", WEEK)

    assert "secret" not in str(caught.value)


@pytest.mark.usefixtures("rides_database")
def test_a_query_the_database_refuses_is_said():
    with pytest.raises(SourceError, match=r'stopped: .*relation "ridez" does not exist'):
        Sql(RIDES, {"rides": "ridez"}, VARIABLE).read("rides", WEEK)


def test_an_address_that_is_not_set_and_a_table_without_query_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(VARIABLE, raising=False)

    with pytest.raises(SourceError, match=f"{VARIABLE} is not set"):
        database().read("rides", WEEK)
    with pytest.raises(DeclarationError, match="no query is declared for table 'rides'"):
        Sql(RIDES, {}, VARIABLE)
    with pytest.raises(SourceError, match=r"no table 'ride'. Known: rides"):
        database().read("ride", WEEK)


def test_an_sqlite_file_needs_no_variable_and_its_clock_may_count_seconds(tmp_path: Path):
    import sqlite3

    with sqlite3.connect(tmp_path / "prices.db") as connection:
        connection.execute('CREATE TABLE prices ("at" integer, "Preis in €" real)')
        moments = [1372636799, 1372636800, 1373241599, 1373241600]  # either side of both ends of the week of 2013-07-01
        connection.executemany("INSERT INTO prices VALUES (?, ?)", [(at, number) for number, at in enumerate(moments)])
    connection.close()
    columns = (
        Column("at", Kind.TIMESTAMP, format="epoch seconds"),
        Column("price", Kind.FLOAT, source_name="Preis in €"),
    )
    prices = Table("prices", columns, event_timestamp="at")

    rows = conform(prices, Sql(prices, {"prices": "prices"}, url=f"sqlite://{tmp_path}/prices.db").read("prices", WEEK))

    assert rows["price"].to_list() == [1.0, 2.0]


@pytest.mark.parametrize(
    "address", [{}, {"url": "postgresql://ana:pw@db/rides"}, {"url": "sqlite://a.db", "url_variable": "A"}]
)
def test_a_database_has_one_address_and_no_password_in_its_declaration(address: dict[str, str]):
    with pytest.raises(DeclarationError, match="the database of rides needs one address") as refused:
        Sql(RIDES, {"rides": "rides"}, **address)

    assert "pw" not in str(refused.value)


def test_a_database_cannot_select_periods_by_a_text_of_any_format():
    prices = Table("prices", (Column("at", Kind.TIMESTAMP, format="%d.%m.%Y"),), event_timestamp="at")

    with pytest.raises(DeclarationError, match=r"cannot select periods by 'at', a string in the format '%d\.%m\.%Y'"):
        Sql(prices, {"prices": "prices"}, url="sqlite://prices.db")


@pytest.mark.parametrize("written", ["2013-07-01", "2013-07-01 00:00:00", "2013-07-01T00:00:00Z"])
def test_a_text_of_sqlite_that_begins_a_period_belongs_to_it(tmp_path: Path, written: str):
    import sqlite3

    with sqlite3.connect(tmp_path / "prices.db") as connection:
        connection.execute("CREATE TABLE prices (at text)")
        connection.executemany("INSERT INTO prices VALUES (?)", [(written,), (written.replace("07-01", "07-08"),)])
    connection.close()
    at = Column("at", Kind.TIMESTAMP, format="%Y-%m-%d" if len(written) == 10 else "")
    prices = Table("prices", (at,), event_timestamp="at")

    source = Sql(
        prices, {"prices": "prices"}, url=f"sqlite://{tmp_path}/prices.db", zone=None if "Z" in written else "UTC"
    )

    assert source.read("prices", WEEK).collect()["at"].dt.day().to_list() == [1]
