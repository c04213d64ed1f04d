"""Clients that send too much, too slowly, half, or nonsense: a clear refusal, bounded memory, and others are served."""

import contextlib
import gzip
import json
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from mlops_assets.products.flight_delay import flight_delay
from mlops_assets.stores.home import Home
from tests.serving.conftest import a_row
from tests.serving.running_api import RunningServer, a_server, eventually
from tests.tiny_bundle import deploy_tiny

PREDICT = "/v1/models/flight_delay/predict"
POST = f"POST {PREDICT} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n".encode()
MEGABYTE = 2**20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    home = Home(tmp_path_factory.mktemp("hostile"))
    deploy_tiny(home, flight_delay)
    limits = {"MLOPS_BODY_SECONDS": "0.5", "MLOPS_MAX_BODY_MB": "8", "MLOPS_MAX_BUFFERED_MB": "24"}
    with tempfile.TemporaryFile("w+") as output, a_server(home, output, **limits) as server:
        httpx.post(f"{server.address}{PREDICT}", json={"rows": [a_row()] * 500}).raise_for_status()
        yield server


@pytest.fixture(autouse=True)
def others_are_served(server: RunningServer) -> Iterator[None]:
    yield
    answer = httpx.post(f"{server.address}{PREDICT}", json={"rows": [a_row()]}, timeout=5)
    assert answer.status_code == 200


def connect(server: RunningServer) -> socket.socket:
    parts = urlsplit(server.address)
    return socket.create_connection((parts.hostname, parts.port), timeout=10)


def status_of(connection: socket.socket) -> int:
    return int(connection.recv(65_536).split(b" ", 2)[1])


def memory(server: RunningServer) -> float:
    return psutil.Process(server.process.pid).memory_info().rss / MEGABYTE


def test_a_body_that_stops_half_way_is_given_up_in_time(server: RunningServer) -> None:
    with connect(server) as connection:
        connection.sendall(POST + b"Content-Length: 1000\r\n\r\n" + b"{" * 500)
        started = time.monotonic()
        status = status_of(connection)

    assert status == 408
    assert time.monotonic() - started < 5


def test_a_body_that_drips_is_given_up_in_time(server: RunningServer) -> None:
    with connect(server) as connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(POST + b"Content-Length: 1000\r\n\r\n")
        connection.settimeout(0.1)
        status = None
        for _ in range(50):
            connection.sendall(b" ")
            with contextlib.suppress(TimeoutError):
                status = status_of(connection)
                break

    assert status == 408


def test_a_client_that_goes_away_half_way_is_forgotten(server: RunningServer) -> None:
    for _ in range(20):
        with connect(server) as connection:
            connection.sendall(POST + b"Content-Length: 1000\r\n\r\n{")


def test_a_hundred_clients_that_hold_their_bodies_back_keep_nobody_else_waiting(server: RunningServer) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            connection = stack.enter_context(connect(server))
            connection.sendall(POST + b"Content-Length: 10\r\n\r\n")

        answer = httpx.post(f"{server.address}{PREDICT}", json={"rows": [a_row()]}, timeout=5)

    assert answer.status_code == 200


def test_a_body_that_is_said_to_be_100_megabytes_is_refused_before_it_is_read(server: RunningServer) -> None:
    with connect(server) as connection:
        connection.sendall(POST + b"Content-Length: 104857600\r\n\r\n" + b"[" * 1_000)
        assert status_of(connection) == 413


def test_a_body_that_grows_to_100_megabytes_is_refused_on_the_way_and_memory_stays(server: RunningServer) -> None:
    before = memory(server)
    chunk = b"%x\r\n" % MEGABYTE + b" " * MEGABYTE + b"\r\n"
    with connect(server) as connection:
        connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(100):
                connection.sendall(chunk)
        with contextlib.suppress(ConnectionResetError):
            assert status_of(connection) == 413

    assert memory(server) - before < 64


