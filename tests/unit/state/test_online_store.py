"""Online store: the newest value per key, never one that was unknown or dead at the asked moment.

One contract for every backend, held against the real servers.
"""

import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import psutil
import pytest

from mlops_assets.errors import DeclarationError, StoreError
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, Feature, FeatureKind, FeatureView
from mlops_assets.state.online_outage import Breaker
from mlops_assets.state.online_store import Lookup, OnlineStore
from tests.servers.databases import Server
from tests.servers.processes import free_port
from tests.serving.running_api import eventually

NOON = datetime(2013, 7, 4, 12, tzinfo=UTC)
weather = FeatureView(
    "weather",
    (Feature("temperature"), Feature("sky", kind=FeatureKind.CATEGORICAL)),
    key=("origin",),
    lookup=lambda tables: tables["weather"],
    time_to_live=timedelta(hours=6),
)
by_number = FeatureView(
    "by_number",
    (Feature("delay"),),
    key=("origin", "number"),
    lookup=lambda tables: tables["numbers"],
    time_to_live=timedelta(days=1),
)


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "online.sqlite")
    server: Server = request.getfixturevalue("redis_server" if request.param == "redis" else "postgres")
    if request.param == "redis":
        import redis

        redis.Redis.from_url(server.url).flushdb()
    else:
        import psycopg

        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("DROP TABLE IF EXISTS mlops_online_value")
    return server.url


@pytest.fixture
def store(url: str) -> Iterator[OnlineStore]:
    opened = OnlineStore(url)
    yield opened
    opened.close()


def observed(at: datetime, temperature: float | None, *, learned: datetime | None = None) -> pl.DataFrame:
    row = {"origin": "EWR", EVENT_TIME: at, CREATED_TIME: learned or at, "temperature": temperature, "sky": "clear"}
    return pl.DataFrame([row])


def test_a_value_is_found_by_its_key(store: OnlineStore) -> None:
    store.write("p", weather, observed(NOON, 70))

    found = store.read("p", weather, ["EWR"], NOON)

    assert (found.state, found.values) == ("found", {"temperature": 70, "sky": "clear"})


@pytest.mark.parametrize(("product", "key"), [("p", "JFK"), ("q", "EWR")])
def test_another_key_or_product_is_missing_with_nulls(store: OnlineStore, product: str, key: str) -> None:
    store.write("p", weather, observed(NOON, 70))

    found = store.read(product, weather, [key], NOON)

    assert (found.state, found.values) == ("missing", {"temperature": None, "sky": None})


def test_an_empty_store_misses_everything_and_has_no_freshness(store: OnlineStore) -> None:
    assert store.read("p", weather, ["EWR"], NOON).state == "missing"
    assert store.freshness("p", weather) is None


@pytest.mark.parametrize(
    ("age", "state"),
    [
        (timedelta(hours=6), "found"),
        (timedelta(hours=6, microseconds=1), "stale"),
        (-timedelta(microseconds=1), "stale"),  # learned after the moment: nobody knew it then
    ],
)
def test_a_value_holds_from_when_it_is_known_until_its_time_to_live(
    store: OnlineStore, age: timedelta, state: str
) -> None:
    store.write("p", weather, observed(NOON, 70))

    assert store.read("p", weather, ["EWR"], NOON + age).state == state


def test_only_a_newer_event_replaces_a_value(store: OnlineStore) -> None:
    store.write("p", weather, observed(NOON, 70))

    older = store.write("p", weather, observed(NOON - timedelta(hours=1), 60, learned=NOON + timedelta(hours=1)))
    newer = store.write("p", weather, observed(NOON + timedelta(hours=1), 80))

    assert (older, newer) == (0, 1)
    assert store.read("p", weather, ["EWR"], NOON + timedelta(hours=2)).values["temperature"] == 80
    assert store.freshness("p", weather) == NOON + timedelta(hours=1)


def test_a_correction_of_the_same_event_replaces_it(store: OnlineStore) -> None:
    store.write("p", weather, observed(NOON, 70))

    store.write("p", weather, observed(NOON, 71, learned=NOON + timedelta(minutes=5)))

    assert store.read("p", weather, ["EWR"], NOON + timedelta(minutes=5)).values["temperature"] == 71


def test_a_null_value_that_was_observed_is_found(store: OnlineStore) -> None:
    store.write("p", weather, observed(NOON, None))

    found = store.read("p", weather, ["EWR"], NOON)

    assert (found.state, found.values["temperature"]) == ("found", None)


def test_long_numbers_in_a_key_stay_apart_and_floats_equal_integers(store: OnlineStore) -> None:
    rows = [
        {"origin": "EWR", "number": number, EVENT_TIME: NOON, CREATED_TIME: NOON, "delay": delay}
        for number, delay in ((12_345_678, 1.0), (12_345_679, 2.0))
    ]
    store.write("p", by_number, pl.DataFrame(rows))

    assert store.read("p", by_number, ["EWR", 12_345_678], NOON).values == {"delay": 1}
    assert store.read("p", by_number, ["EWR", 12_345_679.0], NOON).values == {"delay": 2}


def test_another_process_sees_what_was_written(store: OnlineStore, url: str) -> None:
    store.write("p", weather, observed(NOON, 70))

    with closing(OnlineStore(url)) as other:
        assert other.read("p", weather, ["EWR"], NOON).state == "found"


