"""100 swaps of the champion and 20 rollbacks under load: no request fails, no answer mixes versions.

    python benchmarks/serving_swaps.py [--quick]

Every version is a constant of its own, so an answer that mixes versions shows. The last line is one JSON object.
"""

import argparse
import json
import math
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))
from examples.flights.flight_delay import flight_delay
from mlops_assets.state.workspace import Workspace
from serving.schemas import body_schema
from tests.serving.running_api import a_server
from tests.tiny_bundle import deploy_tiny

PREDICT = "/v1/models/flight_delay/predict"
CLIENTS = 8


@dataclass
class Seen:
    """What the clients saw: answers, what was wrong with any, and the newest version."""

    answers: int = 0
    faults: list[str] = field(default_factory=list)
    newest: int = 0


def bias_of(version: int) -> float:
    return (version % 41 - 20) / 10


def ask(address: str, seen: Seen, stop: threading.Event) -> None:
    rows = [body_schema(flight_delay).example_row()] * 3
    with httpx.Client(base_url=address, timeout=30) as client:
        while not stop.is_set():
            answer = client.post(PREDICT, json={"rows": rows})
            if answer.status_code != 200:
                seen.faults.append(f"{answer.status_code}: {answer.text[:200]}")
                continue
            body = answer.json()
            wanted = 1 / (1 + math.exp(-bias_of(body["version"])))
            if any(abs(prediction["probability"] - wanted) > 1e-6 for prediction in body["predictions"]):
                seen.faults.append(f"version {body['version']} answered {body['predictions']}")
            seen.answers += 1
            seen.newest = body["version"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    swaps, rollbacks = (20, 5) if parser.parse_args().quick else (100, 20)
    seen, stop, delays = Seen(), threading.Event(), []
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as output:
        workspace = Workspace(Path(folder) / "home")
        deploy_tiny(workspace.of(flight_delay), 1, bias=bias_of(1))
        with a_server(workspace, output, MLOPS_POLL_SECONDS="0.5") as server:
            clients = [threading.Thread(target=ask, args=(server.address, seen, stop)) for _ in range(CLIENTS)]
            for client in clients:
                client.start()
            versions = [*range(2, swaps + 2), *range(swaps, swaps - rollbacks, -1)]
            for version in versions:
                deploy_tiny(workspace.of(flight_delay), version, bias=bias_of(version))
                started = time.perf_counter()
                while seen.newest != version and time.perf_counter() - started < 30:
                    time.sleep(0.005)
                delays.append(time.perf_counter() - started)
            stop.set()
            for client in clients:
                client.join()
    delays.sort()
    print(f"{swaps} swaps and {rollbacks} rollbacks under {CLIENTS} clients: {seen.answers:,} answers")
    print(f"taken up after {delays[len(delays) // 2]:.2f} s in the middle, {delays[-1]:.2f} s at most (poll: 0.5 s)")
    print(*seen.faults[:10], sep="\n")
    found = {"swaps": swaps, "rollbacks": rollbacks, "answers": seen.answers, "faults": len(seen.faults)}
    print(json.dumps({**found, "swap_seconds_max": round(delays[-1], 3)}))
    sys.exit(bool(seen.faults))


if __name__ == "__main__":
    main()
