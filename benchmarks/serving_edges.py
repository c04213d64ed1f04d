"""What the edges of the prediction API cost: the layer of keys, limits and metrics, counting, and explaining a row.

    .venv/bin/python benchmarks/serving_edges.py [--quick]

Everything runs in one process, interleaved, and is measured in CPU time of its thread: the machine is noisy. The layer
is measured around an application that does nothing. The last line is one JSON object of the figures.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp()  # read when prometheus_client is imported

import numpy as np
from litestar import Litestar

from examples.flights.flight_delay import flight_delay
from mlops_assets.state.workspace import Workspace
from serving.access import keys_from
from serving.admission import Admission
from serving.app import create_app
from serving.explaining import contributions
from serving.metrics import Metrics
from serving.observation import Observation
from serving.settings import Settings
from tests.serving.conftest import a_row
from tests.tiny_bundle import deploy_tiny

KEY = "k" * 32
BODY = json.dumps({"rows": [a_row()]}).encode()
SCOPE: dict[str, Any] = {
    "type": "http",
    "method": "POST",
    "path": "/v1/models/flight_delay/predict",
    "raw_path": b"/v1/models/flight_delay/predict",
    "query_string": b"",
    "headers": [
        (b"host", b"localhost"),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(BODY)).encode()),
        (b"authorization", f"Bearer {KEY}".encode()),
        (b"user-agent", b"benchmark"),
    ],
    "client": ("127.0.0.1", 1),
    "server": ("127.0.0.1", 2),
    "scheme": "http",
    "http_version": "1.1",
    "root_path": "",
}


async def ask(app: Litestar, handler: Any) -> int:
    """One request to the handler, in the scope that the application makes."""
    status = 0

    async def receive() -> Any:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    scope = {**SCOPE, "app": app, "litestar_app": app, "state": {}}
    await handler(scope, receive, send)
    return status


async def microseconds(work: Callable[[], Awaitable[Any]], repeats: int) -> float:
    started = time.thread_time()
    for _ in range(repeats):
        await work()
    return (time.thread_time() - started) / repeats * 1e6


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """The least that an application can do: what the layer adds drowns in the noise of a real request."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def layer(rounds: int, repeats: int) -> tuple[float, float]:
    """Microseconds of a request of one row with the layer, and what the layer alone adds to an application."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        deploy_tiny(workspace.of(flight_delay))
        app = create_app(Settings(home=workspace.home, keys=keys_from({"MLOPS_PREDICT_KEYS": KEY})))
        edge = app.asgi_handler
        assert isinstance(edge, Observation)
        admission = edge.app
        assert isinstance(admission, Admission)
        async with app.lifespan():
            while await ask(app, edge) != 200:
                await asyncio.sleep(0.02)
            whole = [await microseconds(lambda: ask(app, edge), repeats) for _ in range(rounds)]
            (route,) = (route for route in app.routes if route.path == SCOPE["path"])
            SCOPE["route_handler"] = next(each for each in route.route_handlers if "POST" in each.http_methods)
            admission.app = admission.middleware(nothing)  # both halves of it, without a router between them
            bare, around = [], []
            for _ in range(rounds):
                bare.append(await microseconds(lambda: ask(app, nothing), 20 * repeats))
                around.append(await microseconds(lambda: ask(app, edge), 20 * repeats))
    return statistics.median(whole), statistics.median(around) - statistics.median(bare)


def counting(rounds: int, repeats: int) -> float:
    """Nanoseconds to count and time one request, as one of several workers."""
    metrics, spent = Metrics(), []
    requests, seconds = metrics.requests.labels("predict", 200), metrics.request_seconds.labels("predict")
    for _ in range(rounds):
        started = time.thread_time()
        for _ in range(repeats):
            requests.inc()
            seconds.observe(0.003)
        spent.append((time.thread_time() - started) / repeats * 1e9)
    return statistics.median(spent)


def explaining(rounds: int) -> tuple[float, float]:
    """Microseconds to score one row, and to explain it: 19 features, 200 boosted trees, one thread."""
    import lightgbm
    import onnxruntime

    from mlops_assets.products.task import Task
    from mlops_assets.training.conversion import to_onnx

    random = np.random.default_rng(7)
    matrix = random.normal(size=(5_000, 19)).astype(np.float32)
    model = lightgbm.LGBMClassifier(n_estimators=200, n_jobs=1, verbose=-1)
    model.fit(matrix, matrix[:, 0] * matrix[:, 1] + matrix[:, 2] > 0)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(to_onnx(model, Task.BINARY, 19), options)

    def score(rows: Any) -> Any:
        return session.run(["scores"], {"inputs": rows})[0][:, 1]

    baseline = np.median(matrix, axis=0)
    once, explained = [], []
    for number in range(rounds * 20):
        row = matrix[number : number + 1]
        started = time.thread_time()
        score(row)
        middle = time.thread_time()
        contributions(score, row, baseline)
        once.append((middle - started) * 1e6)
        explained.append((time.thread_time() - middle) * 1e6)
    return statistics.median(once), statistics.median(explained)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="fewer rounds, within 50 s")
    rounds, repeats = (7, 200) if arguments.parse_args().quick else (25, 500)
    whole, added = asyncio.run(layer(rounds, repeats))
    counted = counting(rounds, 20 * repeats)
    once, explained = explaining(rounds)
    print(f"request of one row in process        {whole:8.0f} µs; keys, limits and metrics are {added:.1f} µs")
    print(f"count and time one request           {counted:8.0f} ns")
    print(f"score one row of 19 features         {once:8.0f} µs; explain it {explained:.0f} µs")
    figures = {
        "edge_microseconds": round(added, 1),
        "edge_share_of_request": round(added / whole, 3),
        "counting_nanoseconds": round(counted),
        "explanation_microseconds": round(explained, 0),
        "explanation_vs_score": round(explained / once, 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
