"""SageMaker: the container's side is /ping and /invocations on port 8080; boto3's side is /endpoints/<name>/invocations.

https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html. In an endpoint, SageMaker calls the
container. Without one, `boto3.client("sagemaker-runtime", endpoint_url=…)` reaches this server itself, the endpoint's
name being the product's. Bodies are those of `/invocations`, or JSON lines; answers are JSON, JSON lines or CSV, as
`Accept` asks.
"""

import csv
import io
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response, Router
from litestar.params import FromPath

from serving.access import Role
from serving.documentation import raw_post, refusals, refusing
from serving.problems import Problem, Shaped
from serving.protocols import mlflow
from serving.protocols.products import ServedProduct, ServedProducts, media_type_of
from serving.protocols.tables import Row, from_records, read_json
from serving.schemas import Answer

PATH = "/endpoints"
JSON_LINES = ("application/jsonlines", "application/x-jsonlines", "application/jsonl")
CSV = "text/csv"


class SageMakerError(msgspec.Struct):
    Message: str
    OriginalStatusCode: int


def error_shape(problem: Problem) -> Shaped:
    """The form in which the SageMaker runtime answers errors: the type in a header, the sentence in `Message`."""
    other = ("ValidationError", 400) if problem.status < HTTPStatus.INTERNAL_SERVER_ERROR else ("InternalFailure", 500)
    kind, status = {
        HTTPStatus.SERVICE_UNAVAILABLE: ("ServiceUnavailable", 503),
        HTTPStatus.TOO_MANY_REQUESTS: ("ThrottlingException", 429),
        HTTPStatus.UNAUTHORIZED: ("AccessDeniedException", 403),
        HTTPStatus.FORBIDDEN: ("AccessDeniedException", 403),
    }.get(HTTPStatus(problem.status), other)
    return Shaped(SageMakerError(problem.detail, problem.status), status, headers={"x-amzn-errortype": kind})


def routes(products: ServedProducts) -> Router:
    async def invoke_endpoint(data: bytes, endpoint: FromPath[str], request: Request[Any, Any, Any]) -> Response[bytes]:
        product = products.named(endpoint)
        rows = read_rows(product, media_type_of(request), data)
        answer = await product.answer(rows, request, "x-amzn-sagemaker-inference-id", "x-request-id")
        accepted = request.headers.get("x-amzn-sagemaker-accept") or request.headers.get("accept") or ""
        content, media_type = write(answer, accepted)
        headers = {
            "x-amzn-invoked-production-variant": f"version-{answer.version}",
            "x-amzn-requestid": answer.request_id,
        }
        return Response(content, media_type=media_type, headers=headers)

    route = raw_post(
        "/{endpoint:str}/invocations",
        invoke_endpoint,
        needs=Role.PREDICT,
        summary="Predict, in the format of boto3",
        body=mlflow.Invocations,
        answer=mlflow.Predictions,
    )
    return Router(PATH, route_handlers=refusing([route], refusals(SageMakerError)), tags=["sagemaker"])


def read_rows(product: ServedProduct, kind: str, body: bytes) -> list[Row]:
    if kind in JSON_LINES:
        return from_records(product.schema, [read_json(line) for line in body.splitlines() if line.strip()])
    return mlflow.read_rows(product, kind, body)


def write(answer: Answer, accepted: str) -> tuple[bytes, str]:
    """The predictions in the first accepted format that this server supports, else JSON."""
    for kind in (part.partition(";")[0].strip().lower() for part in accepted.split(",")):
        if kind in JSON_LINES:
            return b"".join(msgspec.json.encode(item) + b"\n" for item in answer.predictions), kind
        if kind == CSV:
            return _csv([msgspec.to_builtins(item) for item in answer.predictions]), CSV
    return msgspec.json.encode({"predictions": answer.predictions}), "application/json"


def _csv(predictions: Sequence[dict[str, Any]]) -> bytes:
    """A header and one line per row. Warnings are left out, and probabilities become one column per class."""
    flat = [
        {name: value for name, value in item.items() if name not in ("warnings", "features", "probabilities")}
        | item.get("probabilities", {})
        for item in predictions
    ]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(flat[0]))
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue().encode()
