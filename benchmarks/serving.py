"""The prediction API beside what people pick today: one model, distinct rows, one load tool, interleaved.

    python benchmarks/serving.py [--quick] [--seconds 2] [--rounds 3] [--starts 9] [--workers 1] [--servers ours,floor]

All servers are up, one at a time is asked, round by round, by `wrk` (Debian's package) on loopback. CPU is of the server's
whole process tree, so the client does not count; the floor, which does nothing, shows that the client is not the limit.
The last line is one JSON object. `--quick` ends within 50 s once the peers' environments and the model exist.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from peer_environments import python_with

sys.path.insert(0, str(Path(__file__).parent / "serving_parts"))
from data import PREDICT, prepare

PARTS = Path(__file__).parent / "serving_parts"
FOLDER = Path(__file__).parents[1] / "var" / "benchmarks" / "serving"
START_SECONDS = 120
PAIR_SECONDS = 1
PAIRS = 4  # of runs with and without log and metrics, per start of both
IDLE_AFTER, IDLE_SECONDS = 0.7, 0.02  # seconds, and of CPU in them: a server without requests takes less
Case = tuple[int, int]  # rows of a request, clients
FULL: tuple[Case, ...] = tuple((batch, clients) for batch in (1, 32, 1_024) for clients in (1, 16, 64))
SOME: tuple[Case, ...] = ((1, 1), (1, 16), (32, 16), (1_024, 1))  # of the slow ones, which tells it all
# what the figures of the last line are made of, and no more
QUICK: dict[Case, tuple[str, ...]] = {
    (1, 1): ("ours", "fastapi_onnx"),
    (1, 16): ("ours", "fastapi_onnx", "mlflow", "floor"),
    (32, 16): ("ours",),
}
QUICK_SERVERS = (*QUICK[1, 16], "ours_no_log")


@dataclass(frozen=True)
class Server:
    """form: of the request bodies. peers: the environment, None for our own."""

    name: str
    form: str
    path: str
    arguments: tuple[str, ...]
    peers: str | None = None

    @property
    def is_slow(self) -> bool:
        """Some hundred requests a second at best."""
        return self.name in ("mlflow", "bentoml", "mlserver", "fastapi_sklearn")


def servers(workers: int) -> list[Server]:
    home, many = str(FOLDER / "home"), str(workers)
    ours = [
        Server(name, "ours", PREDICT, ("ours.py", "PORT", home, log, many))
        for name, log in (("ours", "relaxed"), ("ours_no_log", "off"), ("ours_strict", "strict"))
        if log == "relaxed" or workers == 1
    ]
    peers = [
        Server(name, form, path, ("peer.py", name, "PORT", str(FOLDER), many), environment)
        for name, form, path, environment in (
            ("fastapi_onnx", "inputs", "/predict", "serving"),
            ("fastapi_sklearn", "inputs", "/predict", "serving"),
            ("mlflow", "mlflow", "/invocations", "serving_mlflow"),
            ("bentoml", "bentoml", "/predict", "serving_bentoml"),
            ("mlserver", "v2", "/v2/models/flights/infer", "serving_mlserver"),
        )
    ]
    return [*ours, *peers, Server("floor", "ours", "/predict", ("floor.py", "PORT", many))]


class Running:
    """A server in a process group of its own."""

    def __init__(self, server: Server) -> None:
        self.server = server
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        python = python_with(server.peers) if server.peers else Path(sys.executable)
        script, *rest = server.arguments
        command = [str(python), str(PARTS / script), *(str(self.port) if item == "PORT" else item for item in rest)]
        # with more OpenMP threads than cores the scikit-learn peers fall over
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{python.parent}:{os.environ['PATH']}"}
        self.output = (FOLDER / f"{server.name}.log").open("w")
        self.process = subprocess.Popen(
            command, env=environment, stdout=self.output, stderr=self.output, start_new_session=True
        )
        self.started = time.monotonic()

    def wait(self) -> None:
        body = (FOLDER / f"{self.server.form}_1.lua").read_text().partition("[==[")[2].partition("]==]")[0].encode()
        address = f"http://127.0.0.1:{self.port}{self.server.path}"
        while time.monotonic() - self.started < START_SECONDS and self.process.poll() is None:
            try:
                request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
                urllib.request.urlopen(request, timeout=10).read()
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
            else:
                return
        self.stop()
        sys.exit(f"{self.server.name} did not answer; see {self.output.name}")

    def processes(self) -> list[psutil.Process]:
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def cpu_seconds(self) -> float:
        # clock_getcpuclockid(3) as Linux makes it: nanoseconds, where /proc counts hundredths of a second
        return sum(time.clock_gettime((~process.pid << 3) | 2) for process in self.processes())

    def memory_mb(self) -> float:
        return sum(process.memory_info().rss for process in self.processes()) / 1e6

    def stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                os.killpg(self.process.pid, number)
                try:
                    self.process.wait(5)
                except subprocess.TimeoutExpired:
                    continue
        # what left the group's leader behind
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.output.close()


def load(running: Running, case: Case, seconds: float) -> dict[str, float]:
    """requests/s, p50 and p99 in µs, errors, CPU µs a request."""
    batch, clients = case
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:g}s", "--timeout", "10s", "--latency"]
    command += ["-s", str(FOLDER / f"{running.server.form}_{batch}.lua"), f"http://127.0.0.1:{running.port}"]
    before = running.cpu_seconds()
    said = subprocess.run(
        command, env={**os.environ, "TARGET": running.server.path}, capture_output=True, text=True, check=True
    )
    used = running.cpu_seconds() - before
    found = json.loads(next(line for line in said.stdout.splitlines() if line.startswith("JSON"))[5:])
    answered = max(1, found["requests"])
    return {
        "requests": answered,
        "rps": found["requests"] / found["seconds"],
        "p50": found["p50"],
        "p99": found["p99"],
        "errors": found["errors"],
        "cpu": 1e6 * used / answered,
    }


def in_process(batch: int) -> float:
    command = [sys.executable, str(PARTS / "in_process.py"), str(FOLDER), str(batch)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def until_idle(running: Running) -> float:
    """CPU seconds until it has done next to nothing for a while, longer than the log waits for quiet."""
    started = before = running.cpu_seconds()
    while True:
        time.sleep(IDLE_AFTER)
        now = running.cpu_seconds()
        if now - before < IDLE_SECONDS:
            return now - started
        before = now


def overhead(ours: Server, without: Server, starts: int) -> dict[str, list[float]]:
    """What log and metrics add to the CPU of a request and take from the requests a second, as shares, once per start of
    both: two processes of one program differ by some percent for as long as they live.

    They take turns, and of each the fastest run counts: whoever else uses the machine only makes one slower. parquet: CPU µs
    a request of what the log does afterwards, in quiet; waited for, so that it is in no run."""
    shares: dict[str, list[float]] = {"cpu": [], "rps": [], "parquet": []}
    for _ in range(starts):
        pair: list[Running] = []
        runs: dict[str, list[dict[str, float]]] = {ours.name: [], without.name: []}
        try:
            for server in (ours, without):
                pair.append(Running(server))
                pair[-1].wait()
                load(pair[-1], (1, 16), PAIR_SECONDS)  # warm
            until_idle(pair[0])
            for number in range(PAIRS):
                for item in pair if number % 2 else pair[::-1]:
                    run = load(item, (1, 16), PAIR_SECONDS)
                    runs[item.server.name].append(run)
                    if item is pair[0]:
                        shares["parquet"].append(1e6 * until_idle(item) / run["requests"])
        finally:
            for item in pair:
                item.stop()
        with_both, with_none = (max(each, key=lambda run: run["rps"]) for each in runs.values())
        shares["cpu"].append(with_both["cpu"] / with_none["cpu"] - 1)
        shares["rps"].append(1 - with_both["rps"] / with_none["rps"])
    return shares


def measure(
    chosen: list[Server], cases: dict[Case, tuple[str, ...]], seconds: float, rounds: int
) -> tuple[dict[tuple[str, Case], dict[str, float]], float]:
    """Medians over the rounds, and the in-process path's CPU, measured between the rounds."""
    found: dict[tuple[str, Case], list[dict[str, float]]] = defaultdict(list)
    alone = []
    running = [Running(server) for server in chosen]
    try:
        for item in running:
            item.wait()
        for _ in range(rounds):
            alone.append(in_process(32))
            for case in cases:
                for item in running:
                    if item.server.name not in cases[case]:
                        continue
                    figures = load(item, case, seconds)
                    found[item.server.name, case].append({**figures, "memory": item.memory_mb()})
    finally:
        for item in running:
            item.stop()
    medians = {
        key: {name: statistics.median(run[name] for run in runs) for name in runs[0]} for key, runs in found.items()
    }
    return medians, statistics.median(alone)


