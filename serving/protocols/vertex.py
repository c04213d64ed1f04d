"""Vertex AI: `instances` in, `predictions` out, on the routes and the port that its AIP_ variables name.

https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements. Vertex AI calls the container; its
client library never does, so the contract is HTTP. `parameters` are accepted and have no meaning here.
"""

from typing import Any

import msgspec
from litestar import Request, Response, Router, get, post

from serving.access import NEEDS, NO_KEY
from serving.documentation import RawBody, raw, refusals, refusing
from serving.error_shapes import Refusal, Shaped
from serving.errors import MalformedBody, ready_status
from serving.model_store import ModelStore
from serving.protocols.scoring import Scorings, media_type_of, records, request_id_of
from serving.protocols.tables import from_records, read_json


class VertexAnswer(msgspec.Struct):
    predictions: list[Any]
    deployedModelId: str  # noqa: N815 (the protocol's word)


class VertexRequest(msgspec.Struct):
    instances: list[dict[str, Any]]
    parameters: dict[str, Any] = {}


class ErrorDetail(msgspec.Struct):
    code: int
    message: str


class VertexError(msgspec.Struct):
    error: ErrorDetail


def error_shape(refusal: Refusal) -> Shaped:
    """As Google's APIs write their errors."""
    return Shaped(VertexError(ErrorDetail(refusal.status, refusal.detail)), refusal.status)


def routes(scorings: Scorings, models: ModelStore, *, predict_route: str, health_route: str | None) -> Router:
    """health_route: None where another protocol answers it already. Vertex AI has no key to send."""

    @get(health_route or "/", opt={NEEDS: NO_KEY}, summary="The champion is open and warm", sync_to_thread=False)
    def health() -> Response[dict[str, str]]:
        return Response(
            {"status": "ready" if models.is_ready else "not ready"}, status_code=ready_status(models.is_ready)
        )

    async def predict(data: bytes, request: Request[Any, Any, Any]) -> Response[bytes]:
        scoring = scorings.only()
        media_type_of(request)
        content = read_json(data)
        if not isinstance(content, dict) or "instances" not in content:
            raise MalformedBody('send {"instances": [{...}, ...]}, one object or list of values per row.')
        rows = from_records(scoring.schema, content["instances"])
        answer = await scoring.answer(rows, request_id_of(request, "x-request-id"))
        written = VertexAnswer(records(answer), f"{answer.product}-{answer.version}")
        return Response(msgspec.json.encode(written), media_type="application/json")

    route = post(
        predict_route,
        opt={NEEDS: NO_KEY},
        summary="Predict, as Vertex AI asks",
        status_code=200,
        dto=RawBody,
        return_dto=None,
    )(raw(predict, VertexRequest, VertexAnswer))
    handlers = [route] if health_route is None else [health, route]
    return Router("/", route_handlers=refusing(handlers, refusals(VertexError)), tags=["vertex ai"])
