"""What the OpenAPI document says of routes whose bodies this API decodes itself."""

from collections.abc import Mapping, Sequence
from typing import Any

from litestar import Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody

from serving.access import NEEDS
from serving.decoding import RawBody

REFUSALS = {
    400: "no JSON, or not what the route takes",
    401: "no key, or an unknown one",
    403: "a key without the role",
    404: "no such product or version",
    408: "the body did not arrive in time",
    409: "the version cannot explain its answers",
    413: "too many rows, or bytes",
    415: "not JSON, or compressed",
    422: "rows that do not fit",
    429: "above the rate",
    500: "the model or the API failed",
    503: "no champion, or too many requests in flight",
}


def refusals(container: Any, media_type: str = "application/json") -> dict[int, ResponseSpec]:
    """The errors that a route may answer. container: the type of their bodies."""
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
    generic: Any = JSONBody  # it is subscripted at run time, with a type that is made from the product
    return generic[container]


def raw_post(
    path: str | list[str], function: Any, *, needs: str, summary: str, body: Any, answer: Any
) -> HTTPRouteHandler:
    """A route whose handler gets the bytes of its body as `data`. body, answer: the types that are documented."""
    response: Any = Response
    function.__annotations__ |= {"data": body_type(body), "return": response[answer]}
    return post(path, opt={NEEDS: needs}, summary=summary, status_code=200, dto=RawBody, return_dto=None)(function)
