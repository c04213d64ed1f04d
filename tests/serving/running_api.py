"""The API in this process, and as a process of its own."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import httpx
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from examples.flights.catalog import CATALOG
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.workspace import Workspace
from serving.app import create_app
from serving.settings import Settings

PATIENCE_SECONDS = 20.0
everywhere = pytest.mark.parametrize("workspace", ["folder", "bucket"], indirect=True)
Json = dict[str, Any]


def eventually(claim: Callable[[], bool]) -> None:
    """Wait until the claim is true: background threads have their own pace."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not claim():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def settings_on(workspace: Workspace, **settings: Any) -> Settings:
    return Settings(home=workspace.home, state=str(workspace.url), **{"poll_seconds": 0.02, **settings})


@contextmanager
def a_client(
    workspace: Workspace, products: Sequence[ModelProduct] = CATALOG, **settings: Any
) -> Iterator[TestClient[Litestar]]:
    """The API on this state, ready."""
    app = create_app(settings_on(workspace, **settings), products)
    with TestClient(app, "http://127.0.0.1", raise_server_exceptions=False) as client:
        eventually(lambda: client.get("/health/ready").status_code == 200)
        yield client


@dataclass
class RunningServer:
    address: str
    process: "subprocess.Popen[str]"

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def a_server(
    workspace: Workspace,
    output: IO[str],
    command: Sequence[str] = ("-m", "serving"),
    health: str = "/health/ready",
    **environment: str,
) -> Iterator[RunningServer]:
    """`python -m serving` on a free port, once `health` says that it is well; it never outlives the block."""
    place = {"MLOPS_HOME": str(workspace.home), "MLOPS_STATE": str(workspace.url)}
    variables = {**os.environ, **place, "MLOPS_PORT": "0", "MLOPS_POLL_SECONDS": "0.05"}
    process = subprocess.Popen(
        [sys.executable, *command],
        env={**variables, **environment},
        stdout=subprocess.PIPE,
        stderr=output,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+:\d+", line)
        assert found, f"no address in {line!r}"
        # a container listens on every address
        address = found.group().replace("0.0.0.0", "127.0.0.1")
        eventually(lambda: httpx.get(f"{address}{health}").status_code == 200)
        yield RunningServer(address, process)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
