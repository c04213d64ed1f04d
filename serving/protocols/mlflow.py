"""MLflow's scoring protocol, which `mlflow models serve` speaks: /ping, /health, /version, /invocations.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/#local-inference-server-spec. It names no model, so it
needs a server with one product. SageMaker's containers have the same paths, and their bodies are read here as well.
"""

from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response, Router, get
from litestar.openapi.datastructures import ResponseSpec
from msgspec import UNSET, UnsetType

from serving.access import NEEDS, NO_KEY, Role
from serving.documentation import raw_post, refusals, refusing
from serving.errors import MalformedBody, UnsupportedBody
from serving.model_store import ModelStore
from serving.problems import Problem, Shaped
from serving.protocols.products import ServedProduct, ServedProducts, media_type_of, readiness
from serving.protocols.tables import Row, from_columns, from_csv, from_records, from_split, read_json

INVOCATIONS = "/invocations"
PATHS = ("/ping", "/health", "/version", INVOCATIONS)
PROTOCOL_VERSION = "3.17.0"  # of the MLflow whose protocol this is; clients compare it
FORMATS = ("dataframe_split", "dataframe_records", "inputs", "instances")
JSON, CSV = "application/json", "text/csv"
_CODES = {
    HTTPStatus.BAD_REQUEST: "BAD_REQUEST",
    HTTPStatus.UNPROCESSABLE_ENTITY: "INVALID_PARAMETER_VALUE",
    HTTPStatus.UNAUTHORIZED: "UNAUTHENTICATED",
    HTTPStatus.FORBIDDEN: "PERMISSION_DENIED",
    HTTPStatus.NOT_FOUND: "ENDPOINT_NOT_FOUND",
    HTTPStatus.TOO_MANY_REQUESTS: "REQUEST_LIMIT_EXCEEDED",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "MAX_BLOCK_SIZE_EXCEEDED",
    HTTPStatus.SERVICE_UNAVAILABLE: "TEMPORARILY_UNAVAILABLE",
}


class MlflowError(msgspec.Struct):
    error_code: str
    message: str


class Invocations(msgspec.Struct, omit_defaults=True):
    """Exactly one of these fields."""

    dataframe_split: dict[str, list[Any]] | UnsetType = UNSET
    dataframe_records: list[dict[str, Any]] | UnsetType = UNSET
    inputs: dict[str, list[Any]] | list[dict[str, Any]] | UnsetType = UNSET
    instances: list[dict[str, Any]] | UnsetType = UNSET


class Predictions(msgspec.Struct):
    """One object per row, as in the answer of the native route."""

    predictions: list[dict[str, Any]]


def error_shape(problem: Problem) -> Shaped:
    """The form of an MlflowException, except that MLflow answers 415 in plain text and rows that do not fit with 400."""
    if problem.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        return Shaped(problem.detail, problem.status, "text/plain")
    status = HTTPStatus(problem.status)
    code = _CODES.get(status, "INTERNAL_ERROR" if status >= 500 else "BAD_REQUEST")
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        status = HTTPStatus.BAD_REQUEST
    return Shaped(MlflowError(code, problem.detail), status)


def routes(products: ServedProducts, models: ModelStore, *, needs: str = Role.PREDICT) -> Router:
    """needs: the role for /invocations; SageMaker has no key to send."""

    @get(
        ["/ping", "/health"],
        opt={NEEDS: NO_KEY},
        summary="Every champion is open and warm",
        media_type=JSON,
        sync_to_thread=False,
    )
    def ping() -> Response[dict[str, str]]:
        return readiness(models)

    @get(
        "/version",
        opt={NEEDS: Role.PREDICT},
        summary="MLflow's version, for its clients",
        media_type="text/plain",
        sync_to_thread=False,
    )
    def version() -> str:
        return PROTOCOL_VERSION

    async def invocations(data: bytes, request: Request[Any, Any, Any]) -> Response[bytes]:
        product = products.only()
        kind = media_type_of(request)
        rows = read_rows(product, kind, data)
        answer = await product.answer(rows, request, "x-request-id")
        return Response(msgspec.json.encode({"predictions": answer.predictions}), media_type=JSON)

    invocations_route = raw_post(
        INVOCATIONS,
        invocations,
        needs=needs,
        summary="Predict, in MLflow's formats",
        body=Invocations,
        answer=Predictions,
    )
    documented = refusals(MlflowError) | {
        415: ResponseSpec(str, description="neither JSON nor CSV", media_type="text/plain", generate_examples=False)
    }
    handlers = [ping, version, invocations_route]
    return Router("/", route_handlers=refusing(handlers, documented), tags=["mlflow"])


def read_rows(product: ServedProduct, kind: str, body: bytes) -> list[Row]:
    """Raises UnsupportedBody: neither JSON nor CSV. Raises MalformedBody: not exactly one of the formats."""
    if kind == CSV:
        return from_csv(product.schema, body)
    if kind != JSON:
        raise UnsupportedBody(f"This predictor only supports the content types {JSON} and {CSV}. Got {kind[:100]!r}.")
    content = read_json(body)
    fields = [name for name in FORMATS if isinstance(content, dict) and name in content]
    if len(fields) != 1:
        keys = f"has keys {', '.join(sorted(map(str, content)))[:200]}" if isinstance(content, dict) else "is not one"
        raise MalformedBody(
            f"The input must be a JSON dictionary with exactly one of the input fields {', '.join(FORMATS)}; it {keys}."
        )
    table = content[fields[0]]
    if fields[0] == "dataframe_split":
        parts = table if isinstance(table, dict) else {}
        return from_split(parts.get("columns"), parts.get("data"))
    # the field `inputs` has the columns of a table, or its rows
    return from_columns(table) if isinstance(table, dict) else from_records(product.schema, table)
