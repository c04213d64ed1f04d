"""Requests answered on the connection itself: the same answers, in their order, whatever the bytes arrive in."""

import asyncio
import contextlib
import itertools
import json
import re
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar
from uvicorn.server import ServerState

from mlops_assets.products.flight_delay import flight_delay
from mlops_assets.products.policy import Serving
from mlops_assets.stores.home import Home
from mlops_assets.stores.model_bundle import Bundle
from mlops_assets.stores.prediction_log import PredictionLog
from serving.app import create_app
from serving.direct import DirectProtocol
from serving.errors import UnusableScore
from serving.scoring import Scored, Scorer
from serving.settings import Settings
from tests.serving.conftest import a_row
from tests.serving.running_api import Json, RunningServer, a_server, eventually
from tests.tiny_bundle import deploy_tiny, write_tiny_bundle

PREDICT = "/v1/models/flight_delay/predict"
KEEP_ALIVE_SECONDS = 1


@contextmanager
def on_a_port(app: Litestar) -> Iterator[str]:
    """The application behind the shipped protocol, in a thread; its event loop is `app.state.loop`."""

    async def keep_loop(started: Litestar) -> None:
        started.state.loop = asyncio.get_running_loop()

    app.on_startup.append(keep_loop)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_config=None, access_log=False, http=DirectProtocol, timeout_keep_alive=KEEP_ALIVE_SECONDS
    )
    server = uvicorn.Server(config)
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
    home = Home(tmp_path_factory.mktemp("direct"))
    deploy_tiny(home, flight_delay, weight=1e-4)
    return create_app(Settings(home=home.root, poll_seconds=0.05), [flight_delay])


@pytest.fixture(scope="module")
def address(app: Litestar) -> Iterator[str]:
    with on_a_port(app) as found:
        yield found


@pytest.fixture
def without_application(app: Litestar, address: str) -> Iterator[None]:
    """The application fails on everything: what is answered is answered before it."""
    whole, app.asgi_handler = app.asgi_handler, _fails
    yield
    app.asgi_handler = whole


async def _fails(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 599, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def request(body: bytes, *headers: str, method: str = "POST", path: str = PREDICT, version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: test", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def asking(*rows: Json) -> bytes:
    return request(json.dumps({"rows": rows}).encode(), "Content-Type: application/json")


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


@pytest.mark.usefixtures("without_application")
def test_a_common_request_is_answered_before_the_application(address: str) -> None:
    answer = httpx.post(f"{address}{PREDICT}", json={"rows": [named("a")]}, headers={"X-Request-ID": "mine"})

    assert answer.status_code == 200
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "mine"
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["predictions"][0]["prediction_id"] == "a"


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (request(b"{}", "Content-Type: application/json", path=f"{PREDICT}?explain=true"), "a query"),
        (request(b"{}", "Content-Type: text/plain"), "another content type"),
        (request(b"{}", "Content-Type: application/json", "Content-Encoding: gzip"), "an encoded body"),
        (request(b"{}", "Content-Type: application/json", method="PUT"), "another method"),
        (request(b"{}", "Content-Type: application/json", version="1.0"), "an old protocol"),
        (request(b"x" * 65_537, "Content-Type: application/json"), "a large body"),
        (request(b"", "Content-Type: application/json"), "no body"),
        (request(b"{", "Content-Type: application/json"), "no JSON"),
        (request(b'{"rows": []}', "Content-Type: application/json"), "no rows"),
        (request(b"{}", path="/v1/models/air_time/predict"), "another product"),
    ],
)
@pytest.mark.usefixtures("without_application")
def test_everything_else_is_the_application_s(address: str, sent: bytes, why: str) -> None:
    with connect(address) as connection:
        connection.sendall(sent)

        assert answers(connection, 1) == [(599, b"")], why


def test_answers_are_those_of_the_typed_route(address: str) -> None:
    rows = [named("a"), {**named("b"), "carrier": "XX", "distance": 10}]

    direct, typed = (
        httpx.post(f"{address}{path}", json={"rows": rows}, headers={"X-Request-ID": "same"})
        for path in (PREDICT, f"{PREDICT}?features=false")
    )

    assert direct.json() == typed.json()
    assert {name: direct.headers[name] for name in typed.headers} == dict(typed.headers)


