"""Observation of every request: its trace, its count and time and, where MLOPS_LOG_REQUESTS is set, a line in the log."""

import logging
import time
from functools import cache
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from mlops_assets.errors import PlatformError
from serving.access import NEEDS, NO_KEY
from serving.metrics import Metrics
from serving.telemetry import Tracer

_log = logging.getLogger("serving.requests")
BODYLESS = frozenset({"GET", "HEAD", "OPTIONS"})


class Observation:
    """The outermost ASGI application. app: the application that answers the requests.

    log_requests: log one line for each request; failures are logged in any case."""

    app: ASGIApp

    def __init__(self, metrics: Metrics, tracer: Tracer, *, log_requests: bool) -> None:
        # labels() takes a lock and costs as much as counting, so each set of labels is looked up once
        self._requests = cache(metrics.requests.labels)
        self._seconds = cache(metrics.request_seconds.labels)
        self._refusals = metrics.refusals
        self._tracer = tracer
        self._log_requests = log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        method = scope["method"]
        if method == "HEAD":
            scope = {**scope}  # the inner layers change the method to GET, and the server reads its own scope again
        status = 500  # the server's answer if no application answers

        async def send_observed(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._tracer.request(scope) as end_span:
            await self.app(scope, receive, send_observed)
            end_span(status)
        seconds = time.perf_counter() - started
        # Unmatched paths share one label; otherwise a port scan would create thousands of series.
        route = str(scope.get("path_template") or "unmatched")
        self._requests(route, status).inc()
        self._seconds(route).observe(seconds)
        if self._log_requests or (status >= 500 and not _is_probe(scope)):
            _log_line(scope, method, route, status, seconds)

    def count_refusal(self, error: PlatformError) -> None:
        """For requests that reach no route."""
        self._refusals.labels(type(error).__name__).inc()


def _is_probe(scope: HTTPScope) -> bool:
    """A probe that is answered 'not ready' is no failure."""
    handler = scope.get("route_handler")
    return handler is not None and handler.opt.get(NEEDS) == NO_KEY and scope["method"] in BODYLESS


def _log_line(scope: HTTPScope, method: str, route: str, status: int, seconds: float) -> None:
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
