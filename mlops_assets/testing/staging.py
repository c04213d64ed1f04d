"""Staging: the real API with the challenger's bundle, over HTTP, with rows it has never seen."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from mlops_assets.errors import StagingFailed
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from mlops_assets.stores.model_bundle import Bundle

START_SECONDS = 30.0
SINGLE_REQUESTS = 200
WARM_UP_REQUESTS = 20
LARGEST_SKEW = 1e-5  # JSON carries every digit, so only float32 arithmetic in another batch size may differ


class StagingReport(msgspec.Struct, frozen=True):
    """The API as a client saw it. skew: largest difference of an online prediction to the offline one."""

    product: str
    version: int
    rows: int
    skew: float
    p50_milliseconds: float
    p99_milliseconds: float
    memory_mb: float
    start_seconds: float
    refused_bad_request: bool


@dataclass(frozen=True)
class StagedServer:
    address: str
    pid: int
    start_seconds: float


def stage(product: ModelProduct, bundle: Bundle, requests: pl.DataFrame, features: pl.DataFrame) -> StagingReport:
    """Start the API on a free port, send every row of `requests`, compare with the offline scores, stop it.

    requests: request columns and looked-up features, (n, ...); features: the model inputs of the same rows, in order.
    Raises StagingFailed: the server did not start or refused a valid request; its last lines are in the message."""
    import httpx
    import psutil

    offline = bundle.predict(features).astype(np.float64)
    rows = [request_row(row) for row in requests.iter_rows(named=True)]
    route = f"/v1/models/{product.name}/predict"
    with started_server(product, bundle.folder) as server, httpx.Client(base_url=server.address, timeout=30) as client:
        online = np.array(_scores(product, _post(client, route, {"rows": rows})))
        seconds = []
        for number in range(WARM_UP_REQUESTS + SINGLE_REQUESTS):
            started = time.perf_counter()
            _post(client, route, {"rows": [rows[number % len(rows)]]})
            seconds.append(time.perf_counter() - started)
        refused = client.post(route, json={"rows": [{**rows[0], "no_such_field": 1}]}).status_code
        memory = psutil.Process(server.pid).memory_info().rss / 1e6
    milliseconds = 1_000 * np.array(seconds[WARM_UP_REQUESTS:])
    return StagingReport(
        product.name,
        bundle.manifest.version,
        len(rows),
        float(np.max(np.abs(online - offline))),
        float(np.quantile(milliseconds, 0.5)),
        float(np.quantile(milliseconds, 0.99)),
        memory,
        server.start_seconds,
        400 <= refused < 500,
    )


@contextmanager
def started_server(product: ModelProduct, bundle: Path) -> Iterator[StagedServer]:
    """The API in a process of its own that serves just this bundle; it ends with the block."""
    with tempfile.TemporaryDirectory(prefix="staging-") as folder, tempfile.TemporaryFile("w+") as output:
        port = free_port()
        started = time.perf_counter()
        environment = {
            **os.environ,
            "MLOPS_HOME": folder,
            "MLOPS_HOST": "127.0.0.1",
            "MLOPS_PORT": str(port),
            "MLOPS_PRODUCT": product.name,
            "MLOPS_BUNDLE": str(bundle),
            "MLOPS_PARENT": str(os.getpid()),
        }
        process = subprocess.Popen([sys.executable, "-m", "serving"], env=environment, stdout=output, stderr=output)
        try:
            address = f"http://127.0.0.1:{port}"
            if not _wait_until_ready(address, process):
                output.seek(0)
                raise StagingFailed(f"the staging server did not get ready. It said: {output.read()[-2_000:]}")
            yield StagedServer(address, process.pid, time.perf_counter() - started)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def request_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row as JSON takes it: timestamps as ISO 8601. A looked-up feature that is null is sent as null, so that it
    is not looked up anew."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def _wait_until_ready(address: str, process: "subprocess.Popen[bytes]") -> bool:
    import httpx

    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{address}/health/ready", timeout=2).status_code == 200:
                return True
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.05)
    return False


def _post(client: Any, route: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(route, json=body)
    if answer.status_code not in (200, 201):
        raise StagingFailed(f"POST {route} answered {answer.status_code}: {answer.text[:1_000]}")
    return dict(answer.json())


def _scores(product: ModelProduct, answer: dict[str, Any]) -> list[Any]:
    name = {Task.BINARY: "probability", Task.REGRESSION: "value", Task.MULTICLASS: "probabilities"}[product.task]
    return [
        list(prediction[name].values()) if product.task is Task.MULTICLASS else prediction[name]
        for prediction in answer["predictions"]
    ]
