"""What a client sees of its connection: answers in their order, whatever the bytes arrive in and whoever else is there."""

import asyncio
import itertools
import json
import re
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar

from examples.flights.flight_delay import flight_delay
from mlops_assets.products.policy import Serving
from mlops_assets.records.acceptance import AcceptanceState
from mlops_assets.state.bundle import Bundle
from mlops_assets.state.workspace import Workspace
from serving.app import create_app
from serving.errors import UnusableScore
from serving.scoring import Scored, Scorer
from serving.server import http_server
from serving.settings import Settings
from tests.serving.conftest import a_row
from tests.serving.running_api import Json, RunningServer, a_server, eventually, settings_on
from tests.some_records import an_acceptance
from tests.tiny_bundle import deploy_tiny, write_tiny_bundle

PREDICT = "/v1/models/flight_delay/predict"
JSON = "Content-Type: application/json"


@contextmanager
def on_a_port(app: Litestar) -> Iterator[str]:
    """The application behind the shipped server, in a thread; its event loop is `app.state.loop`."""

    async def keep_loop(started: Litestar) -> None:
        started.state.loop = asyncio.get_running_loop()

    app.on_startup.append(keep_loop)
    listener = socket.create_server(("127.0.0.1", 0))
    server = http_server(app, Settings())
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        eventually(lambda: httpx.get(f"{address}/health/ready").status_code == 200)
        yield address
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Litestar:
    workspace = Workspace(tmp_path_factory.mktemp("connections"))
    deploy_tiny(workspace.of(flight_delay), weight=1e-4)
    return create_app(settings_on(workspace), [flight_delay])


@pytest.fixture(scope="module")
def address(app: Litestar) -> Iterator[str]:
    with on_a_port(app) as found:
        yield found


def request(body: bytes, *headers: str, method: str = "POST", path: str = PREDICT) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def asking(*rows: Json) -> bytes:
    return request(json.dumps({"rows": rows}).encode(), JSON)


def named(name: str) -> Json:
    return {**a_row(), "prediction_id": name}


def connect(address: str) -> socket.socket:
    parts = urlsplit(address)
    return socket.create_connection((parts.hostname, parts.port), timeout=10)


def answers(connection: socket.socket, count: int) -> list[tuple[int, bytes]]:
    """Status and body of so many answers, read off one after the other."""
    found: list[tuple[int, bytes]] = []
    held = b""
    while len(found) < count:
        head, end, rest = held.partition(b"\r\n\r\n")
        size = re.search(rb"content-length: (\d+)", head)
        if end and size and len(rest) >= int(size[1]):
            found.append((int(head.split(b" ", 2)[1]), rest[: int(size[1])]))
            held = rest[int(size[1]) :]
            continue
        more = connection.recv(65_536)
        assert more, f"the connection ended after {len(found)} answers and {held!r}"
        held += more
    assert held == b""
    return found


def ids(found: list[tuple[int, bytes]]) -> list[str]:
    return [prediction["prediction_id"] for _, body in found for prediction in json.loads(body)["predictions"]]


