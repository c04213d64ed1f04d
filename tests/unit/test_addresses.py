"""No part of a password comes out, wherever in the address it stands and whatever a library makes of it."""

import traceback
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.addresses import holds_login, reason, redacted, refuse_unclear, shown
from mlops_assets.errors import DeclarationError, PlatformError
from mlops_assets.sources.sql_source import Sql
from mlops_assets.state.model_registry import ModelRegistry
from mlops_assets.state.online_store import OnlineStore
from mlops_assets.state.workspace import Workspace
from resources.environments import read_environment
from resources.notifier import Notifier
from resources.platform import Platform
from resources.tracking import Tracking
from tests.servers.databases import Server
from tests.servers.processes import free_port
from tests.unit.sources.test_file_source import RIDES, WEEK
from tests.unit.state.test_online_store import NOON, weather

# capitals and signs: none of these texts is part of what the addresses and the sentences say anyway
PASSWORDS = st.text("ABXYZ@:/?#&=;,%+ '\"[]{}$!~|\\é", min_size=4, max_size=12).filter(
    lambda text: len([sign for sign in text if sign.isalpha()]) >= 3 and text == text.strip()
)
POSITIONS = [
    "postgresql://ana:{0}@127.0.0.1:5432/rides",
    "postgresql://127.0.0.1:5432/rides?user=ana&password={0}",
    "postgresql://ana@127.0.0.1:5432/rides?sslpassword={0}&sslmode=require",
    "redis://:{0}@127.0.0.1:6379/0",
    "redis://127.0.0.1:6379/0?password={0}",
    "rediss://ana:{0}@127.0.0.1:6379/0?ssl_cert_reqs=none#fragment",
    "mysql://ana:{0}@127.0.0.1/rides",
    "mssql://127.0.0.1/rides;user=ana;password={0}",
    "http://{0}@127.0.0.1:5000",
    "https://ana:{0}@127.0.0.1:5000/mlflow",
    "s3://key:{0}@bucket/folder",
    "s3://bucket/folder?secret_access_key={0}",
    "host=127.0.0.1 port=5432 dbname=rides user=ana password={0}",
    "host=127.0.0.1 password='{0}' dbname=rides",
    "password={0} host=127.0.0.1",
]
ENCODINGS = {"plain": str, "percent": lambda text: quote(text, safe=""), "plus": quote_plus}


def parts_of(password: str) -> set[str]:
    """The password in every form, and every run of letters of three or more."""
    runs = "".join(sign if sign.isalpha() else " " for sign in password).split()
    whole = {password, quote(password, safe=""), quote_plus(password), quote(password)}
    return whole | {run for run in runs if len(run) >= 3}


def leaks(text: str, password: str) -> list[str]:
    return [part for part in parts_of(password) if part in text]


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
@settings(max_examples=40, deadline=None)
@given(password=PASSWORDS)
def test_no_password_is_shown_wherever_it_stands(position: str, encode, password: str):
    address = position.format(encode(password))

    assert leaks(shown(address), password) == []


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
@settings(max_examples=40, deadline=None)
@given(password=PASSWORDS)
def test_what_a_library_repeats_of_it_is_hidden(position: str, encode, password: str):
    address = position.format(encode(password))
    repeated = ValueError(f"cannot read {address!r}: {address} has {password!r} ({password}, {unquote(password)})")

    assert leaks(redacted(f"{repeated}", address), password) == []
    assert leaks(reason(repeated, address), password) == []


@pytest.mark.parametrize(
    ("address", "as_shown"),
    [
        ("postgresql://ana:pw@db:5432/rides?sslmode=require", "postgresql://db:5432/rides"),
        ("postgresql://ana:p%40w@db1:5432,db2:5432/rides", "postgresql://db1:5432,db2:5432/rides"),
        ("postgresql://ana:p@w@db/rides", "postgresql://db/rides"),
        ("postgresql://ana:pw@[::1]:5432/rides", "postgresql://[::1]:5432/rides"),
        ("redis://:pw@cache:6379/0", "redis://cache:6379/0"),
        ("redis://:p/w@cache:6379/0", "redis://***"),
        ("postgresql://ana:12?34@db/rides", "postgresql://***"),
        ("host=db user=ana password='p w' dbname=rides", "host=db dbname=rides"),
        ("sqlite:////data/a@b/mlflow.sqlite", "sqlite:////data/a@b/mlflow.sqlite"),
        ("s3://bucket/a@b/*.parquet", "s3://bucket/a@b/*.parquet"),
        ("s3://My bucket/a b", "s3://My bucket/a b"),
        ("s3://key:pw/My bucket", "s3://***"),
        ("/data/year=2013/rides.parquet", "/data/year=2013/rides.parquet"),
        ("var/home", "var/home"),
    ],
)
def test_what_is_no_secret_is_shown(address: str, as_shown: str):
    assert shown(address) == as_shown


def test_an_address_of_which_it_is_not_clear_where_the_password_ends_is_refused_with_the_remedy():
    with pytest.raises(DeclarationError, match=r"RIDES is redis://\*\*\*, .* Write @ as %40, / as %2F"):
        refuse_unclear("redis://:p/w@cache:6379/0", "RIDES")


@pytest.mark.parametrize(
    ("address", "has_one"),
    [
        ("s3://bucket/folder", False),
        ("s3://bucket/a@b", False),
        ("s3://key:secret@bucket/folder", True),
        ("s3://bucket/folder?secret_access_key=x", True),
        ("var/offline", False),
        ("http://127.0.0.1:8000", False),
        ("http://ana:pw@127.0.0.1:8000", True),
    ],
)
def test_an_address_that_holds_a_login_is_told_from_one_that_does_not(address: str, has_one: bool):
    assert holds_login(address) is has_one


