"""An HTTP proxy on loopback between a client and a server, which lets chosen requests go wrong the way networks do."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_OF_ONE_CONNECTION = ("connection", "transfer-encoding", "content-length", "date", "server")


class Fault(Enum):
    """What happens to one request, each as seen by the client."""

    SERVER_ERROR = "the server answers 500 and does nothing"
    CONFLICT = "the server answers 409, as S3 does to a conditional write that meets another one"
    SILENCE = "the request is taken and never answered"
    CUT_UPLOAD = "the connection ends when half of the body was sent"
    CUT_DOWNLOAD = "the request is carried out, and the connection ends in the middle of the answer's body"
    SHORT_ANSWER = "the request is carried out, and half of the answer arrives as if it were all"
    LOST_ANSWER = "the request is carried out, and the connection ends without an answer"


class FaultyProxy:
    """Passes requests on to `server`; the next ones of a method meet what was announced for it, one after the other.

    page_size: how many names a listing of S3 holds."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.requests: list[str] = []
        self.page_size: int | None = None
        self._faults: list[tuple[str, Fault | None]] = []
        self._lock = threading.Lock()
        self.is_closing = threading.Event()

    def fail_next(self, method: str, fault: Fault, times: int = 1) -> None:
        with self._lock:
            self._faults += [(method, fault)] * times

    def pass_next(self, method: str) -> None:
        with self._lock:
            self._faults.append((method, None))

    def heal(self) -> None:
        with self._lock:
            self._faults.clear()

    def fault_of(self, method: str, path: str) -> Fault | None:
        with self._lock:
            self.requests.append(f"{method} {path}")
            for index, (concerned, fault) in enumerate(self._faults):
                if concerned == method:
                    del self._faults[index]
                    return fault
        return None


@contextmanager
def a_faulty_proxy(server: str) -> Iterator[tuple[FaultyProxy, str]]:
    """The proxy and its own address."""
    proxy = FaultyProxy(server)
    listening = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": proxy}))
    listening.daemon_threads = True
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield proxy, f"http://127.0.0.1:{listening.server_port}"
    finally:
        proxy.is_closing.set()
        listening.shutdown()
        thread.join()
        listening.server_close()


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultyProxy
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        fault = self.proxy.fault_of(self.command, self.path)
        length = int(self.headers.get("content-length", 0))
        if fault is Fault.CUT_UPLOAD:
            self.rfile.read(length // 2)
            self.close_connection = True
            return
        body = self.rfile.read(length)
        if fault is Fault.SILENCE:
            self.proxy.is_closing.wait()
            self.close_connection = True
        elif fault is Fault.SERVER_ERROR:
            self._answer(500, {}, self._error("InternalError"))
        elif fault is Fault.CONFLICT:
            self._answer(409, {}, self._error("ConditionalRequestConflict"))
        else:
            self._pass_on(body, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815 (names of the base class)

    def _pass_on(self, body: bytes, fault: Fault | None) -> None:
        target = urlsplit(self.proxy.server)
        connection = http.client.HTTPConnection(target.hostname or "", target.port)
        pages = f"&max-keys={self.proxy.page_size}" if self.proxy.page_size and "list-type=2" in self.path else ""
        connection.request(self.command, self.path + pages, body, dict(self.headers.items()))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in _OF_ONE_CONNECTION}
        if self.command == "HEAD":
            headers["content-length"] = answer.getheader("content-length") or "0"
        if fault is Fault.LOST_ANSWER:
            self.close_connection = True
        elif fault is Fault.CUT_DOWNLOAD:
            self._answer(answer.status, headers, content, sent=len(content) // 2)
            self.close_connection = True
        elif fault is Fault.SHORT_ANSWER:
            self._answer(answer.status, headers, content[: len(content) // 2])
        else:
            self._answer(answer.status, headers, content)

    def _error(self, code: str) -> bytes:
        return b"" if self.command == "HEAD" else f"<Error><Code>{code}</Code></Error>".encode()

    def _answer(self, status: int, headers: dict[str, str], content: bytes, sent: int | None = None) -> None:
        """sent: how much of the content leaves; all of it is announced."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "content-length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:sent])

    def log_message(self, format: str, *args: object) -> None:
        """Faults are meant; nobody reads them."""
