"""Open Inference Protocol v2, as KServe and Triton speak it: one tensor per column (`tensors.py`).

https://github.com/kserve/open-inference-protocol
"""

from importlib.metadata import version as version_of
from typing import Any

import msgspec
from litestar import Request, Response, Router, get
from litestar.params import FromPath

from mlops_assets.products.source import Kind
from mlops_assets.products.task import Task
from mlops_assets.state.manifest import Manifest
from serving.access import NEEDS, NO_KEY, Role
from serving.documentation import raw_post, refusals, refusing
from serving.errors import UnknownVersion
from serving.model_store import ModelStore
from serving.problems import Problem, Shaped, ready_status
from serving.protocols.products import ServedProduct, ServedProducts, media_type_of
from serving.protocols.tables import from_columns
from serving.protocols.tensors import HEADER_LENGTH, InferenceAnswer, InferenceRequest, read_request, write_answer

PATH = "/v2"
DATATYPES = {
    Kind.STRING: "BYTES",
    Kind.TIMESTAMP: "BYTES",  # ISO 8601 with its zone
    Kind.INTEGER: "INT64",
    Kind.FLOAT: "FP64",
    Kind.BOOLEAN: "BOOL",
}


class InferenceError(msgspec.Struct):
    error: str


def error_shape(problem: Problem) -> Shaped:
    return Shaped(InferenceError(problem.detail), problem.status)


def routes(products: ServedProducts, models: ModelStore) -> Router:
    @get("/", opt={NEEDS: Role.PREDICT}, summary="Name and version of this server", sync_to_thread=False)
    def server() -> dict[str, Any]:
        return {"name": "mlops-assets", "version": version_of("mlops-assets"), "extensions": ["binary_tensor_data"]}

    @get("/health/live", opt={NEEDS: NO_KEY}, summary="The process answers", sync_to_thread=False)
    def live() -> dict[str, bool]:
        return {"live": True}

    @get("/health/ready", opt={NEEDS: NO_KEY}, summary="Every champion is open and warm", sync_to_thread=False)
    def ready() -> Response[dict[str, bool]]:
        return Response({"ready": models.is_ready}, status_code=ready_status(models.is_ready))

    @get(
        ["/models/{model:str}/ready", "/models/{model:str}/versions/{version:str}/ready"],
        opt={NEEDS: Role.PREDICT},
        summary="The model answers",
    )
    async def model_ready(model: FromPath[str], request: Request[Any, Any, Any]) -> dict[str, Any]:
        await _manifest(products.named(model), models, request.path_params.get("version"))
        return {"name": model, "ready": True}

    @get(
        ["/models/{model:str}", "/models/{model:str}/versions/{version:str}"],
        opt={NEEDS: Role.PREDICT},
        summary="Inputs and outputs of a model",
    )
    async def metadata(model: FromPath[str], request: Request[Any, Any, Any]) -> dict[str, Any]:
        product = products.named(model)
        manifest = await _manifest(product, models, request.path_params.get("version"))
        inputs = [
            {"name": field.name, "datatype": DATATYPES[field.kind], "shape": [-1]} for field in product.schema.fields
        ]
        return {
            "name": model,
            "versions": [str(manifest.version)],
            "platform": "onnx",
            "inputs": inputs,
            "outputs": _outputs_of(manifest),
        }

    async def infer(data: bytes, model: FromPath[str], request: Request[Any, Any, Any]) -> Response[bytes]:
        product = products.named(model)
        version = _version(request.path_params.get("version"))
        media_type_of(request)
        inference, columns = read_request(data, request.headers.get(HEADER_LENGTH))
        answer = await product.answer(
            from_columns(columns), request, "x-request-id", request_id=inference.id, version=version
        )
        content, json_length = write_answer(inference, answer)
        headers = {} if json_length is None else {HEADER_LENGTH: str(json_length)}
        media_type = "application/json" if json_length is None else "application/octet-stream"
        return Response(content, headers=headers, media_type=media_type)

    infer_route = raw_post(
        ["/models/{model:str}/infer", "/models/{model:str}/versions/{version:str}/infer"],
        infer,
        needs=Role.PREDICT,
        summary="Predict, one tensor per column",
        body=InferenceRequest,
        answer=InferenceAnswer,
    )
    return Router(
        PATH,
        route_handlers=refusing([server, live, ready, model_ready, metadata, infer_route], refusals(InferenceError)),
        tags=["open inference protocol"],
    )


def _outputs_of(manifest: Manifest) -> list[dict[str, Any]]:
    score = {
        Task.BINARY: {"name": "probability", "datatype": "FP64", "shape": [-1]},
        Task.MULTICLASS: {"name": "probabilities", "datatype": "FP64", "shape": [-1, -1]},
        Task.REGRESSION: {"name": "value", "datatype": "FP64", "shape": [-1]},
    }[manifest.task]
    has_names = manifest.task is Task.MULTICLASS or tuple(map(str.lower, manifest.classes)) != ("false", "true")
    label = {"name": "label", "datatype": "BYTES" if has_names else "BOOL", "shape": [-1]}
    ids = {"name": "prediction_id", "datatype": "BYTES", "shape": [-1]}
    return [score, ids] if manifest.task is Task.REGRESSION else [score, label, ids]


def _version(text: str | None) -> int | None:
    if text is None:
        return None
    if text.isdecimal() and len(text) < 10:
        return int(text)
    raise UnknownVersion(f"versions are numbers, and {text[:100]!r} is not one.")


async def _manifest(product: ServedProduct, models: ModelStore, version_text: str | None) -> Manifest:
    """The manifest of the version that answers. Raises UnknownVersion: it was never deployed."""
    version = _version(version_text)
    model = models.model(product.name) if version is None else await models.version(product.name, version)
    return model.bundle.manifest
