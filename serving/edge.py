"""The outermost layer: keys, limits, whole bodies, counts, one log line; one pass for every route, native or not.

A body is read here, whole and within its limits, before a request counts as in flight: a client that sends slowly, or
stops, holds its connection and nothing else. What is refused here costs no route anything.
"""

import asyncio
import logging
import time
from typing import Any

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from mlops_assets.errors import PlatformError
from serving.access import PROBES, Access
from serving.error_shapes import Shapes
from serving.errors import MalformedBody, SlowBody, refusal_of
from serving.limits import Limits, Load, Rate
from serving.metrics import Metrics
from serving.telemetry import Tracer

_log = logging.getLogger("serving.requests")
Message = Any  # of Litestar's types for ASGI messages none matches what a server really sends and takes
_NO_BODY: Message = {"type": "http.request", "body": b"", "more_body": False}
BODYLESS = frozenset({"GET", "HEAD", "OPTIONS"})


class Edge:
    """An ASGI application around another one. log_requests: one line for each; failures are logged in any case."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        access: Access,
        limits: Limits,
        load: Load,
        shapes: Shapes,
        metrics: Metrics,
        tracer: Tracer,
        log_requests: bool,
    ) -> None:
        self.inner = app
        self._access = access
        self._limits = limits
        self._load = load
        self._rate = Rate(limits.rate, time.monotonic)
        self._shapes = shapes
        self._metrics = metrics
        self._tracer = tracer
        self._log_requests = log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.inner(scope, receive, send)
            return
        await self._http(scope, receive, send)

    async def _http(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        path = scope["path"]
        status = 500  # what the server answers where nobody answered

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._tracer.request(scope) as span:
            if path in PROBES:  # answers under any load, or an orchestrator would end a busy worker
                await self.inner(scope, receive, sending)
            else:
                try:
                    await self._guarded(scope, receive, sending)
                except PlatformError as error:
                    await self._refuse(scope, sending, error)
            span.end(scope, status)
        seconds = time.perf_counter() - started
        # only known once the request was routed; what is nowhere has one name, or a scan would make thousands
        route = str(scope.get("path_template") or "unmatched")
        self._metrics.add(("mlops_requests", route, str(status)))
        self._metrics.histogram(("mlops_request_seconds", route)).append(seconds)
        if self._log_requests or (status >= 500 and path not in PROBES):
            self._log_line(scope, route, status, seconds)

    async def _guarded(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        authorization = api_key = b""
        declared = 0
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value
            elif name == b"x-api-key":
                api_key = value
            elif name == b"content-length":
                declared = int(value[:20]) if value.isdigit() else 0
        self._access.check(scope["path"], authorization, api_key)
        client = scope["client"]
        self._rate.take(api_key or authorization or (client[0] if client else ""))
        self._load.expect(declared)
        held = 0
        message: Message
        try:
            if scope["method"] in BODYLESS and not declared:
                message = _NO_BODY
            else:
                message = await receive()
                if message["type"] == "http.request":
                    held = len(message["body"])
                    self._load.hold(0, held)
                    if message["more_body"]:
                        message, held = await self._rest(message["body"], receive, held)
            self._load.enter()
            try:
                await self.inner(scope, _replayed(message, receive), send)
            finally:
                self._load.requests -= 1
        finally:
            self._load.bytes -= held

    async def _rest(self, first: bytes, receive: Receive, held: int) -> tuple[Message, int]:
        """The whole body in one message. Whatever ends this early gives back the bytes it took on."""
        chunks = [first]
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while True:
                    message: Message = await receive()
                    if message["type"] != "http.request":
                        raise MalformedBody("the client went away before its body was complete.")
                    more = len(message["body"])
                    self._load.hold(held, more)
                    held += more
                    chunks.append(message["body"])
                    if not message["more_body"]:
                        break
        except TimeoutError:
            self._load.bytes -= held - len(first)
            raise SlowBody(
                f"the body did not arrive within {self._limits.body_seconds:g} seconds. Send it faster, or less of it."
            ) from None
        except PlatformError:
            self._load.bytes -= held - len(first)
            raise
        return {"type": "http.request", "body": b"".join(chunks), "more_body": False}, held

    async def _refuse(self, scope: HTTPScope, send: Send, error: PlatformError) -> None:
        shaped = self._shapes.shaped(scope["path"], refusal_of(scope["method"], scope["path"], error))
        self._metrics.add(("mlops_refusals", type(error).__name__))
        content = shaped.content.encode() if isinstance(shaped.content, str) else msgspec.json.encode(shaped.content)
        headers = {"content-type": shaped.media_type, "content-length": str(len(content)), **shaped.headers}
        if isinstance(error, SlowBody):
            headers["connection"] = "close"  # the rest of that body is not waited for
        encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        start: Any = {"type": "http.response.start", "status": shaped.status, "headers": encoded}
        await send(start)
        await send({"type": "http.response.body", "body": content, "more_body": False})

    def _log_line(self, scope: HTTPScope, route: str, status: int, seconds: float) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        fields = {
            "method": scope["method"],
            "route": route,
            "status": status,
            "milliseconds": round(1_000 * seconds, 3),
            "request_id": headers.get(b"x-request-id", "")[:200],
            "traceparent": headers.get(b"traceparent", "")[:55],
        }
        level = logging.WARNING if status >= 500 else logging.INFO
        _log.log(level, "%(method)s %(route)s %(status)d in %(milliseconds).3f ms", fields, extra={"fields": fields})


def _replayed(message: Message, receive: Receive) -> Receive:
    is_given = False

    async def again() -> Any:
        nonlocal is_given
        if is_given:
            return await receive()  # what comes after a body is that the client goes away
        is_given = True
        return message

    return again
