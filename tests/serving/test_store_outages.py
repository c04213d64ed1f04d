"""Redis or Postgres goes away under load and comes back: answers as declared, at once, and nothing is left behind."""

import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
import polars as pl
import psutil
import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME
from mlops_assets.products.policy import Outage
from mlops_assets.state.online_outage import READ_SECONDS
from mlops_assets.state.online_store import OnlineStore
from mlops_assets.state.workspace import Workspace
from tests.servers.databases import Server, a_postgres, a_redis
from tests.servers.processes import free_port
from tests.serving.running_api import Json, RunningServer, a_server
from tests.tiny_bundle import deploy_tiny

PREDICT = "/v1/models/flight_delay/predict"
CLIENTS = 3
PATIENCE_SECONDS = 60.0
# one read and perhaps one connection; three times that on a machine with other work
LONGEST_SECONDS = 3 * (READ_SECONDS + 2.0)
WEATHER = next(view for view in flight_delay.lookups if view.name == "weather_at_departure")
Start = Callable[[int], AbstractContextManager[Server]]
OUTCOME = {Outage.SERVE: "answered without", Outage.REFUSE: "refused"}


def remember(server: Server) -> None:
    at = datetime(2013, 7, 4, 11, tzinfo=UTC)
    row = {"origin": "EWR", EVENT_TIME: at, CREATED_TIME: at, **dict.fromkeys(WEATHER.names, 1.0)}
    with closing(OnlineStore(server.url)) as online:
        online.write("flight_delay", WEATHER, pl.DataFrame([row]))


@dataclass
class Load:
    """What came of the requests so far, and how long the longest took."""

    address: str
    row: Json
    outcomes: Counter[str] = field(default_factory=Counter)
    longest_seconds: float = 0.0
    _is_over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def going(self) -> Iterator["Load"]:
        threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            for thread in threads:
                thread.join()

    def wait_for(self, outcome: str, more: int = 20) -> None:
        wanted, deadline = self.outcomes[outcome] + more, time.monotonic() + PATIENCE_SECONDS
        while self.outcomes[outcome] < wanted:
            assert time.monotonic() < deadline, f"it never came to {outcome}: {self.outcomes}"
            time.sleep(0.01)

    def _run(self) -> None:
        with httpx.Client(base_url=self.address, timeout=60) as client:
            while not self._is_over.is_set():
                started = time.monotonic()
                answer = client.post(PREDICT, json={"rows": [self.row]})
                self.longest_seconds = max(self.longest_seconds, time.monotonic() - started)
                self.outcomes[_outcome(answer)] += 1


def _outcome(answer: httpx.Response) -> str:
    if answer.status_code == 503 and answer.json()["type"].endswith("online-store-down"):
        return "refused"
    if answer.status_code != 200:
        return answer.text
    return "answered without" if "the online store could not be read" in answer.text else "answered"


@contextmanager
def the_api(workspace: Workspace, server: Server, outage: Outage) -> Iterator[RunningServer]:
    deploy_tiny(workspace.of(flight_delay))
    command = ("-m", "tests.serving.product_server", json.dumps({"outage": outage}))
    with (
        tempfile.TemporaryFile("w+") as output,
        a_server(workspace, output, command, MLOPS_ONLINE_STORE=server.url) as running,
    ):
        yield running


def open_things(running: RunningServer) -> tuple[int, int]:
    process = psutil.Process(running.process.pid)
    return process.num_threads(), process.num_fds()


@pytest.mark.slow
@pytest.mark.parametrize("outage", Outage)
@pytest.mark.parametrize("start", [a_redis, a_postgres], ids=["redis", "postgres"])
def test_a_store_that_is_away_under_load_costs_what_is_declared_and_is_used_again_when_it_is_back(
    workspace: Workspace, row: Json, start: Start, outage: Outage
) -> None:
    port = free_port()
    with ExitStack() as everything:
        with start(port) as server:
            remember(server)
            running = everything.enter_context(the_api(workspace, server, outage))
            load = everything.enter_context(Load(running.address, row).going())
            load.wait_for("answered")
            before = open_things(running)
            with server.silent():
                load.wait_for(OUTCOME[outage])
            load.wait_for("answered")
        load.wait_for(OUTCOME[outage])  # nobody listens there any more
        with start(port) as server:
            remember(server)
            load.wait_for("answered")
            after = open_things(running)

    assert load.longest_seconds < LONGEST_SECONDS
    assert set(load.outcomes) == {"answered", OUTCOME[outage]}
    assert after[0] <= before[0] + 2  # the ones that look after the store
    assert after[1] <= before[1] + CLIENTS