def test_many_look_ups_are_answered_together_each_at_its_own_moment(store: OnlineStore) -> None:
    store.write("p", weather, observed(NOON, 70))
    flights = pl.DataFrame([{"origin": "EWR", "number": 1, EVENT_TIME: NOON, CREATED_TIME: NOON, "delay": 5.0}])
    store.write("p", by_number, flights)

    found = store.read_many(
        "p",
        [
            Lookup(weather, ["EWR"], NOON + timedelta(hours=7)),
            Lookup(by_number, ["EWR", 1], NOON + timedelta(hours=7)),
            Lookup(weather, ["JFK"], NOON),
            Lookup(weather, ["EWR"], NOON),
        ],
    )

    assert [each.state for each in found] == ["stale", "found", "missing", "found"]
    assert [each.values for each in found[1:2]] == [{"delay": 5}]
    assert found[0].values == {"temperature": None, "sky": None}


def test_more_keys_than_one_batch_are_kept(store: OnlineStore) -> None:
    numbers = pl.DataFrame({"origin": "EWR", "number": range(2_500)}).with_columns(
        pl.lit(NOON).alias(EVENT_TIME),
        pl.lit(NOON).alias(CREATED_TIME),
        pl.col("number").cast(pl.Float64).alias("delay"),
    )

    assert store.write("p", by_number, numbers) == 2_500
    assert store.write("p", by_number, numbers) == 0
    assert store.read("p", by_number, ["EWR", 2_499], NOON).values == {"delay": 2_499}


def test_a_moment_is_kept_to_the_microsecond(store: OnlineStore) -> None:
    at = NOON + timedelta(microseconds=1)
    store.write("p", weather, observed(at, 70))

    assert store.read("p", weather, ["EWR"], NOON).state == "stale"  # nobody knew it a microsecond before
    assert store.read("p", weather, ["EWR"], at + timedelta(hours=6)).state == "found"
    assert store.freshness("p", weather) == at


@pytest.mark.parametrize(
    "address", ["redis://:secret@127.0.0.1:{port}/0", "postgresql://tester:secret@127.0.0.1:{port}/postgres"]
)
def test_a_store_that_is_down_is_named_without_its_password(address: str) -> None:
    store = OnlineStore(address.format(port=free_port()))

    with pytest.raises(StoreError, match=r"127\.0\.0\.1.*cannot be used: .*Check that it is up") as caught:
        store.read("p", weather, ["EWR"], NOON)

    assert "secret" not in str(caught.value)


def test_a_store_in_memory_reads_what_it_was_given() -> None:
    with closing(OnlineStore(":memory:")) as store:
        before = store.read("p", weather, ["EWR"], NOON).state
        store.write("p", weather, observed(NOON, 70))

        assert (before, store.read("p", weather, ["EWR"], NOON).state) == ("missing", "found")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "online.sqlite").write_text("this is no database, and long enough to be taken for the head of one" * 20)

    with (
        closing(OnlineStore(tmp_path / "online.sqlite")) as store,
        pytest.raises(StoreError, match=r"online\.sqlite cannot be used: file is not a database"),
    ):
        store.read("p", weather, ["EWR"], NOON)


def test_a_kind_of_store_that_does_not_exist_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"'mysql' does not exist. Give a path for SQLite, redis://"):
        OnlineStore("mysql://somewhere")


def test_threads_that_come_and_go_leave_no_connection_behind(store: OnlineStore) -> None:
    store.write("p", weather, observed(NOON, 70))
    process, states = psutil.Process(), []
    before = process.num_fds()

    for _ in range(20):
        thread = threading.Thread(target=lambda: states.append(store.read("p", weather, ["EWR"], NOON).state))
        thread.start()
        thread.join()

    assert states == ["found"] * 20
    assert process.num_fds() <= before + 3  # a file of SQLite is three


def test_a_user_of_postgres_that_may_only_read_reads(postgres: Server) -> None:
    import psycopg

    with closing(OnlineStore(postgres.url)) as writing:
        writing.write("read only", weather, observed(NOON, 70))
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS reader")
        connection.execute("CREATE ROLE reader LOGIN")
        connection.execute("GRANT SELECT ON mlops_online_value TO reader")

    with closing(OnlineStore(postgres.url.replace("tester@", "reader@"))) as reading:
        found = reading.read("read only", weather, ["EWR"], NOON)

    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("DROP OWNED BY reader")
        connection.execute("DROP ROLE reader")
    assert found.state == "found"


def test_while_a_store_is_away_reads_are_told_at_once_and_it_is_found_when_it_is_back() -> None:
    is_away, asked = True, []

    def probe() -> None:
        if is_away:
            raise StoreError("away")

    def question() -> str:
        asked.append("it was reached")
        probe()
        return "found"

    breaker = Breaker(probe)
    for _ in range(3):
        with pytest.raises(StoreError, match="away"):
            breaker.call(question)
    reached_meanwhile = len(asked)
    is_away = False

    def answers() -> bool:
        with suppress(StoreError):
            return breaker.call(question) == "found"
        return False

    eventually(answers)
    breaker.close()
    assert reached_meanwhile == 1


def test_keywords_of_postgres_are_an_address_like_another(postgres: Server) -> None:
    port = postgres.url.rpartition(":")[2].partition("/")[0]

    with closing(OnlineStore(f"host=127.0.0.1 port={port} user=tester dbname=postgres")) as store:
        store.write("keywords", weather, observed(NOON, 70))

        assert store.read("keywords", weather, ["EWR"], NOON).state == "found"


def test_a_postgres_that_was_started_again_is_used_again(postgres: Server) -> None:
    import psycopg

    store = OnlineStore(postgres.url)
    store.write("restarted", weather, observed(NOON, 70))

    with psycopg.connect(postgres.url, autocommit=True) as connection:  # what a restart does to its clients
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")

    with closing(store):
        assert store.read("restarted", weather, ["EWR"], NOON).state == "found"
