"""Admission of requests: who sends them, how fast, to which route, and whether the whole body has arrived.

The first half runs before routing: host, origin, key, rate. The second half runs after it, as middleware, because the matched
route says which role it needs. A body is read here, whole and within its limits, before the request counts as in flight, so
a client that sends slowly, or stops, holds its connection and nothing else.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from mlops_assets.errors import PlatformError
from serving.access import NEEDS, NO_KEY, Access, permit
from serving.errors import MalformedBody, MalformedRequest, SlowBody
from serving.limits import Limits, Load, Rate
from serving.observation import BODYLESS
from serving.origins import Origins
from serving.problems import Problems

Message = Any  # none of Litestar's types for ASGI messages matches what servers send and accept
_NO_BODY: Message = {"type": "http.request", "body": b"", "more_body": False}


class Admission:
    """An ASGI application around `app`, the router, and with `middleware` around each of its routes.

    open_paths: the paths whose routes need no key. refused: called with the reason of each refusal."""

    app: ASGIApp
    open_paths: frozenset[str] = frozenset()

    def __init__(
        self,
        access: Access,
        origins: Origins,
        limits: Limits,
        load: Load,
        problems: Problems,
        refused: Callable[[PlatformError], None],
    ) -> None:
        self._access = access
        self._origins = origins
        self._limits = limits
        self._load = load
        self._rate = Rate(limits.rate, time.monotonic)
        self._problems = problems
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        # probes are answered under any load; otherwise an orchestrator would end a busy worker
        is_probe = scope["path"] in self.open_paths and scope["method"] in BODYLESS
        if scope["method"] == "HEAD":  # RFC 9110 9.3.2: answered as GET, without the content
            scope["method"] = "GET"
            send = _without_content(send)
        try:
            self._identify(scope, is_probe)
            await self.app(scope, receive, send)
        except PlatformError as error:
            await self._refuse(scope, send, error)

    def _identify(self, scope: HTTPScope, is_probe: bool) -> None:
        """Stores the caller in `scope["auth"]`.

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
            raise MalformedRequest("the path contains a zero byte, which no path of this server does.")
        if hosts and not is_probe:
            self._origins.check_host(host.decode("latin-1"))
        if origin and scope["method"] not in BODYLESS:
            texts = (value.decode("latin-1") for value in (origin, host, content_type))
            self._origins.check_origin(*texts)
        caller = self._access.caller(authorization, api_key, needs_key=scope["path"] not in self.open_paths)
        scope["auth"] = caller
        if not is_probe:
            client = scope["client"]
            self._rate.take(caller.name or (client[0] if client else ""))

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """Lets requests through to a matched route that their caller may use."""

        async def admit(scope: Scope, receive: Receive, send: Send) -> None:
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

        return admit

    async def _admit(self, route: ASGIApp, scope: HTTPScope, receive: Receive, send: Send) -> None:
        declared = 0
        for name, value in scope["headers"]:
            if name == b"content-length":
                declared = int(value[:20]) if value.isdigit() else 0
        self._load.expect(declared)
        if scope["method"] in BODYLESS and not declared:
            await self._answer(route, scope, _NO_BODY, receive, send)
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
            await self._answer(route, scope, message, receive, send)
        finally:
            body.release()

    async def _answer(self, route: ASGIApp, scope: HTTPScope, message: Message, receive: Receive, send: Send) -> None:
        self._load.enter()
        try:
            await route(scope, _replayed(message, receive), send)
        finally:
            self._load.requests -= 1

    async def _refuse(self, scope: HTTPScope, send: Send, error: PlatformError) -> None:
        self._refused(error)
        shaped = self._problems.answer(scope["method"], scope["path"], error)
        content = shaped.content.encode() if isinstance(shaped.content, str) else msgspec.json.encode(shaped.content)
        headers = {"content-type": shaped.media_type, "content-length": str(len(content)), **shaped.headers}
        if isinstance(error, SlowBody):
            headers["connection"] = "close"  # the server does not wait for the rest of that body
        encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        start: Message = {"type": "http.response.start", "status": shaped.status, "headers": encoded}
        await send(start)
        await send({"type": "http.response.body", "body": content, "more_body": False})


class _Body:
    """The body of one request. Its bytes count as buffered until they are released."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffered = 0

    async def read(self, receive: Receive) -> Message:
        """The whole body in one message. Raises MalformedBody, BodyTooLarge or Overloaded."""
        chunks: list[bytes] = []
        while True:
            message: Message = await receive()
            if message["type"] != "http.request":
                raise MalformedBody("the client went away before its body was complete.")
            size = len(message["body"])
            self._load.hold(self._buffered, size)
            self._buffered += size
            if not message["more_body"] and not chunks:
                return message
            chunks.append(message["body"])
            if not message["more_body"]:
                return {"type": "http.request", "body": b"".join(chunks), "more_body": False}

    def release(self) -> None:
        self._load.bytes -= self._buffered
        self._buffered = 0


def _replayed(message: Message, receive: Receive) -> Receive:
    """Returns the body that was already read, and then the server's next message, which says that the client went away."""
    has_returned_body = False

    async def replay() -> Any:
        nonlocal has_returned_body
        if has_returned_body:
            return await receive()
        has_returned_body = True
        return message

    return replay


def _without_content(send: Send) -> Send:
    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_head
