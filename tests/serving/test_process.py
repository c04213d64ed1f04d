"""`python -m serving` as a process: its settings, its one line, its end."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import DeclarationError
from mlops_assets.state.workspace import Workspace
from serving.settings import PinnedBundle, Settings, from_environment
from tests.serving.running_api import Json, a_server
from tests.tiny_bundle import deploy_tiny


def test_settings_come_from_the_environment_with_defaults_on_loopback() -> None:
    assert from_environment({}) == Settings(home=Path("var/home"), host="127.0.0.1", port=8000, poll_seconds=0.5)
    assert from_environment(
        {"MLOPS_HOME": "/data", "MLOPS_PORT": "0", "MLOPS_PRODUCT": "air_time", "MLOPS_BUNDLE": "/b"}
    ) == Settings(Path("/data"), port=0, pinned=PinnedBundle("air_time", Path("/b")))
    assert from_environment({"MLOPS_PRODUCT": "air_time"}) == Settings(product="air_time")


@pytest.mark.parametrize(
    ("state", "seconds"), [("", 0.5), ("/shared", 0.5), ("file:///shared", 0.5), ("s3://bucket/state", 5.0)]
)
def test_a_bucket_is_asked_less_often_than_a_folder_unless_it_is_said(state: str, seconds: float) -> None:
    assert from_environment({"MLOPS_STATE": state}).poll_seconds == seconds
    assert from_environment({"MLOPS_STATE": state, "MLOPS_POLL_SECONDS": "1"}).poll_seconds == 1


def test_the_state_lies_in_the_home_unless_it_is_named() -> None:
    in_home = from_environment({"MLOPS_HOME": "/data"}).workspace
    on_bucket = from_environment({"MLOPS_HOME": "/data", "MLOPS_STATE": "s3://bucket/state"}).workspace

    assert (in_home.objects.url, in_home.home) == ("file:///data", Path("/data"))
    assert (on_bucket.objects.url, on_bucket.home) == ("s3://bucket/state", Path("/data"))


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"MLOPS_PORT": "http"}, "MLOPS_PORT is 'http', which is not a finite number"),
        ({"MLOPS_PORT": "70000"}, "Give a port from 0 to 65535"),
        ({"MLOPS_POLL_SECONDS": "0"}, "Give seconds above 0"),
        ({"MLOPS_BUNDLE": "/b"}, "MLOPS_BUNDLE is set without MLOPS_PRODUCT"),
        ({"MLOPS_PORT": "8000.5"}, "MLOPS_PORT is '8000.5', which is not a whole number"),
        ({"MLOPS_WORKERS": "-1"}, "MLOPS_WORKERS is -1. Give 1 to"),
        ({"MLOPS_KEEP_ALIVE_SECONDS": "0"}, "MLOPS_KEEP_ALIVE_SECONDS is 0. Give seconds above 0"),
        ({"MLOPS_HEADER_SECONDS": "-1"}, "MLOPS_HEADER_SECONDS is -1. Give seconds above 0"),
        ({"MLOPS_LOG_REQUESTS": "yes"}, "MLOPS_LOG_REQUESTS is 'yes'. Give 1"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(variables: dict[str, str], says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        from_environment(variables)


NUMBERS = (
    "MLOPS_PORT",
    "MLOPS_POLL_SECONDS",
    "MLOPS_QUEUE_ROWS",
    "MLOPS_WORKERS",
    "MLOPS_DRAIN_SECONDS",
    "MLOPS_KEEP_ALIVE_SECONDS",
    "MLOPS_HEADER_SECONDS",
    "MLOPS_PARENT",
    "MLOPS_MAX_BODY_MB",
    "MLOPS_BODY_SECONDS",
    "MLOPS_MAX_CONCURRENCY",
    "MLOPS_RATE_PER_SECOND",
    "MLOPS_MAX_BUFFERED_MB",
)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e400", "9" * 400, "many", "1,5", " "])
@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_number_is_refused_in_one_sentence(name: str, text: str) -> None:
    with pytest.raises(DeclarationError, match=f"{name} is .*, which is not a finite number. Leave it out for"):
        from_environment({name: text})


def test_a_connection_is_kept_for_longer_than_load_balancers_keep_theirs() -> None:
    assert from_environment({}).keep_alive_seconds > 60


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"MLOPS_PORT": "nan"}, "MLOPS_PORT is 'nan', which is not a finite number"),
        ({"MLOPS_HOST": "no.host.of.ours.invalid"}, "the API cannot listen on no.host.of.ours.invalid"),
        ({"MLOPS_HOST": "192.0.2.1"}, "the API cannot listen on 192.0.2.1"),
        ({"MLOPS_HOME": "/dev/null"}, "MLOPS_HOME is /dev/null, which is not a folder. Name a folder of this machine."),
        ({"MLOPS_STATE": "/dev/null"}, "MLOPS_STATE is /dev/null, which is not a folder. Name a folder or a bucket."),
        (
            {"MLOPS_STATE": "ftp://host/state"},
            "MLOPS_STATE: 'ftp://host/state' is not the address of a folder or bucket. Give a path",
        ),
        (
            {"MLOPS_STATE": "s3://key:secret@bucket"},
            "MLOPS_STATE: the address s3://bucket contains a key or a password.",
        ),
        ({"MLOPS_PRODUCT": "nothing"}, "no product 'nothing'. Known: "),
        ({"MLOPS_PRODUCT": "nothing", "MLOPS_WORKERS": "2"}, "no worker can be started with these settings"),
    ],
)
def test_a_server_that_cannot_start_says_why_without_a_traceback(
    workspace: Workspace, variables: dict[str, str], says: str
) -> None:
    environment = {"MLOPS_HOME": str(workspace.home), "MLOPS_PORT": "0", "MLOPS_PREDICT_KEYS": "k" * 16, **variables}
    ended = subprocess.run(
        [sys.executable, "-m", "serving"], env={**os.environ, **environment}, capture_output=True, text=True, timeout=90
    )

    assert ended.returncode == 2
    assert says in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_a_home_of_an_earlier_release_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "deployments.sqlite").write_bytes(b"")

    ended = subprocess.run(
        [sys.executable, "-m", "serving"],
        env={**os.environ, "MLOPS_HOME": str(tmp_path), "MLOPS_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=90,
    )

    assert ended.returncode == 2
    assert ended.stderr.startswith(f"DeclarationError: {tmp_path} was written by an earlier release")
    assert "name another folder with --home or MLOPS_HOME" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_said_in_one_line(workspace: Workspace) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        environment = {**os.environ, "MLOPS_HOME": str(workspace.home), "MLOPS_PORT": str(taken.getsockname()[1])}
        ended = subprocess.run(
            [sys.executable, "-m", "serving"], env=environment, capture_output=True, text=True, timeout=30
        )

    assert ended.returncode == 2
    assert ended.stderr.startswith("PortTaken: 127.0.0.1:")
    assert ended.stderr.count("\n") == 1


def test_a_killed_process_loses_nothing_that_was_flushed_and_health_answers_during_big_batches(
    workspace: Workspace, row: Json
) -> None:
    deploy_tiny(workspace.of(flight_delay))
    big = {"rows": [row] * 5_000}
    with tempfile.TemporaryFile("w+") as output, a_server(workspace, output) as server:
        with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=server.address, timeout=30) as client:
            batch = pool.submit(client.post, "/v1/models/flight_delay/predict", json=big)
            alive = [client.get("/health/live", timeout=2).status_code]
            while not batch.done():
                alive.append(client.get("/health/live", timeout=2).status_code)
            answered = batch.result().json()["predictions"]
            while client.get("/health/ready").json()["prediction_log"]["written_rows"] < 5_000:
                pass
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()

    assert set(alive) == {200}
    logged = workspace.predictions().read("flight_delay")
    assert set(logged["prediction_id"]) == {prediction["prediction_id"] for prediction in answered}