def test_a_refusal_is_in_the_words_of_the_typed_route(address: str) -> None:
    row = {**a_row(), "distance": "far"}

    direct, typed = (
        httpx.post(f"{address}{path}", json={"rows": [row]}) for path in (PREDICT, f"{PREDICT}?features=false")
    )

    assert direct.status_code == 422
    assert direct.json() | {"instance": ""} == typed.json() | {"instance": ""}


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
            time.sleep(0.001)
        found = answers(connection, count)

    assert [status for status, _ in found] == [200] * count
    assert ids(found) == names


def test_other_routes_and_refusals_keep_their_place_in_a_pipeline(address: str) -> None:
    bad = asking({**a_row(), "distance": "far"})
    looking = b"GET /v1/models HTTP/1.1\r\nHost: test\r\n\r\n"

    with connect(address) as connection:
        connection.sendall(asking(named("a")) + looking + bad + asking(named("b")))
        found = answers(connection, 4)

    assert [status for status, _ in found] == [200, 200, 422, 200]
    assert ids([found[0], found[3]]) == ["a", "b"]


def test_a_body_that_comes_late_is_waited_for(address: str) -> None:
    sent = asking(named("late"))

    with connect(address) as connection:
        connection.sendall(sent[:-20])
        time.sleep(0.6)  # longer than the connection itself waits
        connection.sendall(sent[-20:])

        assert ids(answers(connection, 1)) == ["late"]
        connection.sendall(asking(named("next")))
        assert ids(answers(connection, 1)) == ["next"]


def test_the_connection_ends_when_the_client_asks_for_that(address: str) -> None:
    body = json.dumps({"rows": [a_row()]}).encode()

    with connect(address) as connection:
        connection.sendall(request(body, "Content-Type: application/json", "Connection: close"))
        said = b""
        while more := connection.recv(65_536):
            said += more

    assert b"\r\nconnection: close\r\n" in said
    assert said.startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_quiet_connection_is_ended_and_a_busy_one_is_not(address: str) -> None:
    with connect(address) as connection:
        until = time.monotonic() + 2 * KEEP_ALIVE_SECONDS
        while time.monotonic() < until:
            connection.sendall(asking(a_row()))
            assert answers(connection, 1)[0][0] == 200
            time.sleep(KEEP_ALIVE_SECONDS / 4)
        since = time.monotonic()

        assert connection.recv(1) == b""
        assert KEEP_ALIVE_SECONDS / 2 < time.monotonic() - since < 5 * KEEP_ALIVE_SECONDS


def test_every_request_is_counted_once_and_none_stays_in_flight(address: str) -> None:
    answered = f'mlops_requests_total{{route="{PREDICT}",status="200"}}'
    before = metric(address, answered)

    for _ in range(3):
        httpx.post(f"{address}{PREDICT}", json={"rows": [a_row()]})
    httpx.post(f"{address}{PREDICT}", json={"rows": [{**a_row(), "distance": "far"}]})
    with connect(address) as connection:  # gone before its answer
        connection.sendall(asking(a_row()))

    eventually(lambda: metric(address, answered) == before + 4)
    assert metric(address, f'mlops_request_seconds_count{{route="{PREDICT}"}}') >= 5
    # the request that asks is one itself
    assert re.search(r"^mlops_in_flight\{[^}]*\} 1\.0$", httpx.get(f"{address}/metrics").text, re.MULTILINE)


def test_a_key_is_asked_for_here_too(home: Home) -> None:
    deploy_tiny(home, flight_delay)
    key = "k" * 20
    with tempfile.TemporaryFile("w+") as output, a_server(home, output, MLOPS_PREDICT_KEYS=key) as server:
        statuses = [
            httpx.post(f"{server.address}{PREDICT}", json={"rows": [a_row()]}, headers=headers).status_code
            for headers in ({}, {"X-API-Key": "w" * 20}, {"X-API-Key": key}, {"Authorization": f"Bearer {key}"})
        ]

    assert statuses == [401, 401, 200, 200]


