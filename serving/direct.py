"""The predict routes on the connection itself: bytes in, bytes out, for requests that can be answered as they are.

A task, a scope and the messages of ASGI cost more than everything else in a request for one row. So the common request
(POST, no query, JSON of at most MOST_BYTES, answered while nothing before it on the connection is open) is taken up where
uvicorn's parser has it whole. All others, and every refusal, go to the application with the body that was read, which
knows how to say no; its typed route also makes the OpenAPI document.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from mlops_assets.errors import PlatformError
from serving.access import Access
from serving.challenged import Predicting
from serving.decoding import BodyDecoder
from serving.ids import new_id
from serving.limits import Load
from serving.metrics import Metrics
from serving.observer import DECODE, Observer
from serving.one_write import OneWriteProtocol
from serving.schemas import Answer, BodySchema

REFUSAL = "mlops_refusal"  # in the ASGI scope: why the request was refused after its body was found to be right
MOST_BYTES = 64 * 1024  # which is what uvicorn itself holds of a body before it stops reading
WAIT_SECONDS = 0.25  # for the rest of a body; then the application waits, which counts and ends slow ones
_encode = msgspec.json.Encoder().encode


class Endpoint:
    """A predict route. url: as in the request line."""

    def __init__(
        self, url: str, schema: BodySchema, predictor: Predicting, metrics: Metrics, observer: Observer
    ) -> None:
        self.url = url
        self.decode = BodyDecoder(schema).decode_json
        self.predictor = predictor
        self.took = metrics.histogram(("mlops_request_seconds", url), ("mlops_requests", url, "200"))
        self.decoded_in = observer.stage(schema.product.name, DECODE)


@dataclass(frozen=True)
class Direct:
    """What the connections of one server share. endpoints: by url; none where every request has to pass the application."""

    endpoints: Mapping[bytes, Endpoint]
    access: Access
    load: Load


class _Nobody:
    """Waits for nothing: uvicorn tells a request's event of what happens to its connection."""

    def set(self) -> None: ...


_nobody = _Nobody()


@dataclass(slots=True, eq=False)
class _Request:
    """A request that is answered directly; to uvicorn it is the cycle that its connection is in."""

    endpoint: Endpoint
    url: bytes
    headers: list[tuple[bytes, bytes]]
    request_id: bytes
    trace_id: str
    keep_alive: bool
    started: float
    body: bytes = b""
    is_whole: bool = False
    is_in_flight: bool = False
    disconnected: bool = False
    response_complete: bool = False
    message_event: _Nobody = _nobody


