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

from mlops_assets.errors import DeclarationError
from mlops_assets.products.flight_delay import flight_delay
from mlops_assets.stores.home import Home
from mlops_assets.stores.prediction_log import PredictionLog
from serving.settings import PinnedBundle, Settings, from_environment
from tests.serving.running_api import Json, a_server
from tests.tiny_bundle import deploy_tiny


def test_settings_come_from_the_environment_with_defaults_on_loopback() -> None:
    assert from_environment({}) == Settings(Path("var/home"), "127.0.0.1", 8000, None, 0.5)
    assert from_environment(
        {"MLOPS_HOME": "/data", "MLOPS_PORT": "0", "MLOPS_PRODUCT": "air_time", "MLOPS_BUNDLE": "/b"}
    ) == Settings(Path("/data"), port=0, pinned=PinnedBundle("air_time", Path("/b")))
    assert from_environment({"MLOPS_PRODUCT": "air_time"}) == Settings(product="air_time")


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"MLOPS_PORT": "http"}, "MLOPS_PORT is 'http', which is no number"),
        ({"MLOPS_PORT": "70000"}, "Give a port from 0 to 65535"),
        ({"MLOPS_POLL_SECONDS": "0"}, "Give seconds above 0"),
        ({"MLOPS_BUNDLE": "/b"}, "MLOPS_BUNDLE is set without MLOPS_PRODUCT"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(variables: dict[str, str], says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        from_environment(variables)


def test_a_port_that_is_taken_is_said_in_one_line(home: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        environment = {**os.environ, "MLOPS_HOME": str(home.root), "MLOPS_PORT": str(taken.getsockname()[1])}
        ended = subprocess.run(
            [sys.executable, "-m", "serving"], env=environment, capture_output=True, text=True, timeout=30
        )

    assert ended.returncode == 2
    assert ended.stderr.startswith("PortTaken: 127.0.0.1:")
    assert ended.stderr.count("\n") == 1


def test_a_killed_process_loses_nothing_that_was_flushed_and_health_answers_during_big_batches(
    home: Home, row: Json
) -> None:
    deploy_tiny(home, flight_delay)
    big = {"rows": [row] * 5_000}
    with tempfile.TemporaryFile("w+") as output, a_server(home, output) as server:
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
    logged = PredictionLog(home.prediction_log).read("flight_delay")
    assert set(logged["prediction_id"]) == {prediction["prediction_id"] for prediction in answered}
