"""Staging: unseen rows are sent over HTTP to the real API with the challenger's bundle, and in turn to the champion's."""

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.errors import BundleError, PlatformError
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from mlops_assets.records.testing import LatencyReading, StagingReport
from mlops_assets.state.bundle import Bundle
from mlops_assets.testing.latency import Verdict, in_words, read_round, verdict_on
from mlops_assets.testing.staged_server import REQUEST_SECONDS, Patience, StagedServer, launched

SINGLE_REQUESTS = 200
WARM_UP_REQUESTS = 20
REPEATED_REQUESTS = 40  # to measure their processor time, whose clock ticks only a hundred times a second
REPEATED_ROWS = 20  # at most so many of the slowest rows are sent again
PAUSE_SECONDS = 5.0  # before the second round, twice that before the third: the load may be over by then
# float32 steps: JSON carries every digit, so only float32 arithmetic with another batch size may differ
LARGEST_SKEW = 64.0
_log = logging.getLogger(__name__)


def stage(
    product: ModelProduct,
    bundle: Bundle,
    requests: pl.DataFrame,
    features: pl.DataFrame,
    champion: Bundle | None = None,
    *,
    pause_seconds: float = PAUSE_SECONDS,
) -> StagingReport:
    """Start the API on a free port, send every row of `requests`, compare the answers with the offline scores, stop it.

    requests: request columns and looked-up features, (n, ...). features: the model inputs of the same rows, in order.
    champion: the present champion; it serves as witness on a server of its own.
    Raises StagingFailed if the server did not start or refused a valid request; the message holds the end of its log.
    Raises Inconclusive if it did not start or answer for a reason that may pass."""
    import httpx
    import psutil

    offline = bundle.predict(features).astype(np.float64)
    rows = [request_row(row) for row in requests.iter_rows(named=True)]
    route = f"/v1/models/{product.name}/predict"
    patience = Patience()
    with ExitStack() as stack:
        server = stack.enter_context(launched(product, bundle, "the staging server"))
        witness = _launch_champion(stack, product, champion)
        client = stack.enter_context(httpx.Client(timeout=REQUEST_SECONDS))
        start_seconds = server.wait_until_ready(patience)
        online = np.array(_scores(product, server.predict(client, route, rows)))
        bad_request = {"rows": [{**rows[0], "no_such_field": 1}]}
        status = server.request(client, "POST", route, bad_request).status_code
        memory = psutil.Process(server.pid).memory_info().rss / 1e6
        probe = LatencyProbe(client, route, rows, server, _wait_for_champion(witness, client, route, rows, patience))
        latency = measure_latency(product, probe, pause_seconds)
    return StagingReport(
        product.name,
        bundle.manifest.version,
        len(rows),
        float32_steps(online, offline, product.task),
        latency.p50,
        latency.p99,
        memory,
        start_seconds,
        400 <= status < 500,
        latency,
    )


def request_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row as JSON: timestamps as ISO 8601. A looked-up feature that is null is sent as null, so that the API does not look
    it up again."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def float32_steps(online: NDArray[np.float64], offline: NDArray[np.float64], task: Task) -> float:
    """The largest difference, in steps between neighbouring float32 numbers. A step is taken at 1 for probabilities, and for
    predictions at the value or the mean, whichever is larger, because small sums of large numbers are less exact.

    online, offline: (n,) or (n, classes). NaN if one of them holds NaN."""
    values = np.abs(offline)
    sizes = np.maximum(values, values.mean()) if task is Task.REGRESSION else np.ones_like(values)
    return float(np.max(np.abs(online - offline) / np.spacing(sizes.astype(np.float32))))


@dataclass(frozen=True)
class LatencyProbe:
    """Times one-row requests to the challenger and to a witness. champion: None if there is none that can serve."""

    client: Any
    route: str
    rows: Sequence[dict[str, Any]]
    server: StagedServer
    champion: StagedServer | None

    def time_challenger(self, number: int) -> float:
        """Milliseconds of one row from the challenger."""
        return self._timed(lambda: self.server.predict(self.client, self.route, [self.rows[number % len(self.rows)]]))

    def time_witness(self, number: int) -> float:
        """Milliseconds of the same row from the champion or, without one, of the challenger's health route."""
        champion = self.champion
        if champion is None:
            return self._timed(lambda: self.server.request(self.client, "GET", "/health/live"))
        return self._timed(lambda: champion.predict(self.client, self.route, [self.rows[number % len(self.rows)]]))

    @property
    def witness(self) -> str:
        return "the health route" if self.champion is None else self.champion.name

    @property
    def processes(self) -> list[int]:
        return [os.getpid(), self.server.pid, *([self.champion.pid] if self.champion else [])]

    @staticmethod
    def _timed(request: Callable[[], object]) -> float:
        started = time.perf_counter()
        request()
        return 1_000 * (time.perf_counter() - started)


