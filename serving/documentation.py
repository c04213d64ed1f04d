"""What the OpenAPI document says of a route whose body we read ourselves."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from litestar import Response
from litestar.dto import AbstractDTO, DTOFieldDefinition
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody
from litestar.typing import FieldDefinition

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
    """What a route may answer instead. container: the type of its errors' bodies."""
    return {
        status: ResponseSpec(container, description=text, media_type=media_type, generate_examples=False)
        for status, text in REFUSALS.items()
    }


def refusing(handlers: Sequence[HTTPRouteHandler], responses: Mapping[int, ResponseSpec]) -> Sequence[HTTPRouteHandler]:
    """The handlers, documented to answer so as well."""
    for handler in handlers:
        handler.responses = dict(responses)
    return handlers


def body_type(container: Any) -> Any:
    """An annotation for `data` that is documented as JSON of this type."""
    generic: Any = JSONBody  # and subscripted at run time, with a type that is made from the product
    return generic[container]


def raw(function: Any, container: Any, answer: Any) -> Any:
    """A handler that gets its body's bytes as `data`, documented as JSON of one type and answering with another."""
    response: Any = Response
    function.__annotations__ |= {"data": body_type(container), "return": response[answer]}
    return function


def strict_body(decode: Callable[[bytes, Mapping[str, str]], Any]) -> type[AbstractDTO[Any]]:
    """`decode` gets the bytes and the headers; what the handler is annotated with is only documented.

    Litestar's own decoding turns texts into numbers and stops at the first fault."""

    class StrictBody(AbstractDTO[Any]):
        @classmethod
        def create_for_field_definition(cls, *_: object, **__: object) -> None:
            """Nothing to generate: the struct is the transfer type."""

        @classmethod
        def create_openapi_schema(cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any) -> Any:
            return schema_creator.for_field_definition(field_definition)

        @classmethod
        def generate_field_definitions(cls, model_type: type[Any]) -> Iterator[DTOFieldDefinition]:  # type: ignore[override]
            yield from ()

        @classmethod
        def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
            return False

        def decode_bytes(self, value: bytes) -> Any:
            return decode(value, self.asgi_connection.headers)

    return StrictBody


def _as_it_is(body: bytes, _: Mapping[str, str]) -> bytes:
    return body


RawBody = strict_body(_as_it_is)
