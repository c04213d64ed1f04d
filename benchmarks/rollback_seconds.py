"""From `mlops rollback` to the first prediction by the old version, over HTTP, and requests lost on the way.

The real command and the real API process, on bundles of two small models. One client asks all the time (at most 60 s). The last
line is one JSON object. `--quick` measures once, otherwise five times.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx

from examples.flights.catalog import CATALOG
from mlops_assets.state.workspace import Workspace
from serving.schemas import body_schema
from tests.serving.running_api import a_server
from tests.tiny_bundle import deploy_tiny

ROUTE = "/v1/models/flight_delay/predict"
JSON = {"Content-Type": "application/json"}
LONGEST_SECONDS, RECORD_SECONDS = 60.0, 300.0


def main() -> None:
    seconds, lost, asked = [], 0, 0
    for _ in range(1 if "--quick" in sys.argv else 5):
        with tempfile.TemporaryDirectory(prefix="rollback-") as folder, tempfile.TemporaryFile("w+") as output:
            workspace = Workspace(Path(folder))
            for product in CATALOG:
                deploy_tiny(workspace.of(product))
            deploy_tiny(workspace.of(CATALOG[0]), 2, bias=1.0)
            with a_server(workspace, output, MLOPS_POLL_SECONDS="0.5") as server:
                took, failed, requests = roll_back_under_load(workspace, server.address)
        seconds.append(took)
        lost, asked = lost + failed, asked + requests
        print(f"first prediction by version 1 after {took:.2f} s; {failed} of {requests} requests lost", flush=True)
    print(json.dumps({"rollback_seconds": statistics.median(seconds), "requests": asked, "lost_requests": lost}))


def roll_back_under_load(workspace: Workspace, address: str) -> tuple[float, int, int]:
    """Seconds from the command's start, requests that were not answered with 200, requests in all."""
    body = body_schema(CATALOG[0]).example_body()
    command = [sys.executable, "-W", "ignore", "-m", "mlops_assets.cli.command", "rollback", "flight_delay"]
    failed = asked = 0
    with httpx.Client(base_url=address, timeout=10) as client:
        started = time.perf_counter()
        done = subprocess.Popen(
            [*command, "--reason", "measured", "--home", str(workspace.home)], stdout=subprocess.DEVNULL, cwd=Path.cwd()
        )
        while time.perf_counter() - started < LONGEST_SECONDS:
            answer = client.post(ROUTE, content=body, headers=JSON)
            asked += 1
            failed += answer.status_code != 200
            if answer.status_code == 200 and answer.json()["version"] == 1:
                took = time.perf_counter() - started
                if done.wait(RECORD_SECONDS):  # it serves; the command goes on to tell Dagster and MLflow
                    raise RuntimeError(f"the command ended with exit code {done.returncode}")
                return took, failed, asked
        done.kill()
    raise RuntimeError(f"version 1 did not answer within {LONGEST_SECONDS:.0f} s")


if __name__ == "__main__":
    main()
