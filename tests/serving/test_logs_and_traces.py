"""Structured logs, and traces to a collector where one is named."""

import io
import json
import logging
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from examples.flights.flight_delay import flight_delay
from mlops_assets.state.workspace import Workspace
from serving.logs import JsonFormatter
from serving.telemetry import NoTracer, tracer_from
from tests.serving.running_api import Json, a_server
from tests.tiny_bundle import deploy_tiny


def line(record: logging.LogRecord) -> Json:
    found: Json = json.loads(JsonFormatter().format(record))
    return found


def test_a_log_line_is_one_json_object_with_its_fields() -> None:
    record = logging.LogRecord("serving.requests", logging.INFO, "", 0, "%d rows\nof %s", (3, "a"), None)
    record.fields = {"status": 200}

    written = line(record)

    assert {name: written[name] for name in ("level", "logger", "message", "status")} == {
        "level": "info",
        "logger": "serving.requests",
        "message": "3 rows\nof a",
        "status": 200,
    }
    assert written["time"].endswith("Z")
    assert "\n" not in JsonFormatter().format(record)


def test_a_log_line_holds_the_trace_of_an_exception() -> None:
    try:
        raise ValueError("no such thing")
    except ValueError:
        record = logging.LogRecord("serving", logging.ERROR, "", 0, "failed", (), sys.exc_info())

    assert "ValueError: no such thing" in line(record)["exception"]


class Collector(HTTPServer):
    """Takes OTLP over HTTP and keeps what it got."""

    def __init__(self) -> None:
        self.got: list[ExportTraceServiceRequest] = []
        super().__init__(("127.0.0.1", 0), Taking)


class Taking(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            import gzip

            body = gzip.decompress(body)
        self.server.got.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_request_is_a_span_of_the_caller_s_trace_and_a_line_in_the_log(
    workspace: Workspace, row: Json, collector: Collector
) -> None:
    deploy_tiny(workspace.of(flight_delay))
    trace = "0af7651916cd43dd8448eb211c80319c"
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        "MLOPS_LOG": "json",
        "MLOPS_LOG_REQUESTS": "1",
    }
    with tempfile.TemporaryFile("w+") as output:
        with a_server(workspace, output, **variables) as server:
            httpx.post(
                f"{server.address}/v1/models/flight_delay/predict",
                json={"rows": [row]},
                headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01", "x-request-id": "mine"},
            ).raise_for_status()
            server.stop()
        output.seek(0)
        lines = [json.loads(text) for text in io.StringIO(output.read())]

    spans = [
        span
        for got in collector.got
        for resource in got.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    (mine,) = [span for span in spans if span.trace_id.hex() == trace]
    attributes = {pair.key: pair.value for pair in mine.attributes}
    assert mine.name == "POST /v1/models/flight_delay/predict"
    assert attributes["http.response.status_code"].int_value == 200
    (logged,) = [each for each in lines if each.get("request_id") == "mine"]
    assert (logged["status"], logged["route"]) == (200, "/v1/models/flight_delay/predict")
    assert trace in logged["traceparent"]


def test_without_a_collector_nothing_is_traced() -> None:
    assert isinstance(tracer_from({}), NoTracer)
