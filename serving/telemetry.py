"""Traces with OpenTelemetry: one server span per request, which continues the caller's trace.

OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) turns them on; all other variables are OpenTelemetry's own,
and the packages are the extra `telemetry`. Without traces a request costs only one extra method call.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from litestar.types import HTTPScope

from mlops_assets.errors import DeclarationError

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


EndSpan = Callable[[int], None]  # called with the status of the answer


class Tracer(Protocol):
    def request(self, scope: HTTPScope) -> AbstractContextManager[EndSpan]: ...

    def close(self) -> None: ...


class NoTracer:
    """Traces nothing, for a server without OpenTelemetry."""

    _nothing: AbstractContextManager[EndSpan] = nullcontext(lambda _: None)

    def request(self, scope: HTTPScope) -> AbstractContextManager[EndSpan]:
        return self._nothing

    def close(self) -> None:
        """There is nothing to close."""


class OpenTelemetryTracer:
    """Sends spans to an OTLP collector over HTTP, in batches and from a thread of its own."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("mlops-assets.serving")

    @contextmanager
    def request(self, scope: HTTPScope) -> Iterator[EndSpan]:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with self._tracer.start_as_current_span(
            scope["method"],
            context=TraceContextTextMapPropagator().extract(carrier),
            kind=trace.SpanKind.SERVER,
            attributes={"http.request.method": scope["method"], "url.path": scope["path"]},
        ) as span:

            def end(status: int) -> None:
                route = str(scope.get("path_template") or "unmatched")
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.route", route)
                span.set_attribute("http.response.status_code", status)

            yield end

    def close(self) -> None:
        """Sends the spans that wait."""
        self._provider.shutdown()


def tracer_from(environment: Mapping[str, str]) -> Tracer:
    """Raises DeclarationError: an endpoint is set, and the packages are not installed."""
    if not any(environment.get(name) for name in ENDPOINTS):
        return NoTracer()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise DeclarationError(
            f"{' or '.join(ENDPOINTS)} is set, but {error.name} is not installed. Install mlops-assets[telemetry]."
        ) from None
    name = environment.get("OTEL_SERVICE_NAME") or "mlops-assets"
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OpenTelemetryTracer(provider)