SECRET = "Sw0rdf1sh"
# what libraries repeat in their errors: a port, a parameter, a token that cannot be decoded, a URL as a whole
WRONG = [
    f"postgresql://ana:{SECRET}@127.0.0.1:{{port}}/rides",
    f"postgresql://ana:{SECRET}%zz@127.0.0.1:{{port}}/rides",
    f"postgresql://ana@127.0.0.1:{{port}}/rides?password={SECRET}&{SECRET}=1",
    f"postgresql://ana@127.0.0.1:{{port}}/rides?sslpassword={SECRET}%zz",
    f"postgresql://ana:a/{SECRET}@127.0.0.1:{{port}}/rides",
    f"host=127.0.0.1 port={{port}} password=a {SECRET}",
    f"redis://:{SECRET}@127.0.0.1:{{port}}/0",
    f"redis://:{SECRET}/a@127.0.0.1:{{port}}/0",
    f"redis://127.0.0.1:{{port}}/0?password={SECRET}",
    f"redis://127.0.0.1:{{port}}/0?socket_timeout={SECRET}",
    f"redis://127.0.0.1:{{port}}/0?{SECRET}=1",
    f"redis://ana:{SECRET}@127.0.0.1:{{port}}/?{SECRET}",
    f"mongo://ana:{SECRET}@127.0.0.1:{{port}}/0",
]


@pytest.mark.parametrize("address", WRONG)
def test_a_wrong_address_of_an_online_store_is_one_error_of_ours_without_its_password(address: str, caplog):
    with pytest.raises(PlatformError) as caught:
        _read_online(address.format(port=free_port()))

    assert SECRET not in "".join(traceback.format_exception(caught.value)) + caplog.text


@pytest.mark.parametrize("address", [one for one in WRONG if not one.startswith("redis")])
def test_a_wrong_address_of_a_source_is_one_error_of_ours_without_its_password(
    address: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RIDES_DATABASE", address.format(port=free_port()))

    with pytest.raises(PlatformError) as caught:
        Sql(RIDES, {"rides": "rides"}, "RIDES_DATABASE").read("rides", WEEK).collect()

    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("position", ["tester:{0}@127.0.0.1:{1}/{0}", "127.0.0.1:{1}/none?user=tester&password={0}"])
def test_a_postgres_that_refuses_does_not_make_us_repeat_the_password(postgres: Server, position: str):
    port = postgres.url.rpartition(":")[2].partition("/")[0]

    with pytest.raises(PlatformError, match=r"cannot be used: .*does not exist") as caught:
        _read_online("postgresql://" + position.format(SECRET, port))

    said = "".join(traceback.format_exception(caught.value))
    assert said.count(SECRET) == position.count("/{0}")  # as the name of a database it is shown


def test_a_redis_that_refuses_does_not_make_us_repeat_the_password(redis_server: Server):
    with pytest.raises(PlatformError, match="cannot be used: ") as caught:
        _read_online(redis_server.url.replace("redis://", f"redis://ana:{SECRET}@"))

    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "address", ["http://ana:{0}@127.0.0.1:{1}", "http://{0}@127.0.0.1:{1}", "http://127.0.0.1:{1}/?token={0}"]
)
def test_mlflow_that_is_down_does_not_make_us_repeat_the_password(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    registry = ModelRegistry(address.format(SECRET, free_port()), tmp_path)

    with pytest.raises(
        PlatformError, match=r"MLflow at http://127.0.0.1:\d+/? cannot be used: .*Check that it is up"
    ) as caught:
        registry.run_facts("0" * 32)

    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_keys_in_the_address_of_the_state_are_refused_because_it_is_shown():
    with pytest.raises(
        DeclarationError, match="credentials are read from the AWS_, GOOGLE_ and AZURE_ variables"
    ) as caught:
        Workspace(f"s3://key:{SECRET}@bucket/folder").objects  # noqa: B018 (opened when it is first used)

    assert SECRET not in str(caught.value)


def test_an_address_of_a_receiver_that_is_no_address_is_not_named(monkeypatch: pytest.MonkeyPatch, caplog):
    monkeypatch.setattr("os.environ", {"MLOPS_NOTIFY_URLS": f"slack://{SECRET} mailto://ana:{SECRET}@"})

    became = Notifier().notify(title="title", text="text", product="rides")

    assert "slack, mailto failed" in became
    assert SECRET not in became + caplog.text
    assert SECRET not in repr(read_environment())


def test_the_configuration_of_resources_that_the_ui_shows_holds_no_password(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLOPS_MLFLOW_TRACKING", f"postgresql://ana:{SECRET}@127.0.0.1/mlflow")
    monkeypatch.setenv("MLOPS_ONLINE_STORE", f"redis://:{SECRET}@127.0.0.1/0")
    monkeypatch.setenv("MLOPS_WEBHOOK_URL", f"https://127.0.0.1/{SECRET}")
    environment = read_environment()

    shown_in_the_ui = [kind.of(environment) for kind in (Tracking, Platform, Notifier)]

    assert SECRET not in repr(shown_in_the_ui)
    assert Tracking.of(environment).registry().tracking_uri == environment.mlflow_tracking


def _read_online(address: str) -> None:
    store = OnlineStore(address)
    try:
        store.read("p", weather, ["EWR"], NOON)
    finally:
        store.close()
