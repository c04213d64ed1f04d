"""Azure ML: a scoring route, a liveness and a readiness route, at the paths that its inference_config names.

https://learn.microsoft.com/azure/machine-learning/how-to-deploy-custom-container. Bodies are `input_data` with columns
and data, as Azure ML sends to MLflow models, or as a list of rows, or `data` with a list of rows. Azure ML calls the
container; its client library never does, so HTTP is the contract.
"""

from typing import Any

import msgspec
from litestar import Request, Response, Router, get
from msgspec import UNSET, UnsetType

from serving.access import NEEDS, NO_KEY, Role
from serving.documentation import raw_post, refusals, refusing
from serving.errors import MalformedBody
from serving.model_store import ModelStore
from serving.platforms import AZURE_LIVE, AZURE_READY, AZURE_SCORE
from serving.problems import Problem, Shaped
from serving.protocols.products import ServedProduct, ServedProducts, media_type_of, readiness
from serving.protocols.tables import Row, from_records, from_split, read_json


class InputData(msgspec.Struct):
    columns: list[str]
    data: list[list[Any]]
    index: list[Any] = []


class AzureRequest(msgspec.Struct, omit_defaults=True):
    """Exactly one of the two fields."""

    input_data: InputData | list[dict[str, Any]] | UnsetType = UNSET
    data: list[dict[str, Any]] | UnsetType = UNSET


class ErrorDetail(msgspec.Struct):
    code: str
    message: str


class AzureError(msgspec.Struct):
    error: ErrorDetail


def error_shape(problem: Problem) -> Shaped:
    """The form in which Azure's services answer errors."""
    code = problem.title.title().replace(" ", "")
    return Shaped(AzureError(ErrorDetail(code, problem.detail)), problem.status)


def routes(products: ServedProducts, models: ModelStore, *, needs: str = Role.PREDICT) -> Router:
    """needs: the role for /score; Azure ML has no key to send."""

    @get(AZURE_LIVE, opt={NEEDS: NO_KEY}, summary="The process answers", sync_to_thread=False)
    def live() -> dict[str, str]:
        return {"status": "alive"}

    @get(AZURE_READY, opt={NEEDS: NO_KEY}, summary="The champion is open and warm", sync_to_thread=False)
    def ready() -> Response[dict[str, str]]:
        return readiness(models)

    async def score(data: bytes, request: Request[Any, Any, Any]) -> Response[bytes]:
        product = products.only()
        media_type_of(request)
        rows = read_rows(product, read_json(data))
        answer = await product.answer(rows, request, "x-ms-client-request-id", "x-ms-request-id", "x-request-id")
        headers = {"x-ms-client-request-id": answer.request_id, "x-ms-run-function-failed": "False"}
        return Response(msgspec.json.encode(answer.predictions), media_type="application/json", headers=headers)

    route = raw_post(
        AZURE_SCORE,
        score,
        needs=needs,
        summary="Predict, in Azure ML's format",
        body=AzureRequest,
        answer=list[dict[str, Any]],
    )
    return Router("/", route_handlers=refusing([live, ready, route], refusals(AzureError)), tags=["azure ml"])


def read_rows(product: ServedProduct, content: Any) -> list[Row]:
    """Raises MalformedBody: the body has none of these formats."""
    if isinstance(content, dict):
        table = content.get("input_data", content.get("data"))
        if isinstance(table, dict):
            return from_split(table.get("columns"), table.get("data"))
        if isinstance(table, list):
            return from_records(product.schema, table)
    raise MalformedBody('send {"input_data": {"columns": [names], "data": [[values], ...]}} or {"data": [{...}, ...]}.')