class DirectProtocol(OneWriteProtocol):
    """uvicorn's protocol with these requests taken out, and one timer per connection in place of one per answer."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._direct: Direct = self.config.app.state.direct  # type: ignore[union-attr]
        self._endpoints = self._direct.endpoints
        self._idle_since: float | None = None
        self._waits_for_body = False

    # parser callbacks, in the order in which they come

    def on_message_begin(self) -> None:
        # the scope is made where it is needed
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        endpoint = self._endpoints.get(self.url)
        request = None if endpoint is None else self._directly(endpoint)
        if request is not None:
            self.cycle = request  # type: ignore[assignment]
            return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        request: object = self.cycle
        if type(request) is _Request and not request.is_whole:
            request.body = request.body + body if request.body else body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        request: object = self.cycle
        if type(request) is _Request and not request.is_whole:
            request.is_whole = True
            self._ask(request)
        else:
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        request: object = self.cycle
        if type(request) is _Request and not request.is_whole and not self._waits_for_body:
            self._wait_for_body(request)

    # a request

    def _directly(self, endpoint: Endpoint) -> _Request | None:
        """The request whose headers are complete, if it is one of those that are answered directly."""
        parser, cycle = self.parser, self.cycle
        if (
            (cycle is not None and not cycle.response_complete)
            or self.expect_100_continue
            or self.flow.write_paused
            or parser.get_method() != b"POST"
            or parser.get_http_version() != "1.1"
            or parser.should_upgrade()
        ):
            return None
        size, kind = 0, b""
        request_id = authorization = api_key = b""
        trace_id = ""
        for name, value in self.headers:
            if name == b"content-length":
                size = int(value) if value.isdigit() and len(value) < 9 else 0
            elif name == b"content-type":
                if kind:
                    return None
                kind = value
            elif name == b"x-request-id" and not request_id:
                request_id = value[:200]
            elif name == b"traceparent" and not trace_id:
                trace_id = trace_id_of(value.decode("latin-1"))
            elif name == b"authorization":
                authorization = value
            elif name == b"x-api-key":
                api_key = value
            elif name in (b"content-encoding", b"transfer-encoding"):
                return None
        if kind != b"application/json" or not 0 < size <= MOST_BYTES:
            return None
        try:
            self._direct.load.expect(size)
            self._direct.access.check(endpoint.url, authorization, api_key)
        except PlatformError:
            return None  # the application refuses in its words
        started = time.perf_counter()
        keep_alive = parser.should_keep_alive()
        return _Request(
            endpoint, self.url, self.headers, request_id or new_id().encode(), trace_id, keep_alive, started
        )

    def _wait_for_body(self, request: _Request) -> None:
        self._waits_for_body = True
        self.loop.call_later(WAIT_SECONDS, self._stop_waiting, request)

    def _stop_waiting(self, request: _Request) -> None:
        self._waits_for_body = False
        newest: object = self.cycle
        if type(newest) is not _Request or newest.is_whole or newest.disconnected:
            return
        if newest is request:
            self._through_application(request)
        else:
            self._wait_for_body(newest)

    def _ask(self, request: _Request) -> None:
        endpoint = request.endpoint
        try:
            self._direct.load.enter()
        except PlatformError:
            self._through_application(request)
            return
        request.is_in_flight = True
        try:
            started = time.perf_counter()
            rows = endpoint.decode(request.body).rows
            endpoint.decoded_in.append(time.perf_counter() - started)
        except Exception:  # noqa: BLE001 (the typed route reads the body again and says what is wrong with it)
            self._through_application(request)
            return

        def settle(answer: Answer | None, error: Exception | None) -> None:
            self._settle(request, answer, error)

        try:
            endpoint.predictor.ask(rows, request.request_id.decode("latin-1"), request.trace_id, settle)
        except Exception as error:  # noqa: BLE001 (the typed route knows what each means to a client)
            self._through_application(request, error)

    def _settle(self, request: _Request, answer: Answer | None, error: Exception | None) -> None:
        """On the event loop. Whatever comes after the first answer is too late."""
        if not request.is_in_flight:
            return
        if self.transport.is_closing():  # for what else came on it: uvicorn tells only the newest request
            request.disconnected = True
        if error is not None:
            self._through_application(request, error)
            return
        endpoint = request.endpoint
        try:
            content = _encode(answer)
        except Exception as failure:  # noqa: BLE001 (of this answer: others are settled after it)
            self._through_application(request, failure)
            return
        request.is_in_flight = False
        self._direct.load.requests -= 1
        if not request.disconnected:
            self.transport.write_now(  # type: ignore[attr-defined] # of OneWrite
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\n%s\r\n%s"
                % (len(content), request.request_id, b"" if request.keep_alive else b"connection: close\r\n", content)
            )
        endpoint.took.append(time.perf_counter() - request.started)
        request.response_complete, request.body = True, b""
        if not request.disconnected:
            if not request.keep_alive:
                self.transport.close()
            self.on_response_complete()

    def _through_application(self, request: _Request, refusal: Exception | None = None) -> None:
        """Let the application have the request, with as much of its body as is here."""
        if request.is_in_flight:
            request.is_in_flight = False
            self._direct.load.requests -= 1
        if request.disconnected:
            return
        kept = self.url, self.headers, self.expect_100_continue, self.scope
        HttpToolsProtocol.on_message_begin(self)
        scope: Any = self.scope
        self.url, self.headers, self.expect_100_continue, self.scope = kept
        path = request.url.decode("ascii")
        scope |= {
            "method": "POST",
            "path": self.root_path + path,
            "raw_path": self.root_path.encode("ascii") + request.url,
            "query_string": b"",
            "headers": request.headers,
        }
        if refusal is not None:
            scope[REFUSAL] = refusal
        cycle = RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=request.keep_alive,
            on_response=self.on_response_complete,
        )
        cycle.body += request.body
        cycle.more_body = not request.is_whole
        if request.body or request.is_whole:
            cycle.message_event.set()
        if self.cycle is request:  # type: ignore[comparison-overlap]
            self.cycle = cycle
        self._start_asgi_task(cycle, self.app)

    # one timer per connection that is kept alive

    def on_response_complete(self) -> None:
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._wake_in(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return  # busy; the next answer sets it again
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._wake_in(left)
        else:
            super().timeout_keep_alive_handler()

    def _wake_in(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None


def trace_id_of(traceparent: str) -> str:
    """W3C Trace Context: version-trace id-parent id-flags; empty where it is none."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) >= 4 and len(parts[1]) == 32 and parts[1].isalnum() else ""