def measure_latency(product: ModelProduct, probe: LatencyProbe, pause_seconds: float) -> LatencyReading:
    """Measure rounds of one-row requests until one is conclusive or the gate's rounds are used up."""
    limit = min((gate.milliseconds for gate in product.staging_gates), default=float("inf"))
    rounds = max((gate.rounds for gate in product.staging_gates), default=1)
    for number in range(WARM_UP_REQUESTS):
        probe.time_challenger(number)
        probe.time_witness(number)
    for count in range(1, rounds + 1):
        reading = _measure_round(probe, limit, count)
        if verdict_on(reading, limit) is not Verdict.INCONCLUSIVE:
            break
        _log.warning("%s: latency: %s", product.name, in_words(reading, limit))
        if count < rounds:
            time.sleep(count * pause_seconds)
    return reading


def _launch_champion(stack: ExitStack, product: ModelProduct, champion: Bundle | None) -> StagedServer | None:
    if champion is None:
        return None
    try:
        return stack.enter_context(launched(product, champion, f"champion {champion.manifest.version}"))
    except BundleError as error:  # it was damaged after it was opened
        _log.warning("staging continues without the champion as witness: %s", error)
        return None


def _wait_for_champion(
    champion: StagedServer | None, client: Any, route: str, rows: Sequence[dict[str, Any]], patience: Patience
) -> StagedServer | None:
    """The champion's server once it answers, else None: a champion that fails is no fault of the challenger."""
    if champion is None:
        return None
    try:
        champion.wait_until_ready(patience)
        champion.predict(client, route, rows[:1])
    except PlatformError as error:
        _log.warning("staging continues without the champion as witness: %s", error)
        return None
    return champion


def _measure_round(probe: LatencyProbe, limit: float, count: int) -> LatencyReading:
    challenger, witness = np.empty(SINGLE_REQUESTS), np.empty(SINGLE_REQUESTS)
    machine, own = _machine_seconds(), _process_seconds(probe.processes)
    for number in range(SINGLE_REQUESTS):
        if number % 2:
            witness[number] = probe.time_witness(number)
        challenger[number] = probe.time_challenger(number)
        if not number % 2:
            witness[number] = probe.time_witness(number)
    busy, total = (after - before for after, before in zip(_machine_seconds(), machine, strict=True))
    others = max(0.0, busy - (_process_seconds(probe.processes) - own))
    slowest = np.argsort(-challenger)[:REPEATED_ROWS]
    over = slowest[challenger[slowest] > limit]
    return read_round(
        challenger,
        witness,
        name=probe.witness,
        cpu=_cpu_milliseconds(probe, (over if len(over) else slowest).tolist()),
        others_share=min(1.0, others / total) if total > 0 else 0.0,
        rounds=count,
    )


def _cpu_milliseconds(probe: LatencyProbe, numbers: Sequence[int]) -> float:
    """Processor time of the challenger's server for one of these rows, which does not depend on the machine's load."""
    before = _process_seconds([probe.server.pid])
    passes = -(-REPEATED_REQUESTS // len(numbers))
    for number in [*numbers] * passes:
        probe.time_challenger(number)
    return 1_000 * (_process_seconds([probe.server.pid]) - before) / (passes * len(numbers))


def _process_seconds(pids: Iterable[int]) -> float:
    """Processor time of these processes so far."""
    import psutil

    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return float(sum(item.user + item.system for item in times))


def _machine_seconds() -> tuple[float, float]:
    """Busy and total seconds of the machine's processors; time stolen by other virtual machines counts as busy."""
    import psutil

    times = psutil.cpu_times()
    # guest times are part of user and nice already
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - times.idle - getattr(times, "iowait", 0.0), total


def _scores(product: ModelProduct, answer: dict[str, Any]) -> list[Any]:
    name = {Task.BINARY: "probability", Task.REGRESSION: "value", Task.MULTICLASS: "probabilities"}[product.task]
    return [
        list(prediction[name].values()) if product.task is Task.MULTICLASS else prediction[name]
        for prediction in answer["predictions"]
    ]
