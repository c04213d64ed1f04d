"""Ten thousand requests made from the OpenAPI document, valid and invalid: no 5xx, no answer outside its schema.

    .venv/bin/python benchmarks/serving_fuzz.py [--cases N] [--quick]

It starts the API on loopback with two tiny models and stops it again. The last line is one JSON object of the figures.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from examples.flights.air_time import air_time
from examples.flights.flight_delay import flight_delay
from mlops_assets.state.workspace import Workspace
from tests.serving.fuzzing import fuzz
from tests.serving.running_api import a_server
from tests.tiny_bundle import deploy_tiny

OPERATIONS = 24  # about; half of the requests of each are valid
QUICK_CASES = 250


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--cases", type=int, default=10_000, help="how many requests, about")
    arguments.add_argument("--quick", action="store_true", help=f"{QUICK_CASES} requests, within 50 s")
    chosen = arguments.parse_args()
    cases = QUICK_CASES if chosen.quick else chosen.cases
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as output:
        workspace = Workspace(Path(folder))
        deploy_tiny(workspace.of(flight_delay), 4, weight=1e-4)
        deploy_tiny(workspace.of(air_time), 7, weight=1e-2, bias=30)
        with a_server(workspace, output) as server:
            process = psutil.Process(server.process.pid)
            before, started = process.memory_info().rss, time.perf_counter()
            found = fuzz(server.address, max(1, cases // (2 * OPERATIONS)), until_cases=cases)
            seconds, grown = time.perf_counter() - started, process.memory_info().rss - before
    print(f"{found.cases:,} requests to {found.operations} operations in {seconds:.0f} s")
    for status, count in sorted(found.statuses.items()):
        print(f"  {status}: {count:,}")
    for kind, violation in found.violations.items():
        print(f"\n{kind}\n{violation}")
    figures = {
        "cases": found.cases,
        "operations": found.operations,
        "server_errors": sum(count for status, count in found.statuses.items() if status >= 500),
        "violations": len(found.violations),
        "memory_grown_mb": round(grown / 1e6, 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