def metric(address: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", httpx.get(f"{address}/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def in_flight(address: str) -> float:
    found = re.search(r"^mlops_in_flight\{[^}]*\} (\S+)$", httpx.get(f"{address}/metrics").text, re.MULTILINE)
    assert found is not None
    return float(found[1]) - 1  # the request that asks is one itself


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 900), max_size=6), count=st.integers(1, 4))
def test_pieces_and_pipelines_are_answered_in_their_order(address: str, cuts: list[int], count: int) -> None:
    names = [f"p{number}" for number in range(count)]
    sent = b"".join(asking(named(name)) for name in names)
    edges = [0, *sorted({cut for cut in cuts if cut < len(sent)}), len(sent)]

    with connect(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start, end in itertools.pairwise(edges):
            connection.sendall(sent[start:end])
        found = answers(connection, count)

    assert [status for status, _ in found] == [200] * count
    assert ids(found) == names


def test_other_routes_and_refusals_keep_their_place_in_a_pipeline(address: str) -> None:
    bad = asking({**a_row(), "distance": "far"})
    looking = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"

    with connect(address) as connection:
        connection.sendall(asking(named("a")) + looking + bad + asking(named("b")))
        found = answers(connection, 4)

    assert [status for status, _ in found] == [200, 200, 422, 200]
    assert ids([found[0], found[3]]) == ["a", "b"]


def test_the_connection_ends_when_the_client_asks_for_that(address: str) -> None:
    with connect(address) as connection:
        connection.sendall(request(json.dumps({"rows": [a_row()]}).encode(), JSON, "Connection: close"))
        said = b""
        while more := connection.recv(65_536):
            said += more

    assert b"\r\nconnection: close\r\n" in said
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")


def test_every_request_is_counted_once_and_none_stays_in_flight(address: str) -> None:
    answered, refused = (f'mlops_requests_total{{route="{PREDICT}",status="{status}"}}' for status in (200, 422))
    before = metric(address, answered), metric(address, refused)

    for _ in range(3):
        httpx.post(f"{address}{PREDICT}", json={"rows": [a_row()]})
    httpx.post(f"{address}{PREDICT}", json={"rows": [{**a_row(), "distance": "far"}]})

    assert (metric(address, answered), metric(address, refused)) == (before[0] + 3, before[1] + 1)
    assert in_flight(address) == 0


def test_who_goes_away_before_the_answer_holds_no_place_and_is_no_error(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        with connect(address) as connection:
            connection.sendall(asking(*[a_row()] * 200))

    eventually(lambda: in_flight(address) == 0)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def test_many_clients_at_once_get_each_its_own_answer(two_products: RunningServer) -> None:
    async def ask(client: httpx.AsyncClient, name: str) -> bool:
        answer = await client.post(f"{two_products.address}{PREDICT}", json={"rows": [named(name)]})
        return answer.status_code == 200 and answer.json()["predictions"][0]["prediction_id"] == name

    async def ask_all() -> list[bool]:
        async with httpx.AsyncClient(timeout=30) as client:
            return await asyncio.gather(*(ask(client, f"n{number}") for number in range(300)))

    assert all(asyncio.run(ask_all()))


HALF = rb'{"rows": [{"carrier": "\ud800"}]}'  # a lone surrogate, which is no character


def test_a_body_that_breaks_the_decoder_is_refused_and_holds_no_place(workspace: Workspace) -> None:
    deploy_tiny(workspace.of(flight_delay))
    with tempfile.TemporaryFile("w+") as output, a_server(workspace, output, MLOPS_MAX_CONCURRENCY="2") as server:
        json_type = {"Content-Type": "application/json"}
        refused = [httpx.post(f"{server.address}{PREDICT}", content=HALF, headers=json_type) for _ in range(4)]
        answered = httpx.post(f"{server.address}{PREDICT}", json={"rows": [a_row()]})

    assert {answer.status_code for answer in refused} == {400}
    assert "half a character" in refused[0].json()["detail"]
    assert answered.status_code == 200


@contextmanager
def a_turn(app: Litestar) -> Iterator[None]:
    """The event loop stands still meanwhile: whatever is sent arrives together."""
    is_over = threading.Event()
    app.state.loop.call_soon_threadsafe(is_over.wait)
    yield
    is_over.set()


def test_a_connection_that_breaks_takes_no_other_request_with_it(app: Litestar, address: str) -> None:
    with connect(address) as broken, connect(address) as other:
        with a_turn(app):
            broken.sendall(asking(named("a")) + asking(named("b")) + b"garbage\r\n\r\n")
            other.sendall(asking(named("c")))

        assert ids(answers(other, 1)) == ["c"]
        other.sendall(asking(named("d")))
        assert ids(answers(other, 1)) == ["d"]

    eventually(lambda: in_flight(address) == 0)


def test_a_version_that_fails_fails_nobody_else_in_its_turn(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy_tiny(workspace.of(flight_delay), 1, weight=1e-4)
    deploy_tiny(workspace.of(flight_delay), 2, weight=1e-4)
    app = create_app(settings_on(workspace), [flight_delay])
    with on_a_port(app) as address:
        path = "/v1/models/flight_delay/versions/1/predict"
        assert httpx.post(f"{address}{path}", json={"rows": [a_row()]}).status_code == 200
        whole = Scorer.score_features

        def spoilt_score(scorer: Scorer, bundle: Bundle, *rows: Any) -> Scored:
            if bundle.manifest.version == 1:
                raise UnusableScore("version 1 answers row 0 with no number.")
            return whole(scorer, bundle, *rows)

        monkeypatch.setattr(Scorer, "score_features", spoilt_score)
        with connect(address) as healthy, connect(address) as spoilt:
            with a_turn(app):
                healthy.sendall(asking(named("new")))
                spoilt.sendall(request(json.dumps({"rows": [named("old")]}).encode(), JSON, path=path))

            ((status, body),) = answers(spoilt, 1)
            assert ids(answers(healthy, 1)) == ["new"]
            monkeypatch.undo()
            spoilt.sendall(asking(named("next")))
            assert ids(answers(spoilt, 1)) == ["next"]

    assert status == 500
    assert "no number" in json.loads(body)["detail"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([JSON, "X-Request-ID: one", "X-Request-ID: two"], 200),
        (["Content-Type: text/plain", JSON], 415),
    ],
)
def test_of_a_header_that_is_given_twice_the_first_one_counts(address: str, headers: list[str], status: int) -> None:
    with connect(address) as connection:
        connection.sendall(request(json.dumps({"rows": [a_row()]}).encode(), *headers))
        ((found, body),) = answers(connection, 1)

    assert found == status
    if status == 200:
        assert json.loads(body)["request_id"] == "one"


def test_a_canary_and_a_shadow_are_asked_over_http(workspace: Workspace) -> None:
    deploy_tiny(workspace.of(flight_delay), 1, bias=-1)
    write_tiny_bundle(workspace.of(flight_delay), 2, bias=1)
    workspace.of(flight_delay).records.save("2013-04-22", an_acceptance("flight_delay", 2, AcceptanceState.ACCEPTED))
    product = replace(flight_delay, serving=Serving(canary=0.5, shadow=0.5))
    app = create_app(settings_on(workspace), [product])

    with on_a_port(app) as address, httpx.Client(base_url=address) as client:

        def versions() -> list[int]:
            rows = ({**named(f"f{flight}"), "flight": flight} for flight in range(1, 41))
            found = (client.post(PREDICT, json={"rows": [row]}).raise_for_status().json() for row in rows)
            return [item["version"] for item in found]

        eventually(lambda: 2 in versions())
        first, again = versions(), versions()

    assert set(first) == {1, 2}
    assert again == first  # an entity stays where it is
    shadowed = workspace.predictions("shadow").read("flight_delay")
    assert set(shadowed["version"].to_list()) == {2}


def test_the_limit_of_a_body_holds_for_a_predict_route(workspace: Workspace) -> None:
    deploy_tiny(workspace.of(flight_delay))
    with tempfile.TemporaryFile("w+") as output, a_server(workspace, output, MLOPS_MAX_BODY_MB="0.001") as server:
        small, large = (
            httpx.post(f"{server.address}{PREDICT}", json={"rows": [a_row()] * rows}).status_code for rows in (1, 8)
        )

    assert (small, large) == (200, 413)
