"""uvicorn's connection with two additions: limits on the head of a request, and requests to upgrade are ignored.

uvicorn limits neither the bytes of a request's head nor the time that it takes, and its parser mistakes the body of a request
with `Upgrade: h2c` (Java's HttpClient, `curl --http2`) for another protocol. No setting changes that; its other parser, h11,
has a limit and makes a request half as expensive again (docs/adr/0045). So this is the one file that builds on uvicorn's class.
It uses only public names; `pyproject.toml` bounds the version, and tests/serving/test_hostile_clients.py tests all of it.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mlops_assets.errors import PlatformError
from serving.errors import HeadersTooLarge, MalformedRequest, SlowHeaders
from serving.problems import native, problem_of

MOST_HEADER_BYTES = 64 * 1024  # of a request's line, headers and trailers
UPGRADE_HEADERS = (b"upgrade", b"http2-settings")


class Connection(HttpToolsProtocol):
    """header_seconds: from the first byte of a head to its last. refused: called with the error of a request that reaches no
    route."""

    header_seconds = 10.0
    refused: Callable[[PlatformError], None]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.parser: Any = _Parser(self, self.parser)
        self._header_bytes = 0  # of this message
        self._unparsed_bytes = 0  # since the parser last called back
        self._is_in_head = self._is_ending = False
        self._error: PlatformError | None = None
        self._timer: asyncio.TimerHandle | None = None

    # the transport's side

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_ending:
            return
        if self._timer is not None and not self._is_in_head:
            self._stop_timer()
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._unparsed_bytes > MOST_HEADER_BYTES and not self._is_ending:
            self._refuse(_too_large())
        if self._is_ending or self.transport.is_closing():
            self._stop_timer()
        elif self._is_in_head or not self._is_busy:
            if self._timer is None:
                self._timer = self.loop.call_later(self.header_seconds, self._end_slow_head)
        else:
            self._stop_timer()

    # the parser's side

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True
        self._header_bytes = self._unparsed_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._take(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:  # also called for trailers
        self._take(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._unparsed_bytes = 0
        if self.parser.goes_on_without_upgrade():
            return
        self._is_in_head = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed_bytes = 0
        if not self.parser.is_upgrading:
            super().on_message_complete()

    # the server's side

    def send_400_response(self, msg: str) -> None:
        """uvicorn calls this when bytes are not HTTP, or when one of the callbacks above refused them."""
        self._refuse(self._error or MalformedRequest("this is not an HTTP/1.1 request as RFC 9112 defines it."))

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._end_when_read(self.transport.get_write_buffer_size())

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._end_when_read(self.transport.get_write_buffer_size())

    @property
    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _take(self, size: int) -> None:
        self._unparsed_bytes = 0
        self._header_bytes += size
        if self._header_bytes > MOST_HEADER_BYTES:
            self._error = _too_large()
            raise self._error  # the parser hands it on, and `send_400_response` answers

    def _refuse(self, error: PlatformError) -> None:
        """Answer with the error and end the connection, after the requests that are being answered on it."""
        self._is_ending = True
        self.refused(error)
        if self._is_busy:
            if self.pipeline or not self.cycle.more_body or self.cycle.response_started:
                self.cycle.keep_alive = False
                return
            self.cycle.disconnected = True  # the rest of its body will not arrive
            self.cycle.message_event.set()
        problem = native(problem_of("", "", error))
        status, content = HTTPStatus(problem.status), msgspec.json.encode(problem.content)
        self.transport.write(
            b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s"
            % (status, status.phrase.encode(), problem.media_type.encode(), len(content), content)
        )
        self.transport.close()

    def _end_slow_head(self) -> None:
        self._timer = None
        if self._is_in_head:
            self._refuse(SlowHeaders(f"the headers did not arrive within {self.header_seconds:g} seconds."))
        elif not self._is_busy:
            self.transport.close()  # the client sent empty lines and then nothing

    def _end_when_read(self, left: int) -> None:
        """End the connection once the client has read the rest of its answer, or has stopped reading."""
        if left:
            self.loop.call_later(self.timeout_keep_alive, self._end_unless_reading, left)

    def _end_unless_reading(self, before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left < before:
            self._end_when_read(left)
        else:
            self.transport.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Parser:
    """httptools' parser, except that a request to upgrade is answered in HTTP/1.1 (RFC 9110 7.8 permits to ignore it).

    httptools ends such a request after its head, whatever body follows. So another parser is given the head without the request
    to upgrade, and then the rest."""

    def __init__(self, connection: Connection, parser: httptools.HttpRequestParser) -> None:
        self._connection = connection
        self.is_upgrading = False
        self._use(parser)

    def _use(self, parser: httptools.HttpRequestParser) -> None:
        self._feed = parser.feed_data
        self.get_method = parser.get_method
        self.get_http_version = parser.get_http_version
        self.should_keep_alive = parser.should_keep_alive
        self.should_upgrade = parser.should_upgrade

    def feed_data(self, data: bytes) -> None:
        while True:
            try:
                self._feed(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                if not self.is_upgrading:
                    raise  # CONNECT, which no route takes
                data = self._head() + data[upgrade.args[0] :]
                self.is_upgrading = False
                parser = httptools.HttpRequestParser(self._connection)
                parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
                self._use(parser)

    def goes_on_without_upgrade(self) -> bool:
        """Whether this head asks for an upgrade and is parsed again without it."""
        self.is_upgrading = self.should_upgrade() and self.get_method() != b"CONNECT"
        return self.is_upgrading

    def _head(self) -> bytes:
        lines = [b"%s %s HTTP/%s" % (self.get_method(), self._connection.url, self.get_http_version().encode())]
        for name, value in self._connection.headers:
            if name == b"connection":
                tokens = [token for token in value.split(b",") if token.strip().lower() not in UPGRADE_HEADERS]
                value = b",".join(tokens)
            if name not in UPGRADE_HEADERS:
                lines.append(b"%s: %s" % (name, value))
        return b"\r\n".join([*lines, b"", b""])


def _too_large() -> HeadersTooLarge:
    return HeadersTooLarge(f"the headers have more than {MOST_HEADER_BYTES:,} bytes. Send fewer or shorter ones.")
