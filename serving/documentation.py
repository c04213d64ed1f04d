"""The OpenAPI documentation of routes whose bodies this API decodes itself."""

from collections.abc import Mapping, Sequence
from typing import Any

from litestar import Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody

from serving.access import NEEDS
from serving.decoding import RawBody

REFUSALS = {
    400: "the body is not JSON, or not what the route takes",
    401: "the key is missing or unknown",
    403: "the key does not have the role",
    404: "the product or version does not exist",
    408: "the body did not arrive in time",
    409: "the version cannot explain its predictions",
    413: "too many rows or bytes",
    415: "the body is not JSON, or it is compressed",
    422: "rows do not fit the declaration",
    429: "the rate limit is exceeded",
    500: "the model or the API failed",
    503: "no champion is deployed, or too many requests are in flight",
}


def refusals(container: Any, media_type: str = "application/json") -> dict[int, ResponseSpec]:
    """The errors that a route may return. container: the type of their bodies."""
    return {
        status: ResponseSpec(container, description=text, media_type=media_type, generate_examples=False)
        for status, text in REFUSALS.items()
    }


def refusing(handlers: Sequence[HTTPRouteHandler], responses: Mapping[int, ResponseSpec]) -> Sequence[HTTPRouteHandler]:
    """Documents the errors of these handlers."""
    for handler in handlers:
        handler.responses = dict(responses)
    return handlers


def body_type(container: Any) -> Any:
    """An annotation for `data` that is documented as JSON of this type."""
    generic: Any = JSONBody  # it is subscripted at run time, with a type that is built from the product
    return generic[container]


def raw_post(
    path: str | list[str], function: Any, *, needs: str, summary: str, body: Any, answer: Any
) -> HTTPRouteHandler:
    """A route whose handler gets the bytes of its body as `data`. body, answer: the types that are documented."""
    response: Any = Response
    function.__annotations__ |= {"data": body_type(body), "return": response[answer]}
    return post(path, opt={NEEDS: needs}, summary=summary, status_code=200, dto=RawBody, return_dto=None)(function)