def show(medians: dict[tuple[str, Case], dict[str, float]]) -> None:
    print(
        f"{'rows':>5} {'clients':>7}  {'server':16}{'requests/s':>11}{'p50 ms':>9}{'p99 ms':>9}{'CPU µs':>10}{'MB':>7}{'errors':>8}"
    )
    for (name, (batch, clients)), run in sorted(medians.items(), key=lambda item: (item[0][1], -item[1]["rps"])):
        times = f"{run['p50'] / 1e3:9.2f}{run['p99'] / 1e3:9.2f}"
        print(
            f"{batch:5} {clients:7}  {name:16}{run['rps']:11,.0f}{times}{run['cpu']:10,.0f}{run['memory']:7.0f}{run['errors']:8.0f}"
        )


def figures(
    medians: dict[tuple[str, Case], dict[str, float]], alone: float, shares: dict[str, list[float]]
) -> dict[str, Any]:
    def ratio(measure: str, one: str, other: str, case: Case) -> float | None:
        if (one, case) not in medians or (other, case) not in medians:
            return None
        return round(medians[one, case][measure] / medians[other, case][measure], 3)

    def quartiles(of: str) -> list[float] | None:
        return (
            [round(each, 3) for each in statistics.quantiles(shares[of])[::2]] if len(shares.get(of, ())) > 1 else None
        )

    ours_32 = medians.get(("ours", (32, 16)))
    return {
        "throughput_vs_mlflow_batch_1": ratio("rps", "ours", "mlflow", (1, 16)),
        "throughput_vs_fastapi_onnx_batch_1": ratio("rps", "ours", "fastapi_onnx", (1, 16)),
        "p99_vs_fastapi_onnx_one_client": ratio("p99", "ours", "fastapi_onnx", (1, 1)),
        "share_of_floor_batch_1": ratio("rps", "ours", "floor", (1, 16)),
        "cpu_vs_in_process_batch_32": round(ours_32["cpu"] / alone, 3) if ours_32 else None,
        "log_and_metrics_overhead": round(statistics.median(shares["cpu"]), 3) if shares else None,
        "log_and_metrics_overhead_quartiles": quartiles("cpu"),
        "log_to_parquet_cpu_us": round(statistics.mean(shares["parquet"]), 2) if shares else None,
        "log_and_metrics_throughput_loss": round(statistics.median(shares["rps"]), 3) if shares else None,
        "log_and_metrics_throughput_loss_quartiles": quartiles("rps"),
        # where others use the machine, throughput tells who got the cores; CPU a request tells what each costs
        "cpu_of_mlflow_vs_ours_batch_1": ratio("cpu", "mlflow", "ours", (1, 16)),
        "cpu_of_fastapi_onnx_vs_ours_batch_1": ratio("cpu", "fastapi_onnx", "ours", (1, 16)),
        "cpu_of_floor_vs_ours_batch_1": ratio("cpu", "floor", "ours", (1, 16)),
        "in_process_batch_32_cpu_us": round(alone, 1),
        "strict_log_throughput_share": ratio("rps", "ours_strict", "ours_no_log", (1, 16)),
        "errors": sum(run["errors"] for run in medians.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=int, help="of each run; wrk takes whole ones")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--starts", type=int, help="of the two servers that tell what log and metrics cost")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--servers")
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed. It is a Debian package: apt-get install wrk")
    prepare(FOLDER)
    known = servers(given.workers)
    names = given.servers.split(",") if given.servers else QUICK_SERVERS if given.quick else [s.name for s in known]
    named = {server.name: server for server in known if server.name in names}
    # in a quick run it is asked for its overhead alone
    chosen = [server for server in named.values() if not (given.quick and server.name == "ours_no_log")]
    seconds = given.seconds or (1 if given.quick else 2)
    rounds = given.rounds or (2 if given.quick else 3)
    every = {case: tuple(s.name for s in known if not s.is_slow or case in SOME) for case in FULL}
    medians, alone = measure(chosen, QUICK if given.quick else every, seconds, rounds)
    show(medians)
    shares = {}
    if {"ours", "ours_no_log"} <= set(named):
        starts = given.starts or (1 if given.quick else 9)
        shares = overhead(named["ours"], named["ours_no_log"], starts)
    print(json.dumps(figures(medians, alone, shares)))


if __name__ == "__main__":
    main()
