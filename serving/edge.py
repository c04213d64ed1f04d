"""The outermost layer: keys, roles, limits, whole bodies, counts, one log line; one pass for every route, native or not.

It has two halves. Before routing: who sends the request, how fast, traces and counts. After routing, as middleware: whether
the route that was matched may be asked, and its body. A body is read here, whole and within its limits, before a request
counts as in flight: a client that sends slowly, or stops, holds its connection and nothing else.
"""

import asyncio
import logging
import time
from functools import cache
from typing import Any

import msgspec
from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from mlops_assets.errors import PlatformError
from serving.access import NEEDS, NO_KEY, Access, open_paths, permit
from serving.error_shapes import Shapes
from serving.errors import MalformedBody, MalformedRequest, SlowBody, refusal_of
from serving.limits import Limits, Load, Rate
from serving.metrics import Metrics
from serving.origins import Origins
from serving.telemetry import Tracer

_log = logging.getLogger("serving.requests")
Message = Any  # of Litestar's types for ASGI messages none matches what a server really sends and takes
_NO_BODY: Message = {"type": "http.request", "body": b"", "more_body": False}
BODYLESS = frozenset({"GET", "HEAD", "OPTIONS"})


class Edge:
    """An ASGI application around another one: `middleware` is for all its routes, `put_around` for the whole.

    log_requests: one line for each; failures are logged in any case."""

    inner: ASGIApp

    def __init__(
        self,
        *,
        access: Access,
        origins: Origins,
        limits: Limits,
        load: Load,
        shapes: Shapes,
        metrics: Metrics,
        tracer: Tracer,
        log_requests: bool,
    ) -> None:
        self._open_paths: frozenset[str] = frozenset()
        self._access = access
        self._origins = origins
        self._limits = limits
        self._load = load
        self._rate = Rate(limits.rate, time.monotonic)
        self._shapes = shapes
        # looked up once: each look-up takes a lock, and as long as counting does
        self._requests = cache(metrics.requests.labels)
        self._seconds = cache(metrics.request_seconds.labels)
        self._refusals = metrics.refusals
        self._tracer = tracer
        self._log_requests = log_requests

    def put_around(self, app: Litestar) -> None:
        self.inner, self._open_paths = app.asgi_handler, open_paths(app)
        app.asgi_handler = self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.inner(scope, receive, send)
            return
        await self._http(scope, receive, send)

    async def _http(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        # probes are answered under any load, or an orchestrator would end a busy worker
        is_probe = scope["path"] in self._open_paths and scope["method"] in BODYLESS
        status = 500  # what the server answers where nobody answered

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        if is_head := scope["method"] == "HEAD":
            # RFC 9110 9.3.2: as GET, without the content. A copy, since the server reads its own one again
            scope = {**scope, "method": "GET"}
        with self._tracer.request(scope) as span:
            try:
                self._identify(scope, is_probe)
                await self.inner(scope, receive, sending)
            except PlatformError as error:
                await self._refuse(scope, sending, error)
            span.end(scope, status)
        seconds = time.perf_counter() - started
        # only known once the request was routed; what is nowhere has one name, or a scan would make thousands
        route = str(scope.get("path_template") or "unmatched")
        self._requests(route, status).inc()
        self._seconds(route).observe(seconds)
        if self._log_requests or (status >= 500 and not is_probe):
            self._log_line(scope, "HEAD" if is_head else scope["method"], route, status, seconds)

    def _identify(self, scope: HTTPScope, is_probe: bool) -> None:
        """Says in `scope["auth"]` who sends the request.

        Raises MalformedRequest, UnknownHost, CrossSite, Unauthenticated or TooManyRequests."""
        authorization = api_key = host = origin = content_type = b""
        hosts = 0
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"x-api-key":
                api_key = value
            elif name == b"host":
                host = value
                hosts += 1
            elif name == b"origin":
                origin = value
            elif name == b"content-type":
                content_type = value
        if hosts != 1 and (hosts or scope["http_version"] == "1.1"):
            raise MalformedRequest(f"the request has {hosts or 'no'} Host headers. Send it with one.")
        if "\0" in scope["path"]:
            raise MalformedRequest("the path holds a zero byte, which no path here has.")
        if hosts and not is_probe:
            self._origins.check_host(host.decode("latin-1"))
        if origin and scope["method"] not in BODYLESS:
            texts = (value.decode("latin-1") for value in (origin, host, content_type))
            self._origins.check_origin(*texts)
        caller = self._access.caller(authorization, api_key, needs_key=scope["path"] not in self._open_paths)
        scope["auth"] = caller
        if not is_probe:
            client = scope["client"]
            self._rate.take(caller.name or (client[0] if client else ""))

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Around a route, which is known here: `app` answers it."""

        async def admitted(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != ScopeType.HTTP:
                await app(scope, receive, send)
                return
            handler = scope["route_handler"]
            try:
                permit(scope["auth"], handler, scope["method"])
                if scope["method"] in BODYLESS and handler.opt.get(NEEDS) == NO_KEY:
                    await app(scope, receive, send)
                else:
                    await self._admit(app, scope, receive, send)
            except PlatformError as error:
                await self._refuse(scope, send, error)

        return admitted

    async def _admit(self, app: ASGIApp, scope: HTTPScope, receive: Receive, send: Send) -> None:
        declared = 0
        for name, value in scope["headers"]:
            if name == b"content-length":
                declared = int(value[:20]) if value.isdigit() else 0
        self._load.expect(declared)
        if scope["method"] in BODYLESS and not declared:
            await self._answer(app, scope, _NO_BODY, receive, send)
            return
        body = _Body(self._load)
        try:
            try:
                async with asyncio.timeout(self._limits.body_seconds):
                    message = await body.read(receive)
            except TimeoutError:
                raise SlowBody(
                    f"the body did not arrive within {self._limits.body_seconds:g} seconds. Send it faster, or less of it."
                ) from None
            await self._answer(app, scope, message, receive, send)
        finally:
            body.give_back()

    async def _answer(self, app: ASGIApp, scope: HTTPScope, message: Message, receive: Receive, send: Send) -> None:
        self._load.enter()
        try:
            await app(scope, _replayed(message, receive), send)
        finally:
            self._load.requests -= 1

    def count_refusal(self, error: PlatformError) -> None:
        self._refusals.labels(type(error).__name__).inc()

    async def _refuse(self, scope: HTTPScope, send: Send, error: PlatformError) -> None:
        shaped = self._shapes.shaped(scope["path"], refusal_of(scope["method"], scope["path"], error))
        self.count_refusal(error)
        content = shaped.content.encode() if isinstance(shaped.content, str) else msgspec.json.encode(shaped.content)
        headers = {"content-type": shaped.media_type, "content-length": str(len(content)), **shaped.headers}
        if isinstance(error, SlowBody):
            headers["connection"] = "close"  # the rest of that body is not waited for
        encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        start: Any = {"type": "http.response.start", "status": shaped.status, "headers": encoded}
        await send(start)
        await send({"type": "http.response.body", "body": content, "more_body": False})

    def _log_line(self, scope: HTTPScope, method: str, route: str, status: int, seconds: float) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        fields = {
            "method": method,
            "route": route,
            "status": status,
            "milliseconds": round(1_000 * seconds, 3),
            "request_id": headers.get(b"x-request-id", "")[:200],
            "traceparent": headers.get(b"traceparent", "")[:55],
        }
        level = logging.WARNING if status >= 500 else logging.INFO
        _log.log(level, "%(method)s %(route)s %(status)d in %(milliseconds).3f ms", fields, extra={"fields": fields})


class _Body:
    """The body of one request, and the bytes that are taken on for it until they are given back."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._held = 0

    async def read(self, receive: Receive) -> Message:
        """The whole of it in one message. Raises MalformedBody, BodyTooLarge or Overloaded."""
        chunks: list[bytes] = []
        while True:
            message: Message = await receive()
            if message["type"] != "http.request":
                raise MalformedBody("the client went away before its body was complete.")
            more = len(message["body"])
            self._load.hold(self._held, more)
            self._held += more
            if not message["more_body"] and not chunks:
                return message
            chunks.append(message["body"])
            if not message["more_body"]:
                return {"type": "http.request", "body": b"".join(chunks), "more_body": False}

    def give_back(self) -> None:
        self._load.bytes -= self._held
        self._held = 0


def _replayed(message: Message, receive: Receive) -> Receive:
    is_given = False

    async def again() -> Any:
        nonlocal is_given
        if is_given:
            return await receive()  # what comes after a body is that the client goes away
        is_given = True
        return message

    return again
