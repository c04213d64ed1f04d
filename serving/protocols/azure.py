"""Azure ML: a scoring route, a liveness and a readiness route, at the paths that its inference_config names.

https://learn.microsoft.com/azure/machine-learning/how-to-deploy-custom-container. Bodies are `input_data` with columns
and data, as Azure ML sends to MLflow models, or as a list of rows, or `data` with a list of rows. Azure ML calls the
container; its client library never does, so the contract is HTTP.
"""

from typing import Any

import msgspec
from litestar import Request, Response, Router, get, post
from msgspec import UNSET, UnsetType

from serving.access import NEEDS, NO_KEY, Role
from serving.documentation import RawBody, raw, refusals, refusing
from serving.error_shapes import Refusal, Shaped
from serving.errors import MalformedBody, ready_status
from serving.model_store import ModelStore
from serving.platforms import AZURE_LIVE, AZURE_READY, AZURE_SCORE
from serving.protocols.scoring import Scoring, Scorings, media_type_of, records, request_id_of
from serving.protocols.tables import Row, from_records, from_split, read_json


class InputData(msgspec.Struct):
    columns: list[str]
    data: list[list[Any]]
    index: list[Any] = []


class AzureRequest(msgspec.Struct, omit_defaults=True):
    """One of them."""

    input_data: InputData | list[dict[str, Any]] | UnsetType = UNSET
    data: list[dict[str, Any]] | UnsetType = UNSET


class ErrorDetail(msgspec.Struct):
    code: str
    message: str


class AzureError(msgspec.Struct):
    error: ErrorDetail


def error_shape(refusal: Refusal) -> Shaped:
    """As Azure's services write their errors."""
    code = refusal.title.title().replace(" ", "")
    return Shaped(AzureError(ErrorDetail(code, refusal.detail)), refusal.status)


def routes(scorings: Scorings, models: ModelStore, *, needs: str = Role.PREDICT) -> Router:
    """needs: what /score asks of its caller; Azure ML has no key to send."""

    @get(AZURE_LIVE, opt={NEEDS: NO_KEY}, summary="The process answers", sync_to_thread=False)
    def live() -> dict[str, str]:
        return {"status": "alive"}

    @get(AZURE_READY, opt={NEEDS: NO_KEY}, summary="The champion is open and warm", sync_to_thread=False)
    def ready() -> Response[dict[str, str]]:
        return Response(
            {"status": "ready" if models.is_ready else "not ready"}, status_code=ready_status(models.is_ready)
        )

    async def score(data: bytes, request: Request[Any, Any, Any]) -> Response[bytes]:
        scoring = scorings.only()
        media_type_of(request)
        rows = read_rows(scoring, read_json(data))
        request_id = request_id_of(request, "x-ms-client-request-id", "x-ms-request-id", "x-request-id")
        answer = await scoring.answer(rows, request_id)
        headers = {"x-ms-client-request-id": request_id, "x-ms-run-function-failed": "False"}
        return Response(msgspec.json.encode(records(answer)), media_type="application/json", headers=headers)

    route = post(
        AZURE_SCORE,
        opt={NEEDS: needs},
        summary="Predict, as Azure ML asks",
        status_code=200,
        dto=RawBody,
        return_dto=None,
    )(raw(score, AzureRequest, list[dict[str, Any]]))
    return Router("/", route_handlers=refusing([live, ready, route], refusals(AzureError)), tags=["azure ml"])


def read_rows(scoring: Scoring, content: Any) -> list[Row]:
    """Raises MalformedBody: the body has neither of the forms."""
    if isinstance(content, dict):
        table = content.get("input_data", content.get("data"))
        if isinstance(table, dict):
            return from_split(table.get("columns"), table.get("data"))
        if isinstance(table, list):
            return from_records(scoring.schema, table)
    raise MalformedBody('send {"input_data": {"columns": [names], "data": [[values], ...]}} or {"data": [{...}, ...]}.')