def test_bodies_of_many_clients_do_not_fill_the_memory(server: RunningServer) -> None:
    before, peak = memory(server), 0.0

    def send() -> None:
        with connect(server) as connection, contextlib.suppress(OSError):
            connection.sendall(POST + b"Content-Length: 8000000\r\n\r\n" + b" " * 7_000_000)
            connection.recv(65_536)

    clients = [threading.Thread(target=send) for _ in range(20)]
    for client in clients:
        client.start()
    while any(client.is_alive() for client in clients):
        peak = max(peak, memory(server))
        clients[0].join(0.02)
        clients = [client for client in clients if client.is_alive()] or clients[:1]

    assert peak - before < 20 * 7  # what 20 bodies would be; held are 24, and copies on the way


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_a_bomb_is_not_unpacked(server: RunningServer, encoding: str) -> None:
    before = memory(server)
    bomb = gzip.compress(b" " * (200 * MEGABYTE), compresslevel=1)

    answer = httpx.post(
        f"{server.address}{PREDICT}",
        content=bomb,
        headers={"content-type": "application/json", "content-encoding": encoding},
    )

    assert answer.status_code == 415
    assert memory(server) - before < 64


@pytest.mark.parametrize(
    "route", [PREDICT, "/v1/models/flight_delay/labels", "/v2/models/flight_delay/infer", "/score"]
)
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 1_000_000,
        b'{"rows":' * 100_000,
        b'{"rows": [{"flight": 1e999}]}',
        b'{"rows": [{"flight": NaN}]}',
        b'{"rows": [{"flight": -Infinity}]}',
        b"\x00" * 1_000,
        b'{"rows": "\xed\xa0\x80"}',
        b'{"inputs": [{"name": "a", "shape": [9223372036854775807], "datatype": "FP32", "data": [1]}]}',
    ],
    ids=["deep lists", "deep objects", "huge number", "NaN", "infinity", "zeros", "surrogate", "huge shape"],
)
def test_nonsense_is_refused_as_the_client_s_fault(server: RunningServer, route: str, body: bytes) -> None:
    answer = httpx.post(f"{server.address}{route}", content=body, headers={"content-type": "application/json"})

    assert answer.status_code in (400, 422)


@pytest.mark.parametrize("route", [PREDICT, "/v1/models/flight_delay/labels", "/endpoints/flight_delay/invocations"])
@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data; boundary=a", "text/html", ""])
def test_other_content_types_are_refused(server: RunningServer, route: str, kind: str) -> None:
    content = json.dumps({"rows": [a_row()]}).encode()

    answer = httpx.post(f"{server.address}{route}", content=content, headers={"content-type": kind})

    assert answer.status_code in (400, 415)


def test_a_request_that_is_no_http_ends_only_its_connection(server: RunningServer) -> None:
    with connect(server) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            connection.recv(65_536)


def test_asked_to_end_the_server_is_not_ready_while_it_still_answers(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = Home(tmp_path_factory.mktemp("leave"))
    deploy_tiny(home, flight_delay)
    with tempfile.TemporaryFile("w+") as output, a_server(home, output, MLOPS_DRAIN_SECONDS="1.5") as server:
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: httpx.get(f"{server.address}/health/ready").status_code == 503)
        alive = httpx.get(f"{server.address}/health/live").status_code
        answered = httpx.post(f"{server.address}/v1/models/flight_delay/predict", json={"rows": [a_row()]}).status_code
        exit_code = server.process.wait(20)

    assert (alive, answered) == (200, 200)
    assert exit_code in (0, -signal.SIGTERM)


def test_asked_to_end_the_server_answers_what_it_has_begun(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = Home(tmp_path_factory.mktemp("drain"))
    deploy_tiny(home, flight_delay)
    with tempfile.TemporaryFile("w+") as output, a_server(home, output) as server:
        body = json.dumps({"rows": [a_row()] * 500}).encode()
        with connect(server) as connection:
            connection.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body[:-1])
            httpx.get(f"{server.address}/health/live")  # once this is answered, what came before it is being read
            server.process.send_signal(signal.SIGTERM)
            connection.sendall(body[-1:])
            status = status_of(connection)
        exit_code = server.process.wait(20)

    assert status == 200
    assert exit_code in (0, -signal.SIGTERM)