def test_many_clients_at_once_get_each_its_own_answer(two_products: RunningServer) -> None:
    async def ask(client: httpx.AsyncClient, name: str) -> bool:
        answer = await client.post(f"{two_products.address}{PREDICT}", json={"rows": [named(name)]})
        return answer.status_code == 200 and answer.json()["predictions"][0]["prediction_id"] == name

    async def ask_all() -> list[bool]:
        async with httpx.AsyncClient(timeout=30) as client:
            return await asyncio.gather(*(ask(client, f"n{number}") for number in range(300)))

    assert all(asyncio.run(ask_all()))


HALF = rb'{"rows": [{"carrier": "\ud800"}]}'  # a lone surrogate, which is no character


def test_a_body_that_breaks_the_decoder_is_refused_and_holds_no_place(home: Home) -> None:
    deploy_tiny(home, flight_delay)
    with tempfile.TemporaryFile("w+") as output, a_server(home, output, MLOPS_MAX_CONCURRENCY="2") as server:
        json_type = {"Content-Type": "application/json"}
        refused = [httpx.post(f"{server.address}{PREDICT}", content=HALF, headers=json_type) for _ in range(4)]
        answered = httpx.post(f"{server.address}{PREDICT}", json={"rows": [a_row()]})

    assert {answer.status_code for answer in refused} == {400}
    assert "one half of a character" in refused[0].json()["detail"]
    assert answered.status_code == 200


def hold_the_loop(app: Litestar, seconds: float) -> None:
    """Whatever is sent meanwhile arrives in one turn of the server's event loop."""
    app.state.loop.call_soon_threadsafe(time.sleep, seconds)


@contextmanager
def a_crowd(address: str) -> Iterator[None]:
    """More rows than a turn takes are asked for first: who asks now has to wait, and is answered with others."""
    with contextlib.ExitStack() as connections:
        crowd = [connections.enter_context(connect(address)) for _ in range(5)]
        for connection in crowd:
            connection.sendall(asking(*[a_row()] * 60))
        time.sleep(0.02)
        yield
        for connection in crowd:
            assert answers(connection, 1)[0][0] == 200


def test_a_connection_that_breaks_takes_no_other_request_with_it(app: Litestar, address: str) -> None:
    with connect(address) as broken, connect(address) as other:
        hold_the_loop(app, 0.3)
        with a_crowd(address):
            broken.sendall(asking(named("a")) + asking(named("b")) + b"garbage\r\n\r\n")
            time.sleep(0.02)
            other.sendall(asking(named("c")))

            assert ids(answers(other, 1)) == ["c"]
        other.sendall(asking(named("d")))
        assert ids(answers(other, 1)) == ["d"]

    eventually(lambda: app.state.direct.load.requests == 0)


class GoneTransport(asyncio.Transport):
    """Whose peer may go, after which it refuses what is written as uvloop's does."""

    def __init__(self) -> None:
        super().__init__()
        self.is_gone = False
        self.written = b""

    def is_closing(self) -> bool:
        return self.is_gone

    def write(self, data: Any) -> None:
        if self.is_gone:
            raise RuntimeError("unable to perform operation on a closed transport")
        self.written += data


@pytest.mark.parametrize("is_gone", [False, True])
def test_who_has_gone_is_not_written_to(home: Home, caplog: pytest.LogCaptureFixture, is_gone: bool) -> None:
    deploy_tiny(home, flight_delay, weight=1e-4)
    app = create_app(Settings(home=home.root, poll_seconds=0.05), [flight_delay])
    transport = GoneTransport()

    async def ask() -> None:
        config = uvicorn.Config(app, log_config=None, http=DirectProtocol)
        config.load()
        config.loaded_app = app
        async with app.lifespan():
            protocol = DirectProtocol(config=config, server_state=ServerState(), app_state={})
            protocol.connection_made(transport)
            protocol.data_received(asking(named("a")))
            transport.is_gone = is_gone
            await asyncio.sleep(0.05)

    asyncio.run(ask())

    assert transport.written[:15] == (b"" if is_gone else b"HTTP/1.1 200 OK")
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
    assert app.state.direct.load.requests == 0


