"""Clients that send too much, too slowly, half, or nonsense: a clear refusal, bounded memory, and others are served."""

import contextlib
import gzip
import itertools
import json
import re
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

from examples.flights.flight_delay import flight_delay
from mlops_assets.state.workspace import Workspace
from tests.serving.conftest import a_row
from tests.serving.running_api import RunningServer, a_server, eventually
from tests.tiny_bundle import deploy_tiny

PREDICT = "/v1/models/flight_delay/predict"
POST = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
MEGABYTE = 2**20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    workspace = Workspace(tmp_path_factory.mktemp("hostile"))
    deploy_tiny(workspace.of(flight_delay))
    limits = {
        "MLOPS_BODY_SECONDS": "1",
        "MLOPS_HEADER_SECONDS": "0.5",
        "MLOPS_KEEP_ALIVE_SECONDS": "1.5",
        "MLOPS_MAX_BODY_MB": "8",
        "MLOPS_MAX_BUFFERED_MB": "24",
    }
    with tempfile.TemporaryFile("w+") as output, a_server(workspace, output, **limits) as server:
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


def until_end(connection: socket.socket) -> bytes:
    """Everything that the server says before it ends the connection, which it has to."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while more := connection.recv(65_536):
            said += more
    return said


def statuses_in(said: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", said)]


def a_predict_request(name: str, *headers: str) -> bytes:
    body = json.dumps({"rows": [{**a_row(), "prediction_id": name}]}).encode()
    lines = [f"POST {PREDICT} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


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

    # the one that asks is the only one left, and neither a connection nor a place is held for those
    eventually(lambda: len(psutil.Process(server.process.pid).net_connections("tcp")) <= 2)
    metrics = httpx.get(f"{server.address}/metrics").text
    assert re.search(r"^mlops_in_flight\{[^}]*\} 1\.0$", metrics, re.MULTILINE)


FLOODS = {
    "one header": (b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-A: ", b"a" * MEGABYTE),
    "many headers": (b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n", b"X-A: aaaaaaaaa\r\n" * 65_536),
    "a header's name": (b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n", b"a" * MEGABYTE),
    "a path": (b"GET /", b"a" * MEGABYTE),
    "empty lines": (b"", b"\r\n" * (MEGABYTE // 2)),
    "one trailer": (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-A: ", b"a" * MEGABYTE),
    "many trailers": (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: aaaaaaaaa\r\n" * 65_536),
    "an extension of a chunk": (POST + b"Transfer-Encoding: chunked\r\n\r\n1;", b"a" * MEGABYTE),
    "with an upgrade": (b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\nX-A: ", b"a" * MEGABYTE),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_300_megabytes_of_what_comes_before_and_after_a_body_are_not_taken(server: RunningServer, flood: str) -> None:
    before = memory(server)
    start, more = FLOODS[flood]
    taken = 0
    with connect(server) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(start)
            for _ in range(300):
                connection.sendall(more)
                taken += len(more)
        said = until_end(connection)

    assert taken < 32 * MEGABYTE  # the kernel's buffers, and a little
    assert memory(server) - before < 32
    assert set(statuses_in(said)) <= {408, 431}  # none where the client was cut off while it still sent


def head_of(size: int) -> bytes:
    """A request for the models whose line and headers have so many bytes, as HTTP counts them."""
    start = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-A: "
    counted = len("/v1/models") + len("Host: localhost\r\n") + len("X-A: \r\n")
    return start + b"a" * (size - counted) + b"\r\n\r\n"


@pytest.mark.parametrize(("size", "status"), [(65_536, 200), (65_537, 431), (200_000, 431)])
def test_headers_up_to_64_kilobytes_are_taken(server: RunningServer, size: int, status: int) -> None:
    with connect(server) as connection:
        connection.sendall(head_of(size))
        said = connection.recv(65_536)

    assert statuses_in(said) == [status]
    if status == 431:
        assert b"application/problem+json" in said
        assert b"the headers have more than 65,536 bytes" in said
        assert 'mlops_refusals_total{reason="HeadersTooLarge"}' in httpx.get(f"{server.address}/metrics").text


def test_a_head_that_drips_is_given_up_in_time(server: RunningServer) -> None:
    with connect(server) as connection:
        said = b""
        with contextlib.suppress(OSError):
            connection.settimeout(0.1)
            for letter in itertools.chain(b"GET /v1/models HTTP/1.1\r\nX-A: ", itertools.repeat(97)):
                connection.sendall(bytes([letter]))
                with contextlib.suppress(TimeoutError):
                    if said := connection.recv(65_536):
                        break

    assert statuses_in(said) == [408]


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"\r\n\r\n"], ids=["nothing", "a line", "two lines"])
def test_a_connection_on_which_no_request_begins_is_ended(server: RunningServer, sent: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(sent)

        assert connection.recv(1) == b""


def test_an_idle_connection_is_ended_and_a_busy_one_is_not(server: RunningServer) -> None:
    with connect(server) as connection:
        busy_until = time.monotonic() + 2  # longer than a connection may be idle
        while time.monotonic() < busy_until:
            connection.sendall(b"HEAD /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert status_of(connection) == 200
        assert connection.recv(1) == b""


@pytest.mark.parametrize("end", ["", "Connection: close"])
def test_a_client_that_does_not_read_its_answer_is_cut_off(server: RunningServer, end: str) -> None:
    # the answer is larger than the four megabytes that the kernel holds of it
    rows = [{**a_row(), "prediction_id": f"{number:01000}"} for number in range(6_000)]
    body = json.dumps({"rows": rows}, separators=(",", ":")).encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(10)
        parts = urlsplit(server.address)
        connection.connect((parts.hostname, parts.port))
        lines = [POST.decode().rstrip(), *([end] if end else []), f"Content-Length: {len(body)}", "", ""]
        connection.sendall("\r\n".join(lines).encode() + body)
        port = connection.getsockname()[1]

        def is_open() -> bool:
            held = psutil.Process(server.process.pid).net_connections("tcp")
            return any(item.raddr and item.raddr.port == port for item in held)

        eventually(lambda: not is_open())
        said = until_end(connection)

    length = re.search(rb"content-length: (\d+)", said)
    assert length is not None
    assert len(said) < int(length[1])


UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")


@pytest.mark.parametrize(
    "upgrade",
    [UPGRADE, ("Connection: upgrade", "Upgrade: websocket"), ("Upgrade: h2c", "Connection: keep-alive, Upgrade")],
)
@pytest.mark.parametrize("pieces", [1, 3, 1_000])
def test_a_request_that_would_upgrade_is_answered_in_http_1_1(
    server: RunningServer, upgrade: tuple[str, ...], pieces: int
) -> None:
    sent = a_predict_request("a", *upgrade) + a_predict_request("b") + a_predict_request("c", *upgrade)
    size = -(-len(sent) // pieces)
    with connect(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(sent), size):
            connection.sendall(sent[start : start + size])
        said = until_end(connection)

    assert statuses_in(said) == [200, 200, 200]
    assert re.findall(rb'"prediction_id":"(.)"', said) == [b"a", b"b", b"c"]


def test_an_upgrade_does_not_hide_a_second_request(server: RunningServer) -> None:
    hidden = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    body = b" " * len(hidden)
    lines = [POST.decode().rstrip(), *UPGRADE, f"Content-Length: {len(body)}", "Transfer-Encoding: chunked", "", ""]
    with connect(server) as connection:
        connection.sendall("\r\n".join(lines).encode() + b"0\r\n\r\n" + hidden)
        said = until_end(connection)

    assert statuses_in(said) == [400]


SMUGGLED = {
    "both lengths": "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET",
    "two lengths": "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "a list of lengths": "Content-Length: 5, 6\r\n\r\nabcdef",
    "a signed length": "Content-Length: +5\r\n\r\nabcde",
    "a length in hexadecimal": "Content-Length: 0x5\r\n\r\nabcde",
    "a length of letters": "Content-Length: five\r\n\r\nabcde",
    "an unknown coding": "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a coding with a tab": "Transfer-Encoding:\tchunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "a name with a blank": "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded header": "X-A: a\r\n b\r\nContent-Length: 5\r\n\r\nabcde",
    "a bare line feed": "X-A: a\nContent-Length: 5\r\n\r\nabcde",
    "a bare carriage return": "X-A: a\rContent-Length: 5\r\n\r\nabcde",
    "a zero byte": "X-A: a\0b\r\nContent-Length: 5\r\n\r\nabcde",
    "a signed chunk": "Transfer-Encoding: chunked\r\n\r\n+5\r\nabcde\r\n0\r\n\r\n",
    "a chunk that is too long": "Transfer-Encoding: chunked\r\n\r\n2\r\nabcde\r\n0\r\n\r\n",
    "a chunk beyond 64 bits": "Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nabcde\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("attack", SMUGGLED)
def test_what_could_be_read_in_two_ways_is_refused_and_ends_the_connection(server: RunningServer, attack: str) -> None:
    hidden = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connect(server) as connection:
        connection.sendall(POST + SMUGGLED[attack].encode("latin-1") + hidden)
        said = until_end(connection)

    assert statuses_in(said) in ([], [400])
    assert b"flight_delay" not in said


@pytest.mark.parametrize("host", ["bad host", "a/b"])
@pytest.mark.parametrize(("path", "status"), [("/v1/models", 421), ("/health/live", 400)])
def test_a_host_that_is_no_name_is_refused(server: RunningServer, path: str, status: int, host: str) -> None:
    # a probe may name any host, and this is none
    with connect(server) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())

        assert status_of(connection) == status


@pytest.mark.parametrize(
    ("hosts", "status"),
    [([], 400), (["a", "b"], 400), (["a", "a"], 400), (["localhost"], 200)],
)
@pytest.mark.parametrize("path", ["/v1/models", "/health/live"])
def test_a_request_has_one_host(server: RunningServer, path: str, hosts: list[str], status: int) -> None:
    with connect(server) as connection:
        connection.sendall("\r\n".join([f"GET {path} HTTP/1.1", *(f"Host: {h}" for h in hosts), "", ""]).encode())

        assert status_of(connection) == status


@pytest.mark.parametrize(
    "path", ["/health/live", "/health/ready", "/ping", "/v2/health/live", "/v1/models", "/metrics"]
)
def test_head_answers_as_get_without_its_body(server: RunningServer, path: str) -> None:
    with connect(server) as connection:
        connection.sendall(f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        head, _, body = until_end(connection).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 OK")
    assert re.search(rb"content-length: [1-9]", head)
    assert body == b""


def test_garbage_after_requests_ends_the_connection_after_their_answers(server: RunningServer) -> None:
    with connect(server) as connection:
        connection.sendall(a_predict_request("a") + a_predict_request("b") + b"garbage\r\n\r\n")
        said = until_end(connection)

    assert re.findall(rb'"prediction_id":"(.)"', said) == [b"a", b"b"]
    assert statuses_in(said) == [200, 200]


def test_a_thousand_requests_in_one_piece_are_answered_in_their_order(server: RunningServer) -> None:
    sent = b"".join(a_predict_request(f"n{number}") for number in range(1_000))
    with connect(server) as connection:
        sender = threading.Thread(target=connection.sendall, args=(sent,))
        sender.start()
        said = until_end(connection)
        sender.join()

    assert re.findall(rb'"prediction_id":"(n\d+)"', said) == [b"n%d" % number for number in range(1_000)]


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
    with connect(server) as connection, connect(server) as other:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        said = until_end(connection)
        other.sendall(a_predict_request("mine"))

        assert statuses_in(said) == [400]
        assert status_of(other) == 200


def test_asked_to_end_the_server_is_not_ready_while_it_still_answers(tmp_path_factory: pytest.TempPathFactory) -> None:
    workspace = Workspace(tmp_path_factory.mktemp("leave"))
    deploy_tiny(workspace.of(flight_delay))
    with tempfile.TemporaryFile("w+") as output, a_server(workspace, output, MLOPS_DRAIN_SECONDS="1.5") as server:
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: httpx.get(f"{server.address}/health/ready").status_code == 503)
        alive = httpx.get(f"{server.address}/health/live").status_code
        answered = httpx.post(f"{server.address}/v1/models/flight_delay/predict", json={"rows": [a_row()]}).status_code
        exit_code = server.process.wait(20)

    assert (alive, answered) == (200, 200)
    assert exit_code in (0, -signal.SIGTERM)


def test_asked_to_end_the_server_answers_what_it_has_begun(tmp_path_factory: pytest.TempPathFactory) -> None:
    workspace = Workspace(tmp_path_factory.mktemp("drain"))
    deploy_tiny(workspace.of(flight_delay))
    with tempfile.TemporaryFile("w+") as output, a_server(workspace, output) as server:
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
