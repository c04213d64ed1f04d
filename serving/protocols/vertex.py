"""Vertex AI: `instances` in, `predictions` out, on the routes and the port that its AIP_ variables name.

https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements. Vertex AI calls the container; its
client library never does, so the contract is HTTP. `parameters` are accepted and have no meaning here.
"""

from typing import Any

import msgspec
from litestar import Request, Response, Router, get

from serving.access import NEEDS, NO_KEY
from serving.documentation import raw_post, refusals, refusing
from serving.errors import MalformedBody
from serving.model_store import ModelStore
from serving.problems import Problem, Shaped
from serving.protocols.products import ServedProducts, media_type_of, readiness
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


def error_shape(problem: Problem) -> Shaped:
    """The form in which Google's APIs answer errors."""
    return Shaped(VertexError(ErrorDetail(problem.status, problem.detail)), problem.status)


def routes(products: ServedProducts, models: ModelStore, *, predict_route: str, health_route: str | None) -> Router:
    """health_route: None if another protocol already answers it. Vertex AI has no key to send."""

    @get(health_route or "/", opt={NEEDS: NO_KEY}, summary="The champion is open and warm", sync_to_thread=False)
    def health() -> Response[dict[str, str]]:
        return readiness(models)

    async def predict(data: bytes, request: Request[Any, Any, Any]) -> Response[bytes]:
        product = products.only()
        media_type_of(request)
        content = read_json(data)
        if not isinstance(content, dict) or "instances" not in content:
            raise MalformedBody('send {"instances": [{...}, ...]}, one object or list of values per row.')
        rows = from_records(product.schema, content["instances"])
        answer = await product.answer(rows, request, "x-request-id")
        written = VertexAnswer(answer.predictions, f"{answer.product}-{answer.version}")
        return Response(msgspec.json.encode(written), media_type="application/json")

    route = raw_post(
        predict_route,
        predict,
        needs=NO_KEY,
        summary="Predict, in Vertex AI's format",
        body=VertexRequest,
        answer=VertexAnswer,
    )
    handlers = [route] if health_route is None else [health, route]
    return Router("/", route_handlers=refusing(handlers, refusals(VertexError)), tags=["vertex ai"])