def test_a_version_that_fails_fails_nobody_else_in_its_turn(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy_tiny(home, flight_delay, 1, weight=1e-4)
    deploy_tiny(home, flight_delay, 2, weight=1e-4)
    app = create_app(Settings(home=home.root, poll_seconds=0.05), [flight_delay])
    with on_a_port(app) as address:
        path = "/v1/models/flight_delay/versions/1/predict"
        assert httpx.post(f"{address}{path}", json={"rows": [a_row()]}).status_code == 200
        whole = Scorer.score_features

        def spoilt_score(scorer: Scorer, bundle: Bundle, *rows: Any) -> Scored:
            if bundle.manifest.version == 1:
                raise UnusableScore("version 1 answers row 0 with no number.")
            return whole(scorer, bundle, *rows)

        monkeypatch.setattr(Scorer, "score_features", spoilt_score)
        body = json.dumps({"rows": [named("old")]}).encode()
        with connect(address) as healthy, connect(address) as spoilt:
            hold_the_loop(app, 0.3)
            with a_crowd(address):
                healthy.sendall(asking(named("new")))
                spoilt.sendall(request(body, "Content-Type: application/json", path=path))

                assert answers(spoilt, 1)[0][0] == 500
                assert ids(answers(healthy, 1)) == ["new"]
            healthy.sendall(asking(named("next")))
            assert ids(answers(healthy, 1)) == ["next"]


def test_the_limit_of_a_body_holds_here_too(home: Home) -> None:
    deploy_tiny(home, flight_delay)
    with tempfile.TemporaryFile("w+") as output, a_server(home, output, MLOPS_MAX_BODY_MB="0.001") as server:
        small, large = (
            httpx.post(f"{server.address}{PREDICT}", json={"rows": [a_row()] * rows}).status_code for rows in (1, 8)
        )

    assert (small, large) == (200, 413)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (["Content-Type: application/json", "X-Request-ID: one", "X-Request-ID: two"], 200),
        (["Content-Type: text/plain", "Content-Type: application/json"], 415),
    ],
)
def test_of_a_header_that_is_given_twice_the_first_one_counts(address: str, headers: list[str], status: int) -> None:
    with connect(address) as connection:
        connection.sendall(request(json.dumps({"rows": [a_row()]}).encode(), *headers))
        ((found, body),) = answers(connection, 1)

    assert found == status
    if status == 200:
        assert json.loads(body)["request_id"] == "one"


def test_a_canary_and_a_shadow_are_asked_here_too(home: Home) -> None:
    deploy_tiny(home, flight_delay, 1, bias=-1)
    write_tiny_bundle(home.bundle("flight_delay", 2), flight_delay, 2, bias=1)
    home.documents.save("flight_delay", "acceptance", "2013-04-22", {"version": 2, "accepted": True})
    product = replace(flight_delay, serving=Serving(canary=0.5, shadow=0.5))
    app = create_app(Settings(home=home.root, poll_seconds=0.02), [product])

    with on_a_port(app) as address, httpx.Client(base_url=address) as client:

        def versions() -> list[int]:
            rows = ({**named(f"f{flight}"), "flight": flight} for flight in range(1, 41))
            found = (client.post(PREDICT, json={"rows": [row]}).raise_for_status().json() for row in rows)
            return [item["version"] for item in found]

        eventually(lambda: 2 in versions())
        first, whole = versions(), app.asgi_handler
        app.asgi_handler = _fails  # so that it shows if anything but the connection answers
        again = versions()
        app.asgi_handler = whole

    assert set(first) == {1, 2}
    assert again == first  # an entity stays where it is
    shadowed = PredictionLog(home.shadow_log).read("flight_delay")
    assert set(shadowed["version"].to_list()) == {2}


def test_a_model_that_answers_no_number_is_said_as_by_the_typed_route(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy_tiny(home, flight_delay)
    app = create_app(Settings(home=home.root, poll_seconds=0.05), [flight_delay])
    with on_a_port(app) as address:

        def no_number(*_: Any) -> Scored:
            raise UnusableScore("version 1 answers row 0 with no number.")

        monkeypatch.setattr(Scorer, "score_features", no_number)
        answer = httpx.post(f"{address}{PREDICT}", json={"rows": [a_row()]})
        monkeypatch.undo()
        after = httpx.post(f"{address}{PREDICT}", json={"rows": [a_row()]})

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "no number" in answer.json()["detail"]
    assert after.status_code == 200
