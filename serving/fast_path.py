"""The predict routes without the framework: bytes in, bytes out, for requests that can be answered as they are.

A route of Litestar costs twice what a request costs the server, and as much as everything else in it. So the common
request (POST, no query, JSON) is answered here. All others, and every refusal, go to Litestar's typed route with the
body that was read, which knows how to say no; it also makes the OpenAPI document.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from mlops_assets.errors import PlatformError
from serving.challenged import Predicting
from serving.decoding import BodyDecoder
from serving.ids import new_id
from serving.observer import DECODE, Observer
from serving.schemas import BodySchema

REFUSAL = "mlops_refusal"  # in the ASGI scope: why the request was refused after its body was found to be right
BYTES_PER_ROW = 2_000
_encode = msgspec.json.Encoder().encode
_Message = dict[str, Any]


@dataclass(frozen=True)
class Endpoint:
    schema: BodySchema
    predictor: Predicting


class FastPath:
    """An ASGI application in front of another one."""

    def __init__(self, app: Any, endpoints: Mapping[str, Endpoint], observer: Observer) -> None:
        self._app = app
        self._observer = observer
        self._endpoints = {
            path: (item.schema.product.name, BodyDecoder(item.schema), item.predictor, most_bytes(item.schema))
            for path, item in endpoints.items()
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        endpoint = self._endpoints.get(scope["path"]) if scope["type"] == "http" else None
        if endpoint is None or scope["method"] != "POST" or scope["query_string"]:
            await self._app(scope, receive, send)
            return
        product, decoder, predictor, limit = endpoint
        request_id, trace_id, is_plain = b"", "", False
        for name, value in scope["headers"]:
            if name == b"content-type":
                is_plain = value == b"application/json"
            elif name == b"x-request-id":
                request_id = value[:200]
            elif name == b"traceparent":
                trace_id = trace_id_of(value.decode("latin-1"))
            elif name == b"content-encoding":
                is_plain = False
                break
        if not is_plain:
            await self._app(scope, receive, send)
            return
        messages = [await receive()]
        body = messages[0].get("body", b"")
        while messages[-1].get("more_body") and len(body) <= limit:
            messages.append(await receive())
            body += messages[-1].get("body", b"")
        if messages[-1]["type"] != "http.request" or len(body) > limit or not body:
            await self._app(scope, _replayed(messages, receive), send)
            return
        try:
            started = time.perf_counter()
            request = decoder.decode_json(body)
            self._observer.stage(product, DECODE, time.perf_counter() - started)
        except PlatformError:
            await self._app(scope, _replayed(messages, receive), send)
            return
        request_id = request_id or new_id().encode()
        try:
            answer = await predictor.predict(request.rows, request_id.decode("latin-1"), trace_id=trace_id)
        except Exception as error:  # noqa: BLE001 (the typed route knows what each means to a client)
            scope[REFUSAL] = error
            await self._app(scope, _replayed(messages, receive), send)
            return
        scope["path_template"] = scope["path"]
        content = _encode(answer)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(content)),
            (b"x-request-id", request_id),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def most_bytes(schema: BodySchema) -> int:
    """Largest body of the product's predict routes."""
    return max(100_000, BYTES_PER_ROW * schema.product.serving.max_rows)


def trace_id_of(traceparent: str) -> str:
    """W3C Trace Context: version-trace id-parent id-flags; empty where it is none."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) >= 4 and len(parts[1]) == 32 and parts[1].isalnum() else ""


def _replayed(messages: list[_Message], receive: Any) -> Any:
    """What was received already, then the rest."""
    waiting = iter(messages)

    async def replay() -> _Message:
        for message in waiting:
            return message
        found: _Message = await receive()
        return found

    return replay
