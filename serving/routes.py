"""The routes: what is asked, who answers it, and nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.types import ASGIApp, Receive, Scope, Send

from mlops_assets.errors import StoreError, UnknownProduct
from mlops_assets.products.feature_view import FeatureView
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.online_store import OnlineStore
from mlops_assets.state.prediction_log import PredictionLog
from mlops_assets.state.workspace import ProductState
from serving import information
from serving.access import ANY_KEY, NEEDS, NO_KEY, Role
from serving.answers import answer_type
from serving.challenged import Predicting
from serving.decoding import BodyDecoder
from serving.documentation import refusals, refusing, strict_body
from serving.error_shapes import PROBLEM_JSON, Problem
from serving.errors import ready_status
from serving.ids import new_id, trace_id_of
from serving.model_store import ModelStore
from serving.schemas import Answer, BodySchema, RequestStruct, RowStruct
from serving.workers import memory_by_worker

MOST_BYTES = 64 * 2**20  # of a body for a route that is not a product's own
BYTES_PER_ROW = 2_000
_encode = msgspec.json.Encoder().encode


class Served:
    """What the routes talk to; no dataclass, or Litestar would check its fields at every request."""

    def __init__(
        self,
        states: Sequence[ProductState],
        models: ModelStore,
        online: OnlineStore,
        log: PredictionLog,
        predictors: Mapping[str, Predicting],
        decoders: Mapping[str, BodyDecoder],
    ) -> None:
        self.states = {state.product.name: state for state in states}
        self.products = {state.product.name: state.product for state in states}
        self.models = models
        self.online = online
        self.log = log
        self.predictors = predictors
        self.decoders = decoders

    def product(self, name: str) -> ModelProduct:
        """Raises UnknownProduct."""
        if name not in self.products:
            raise UnknownProduct(name, self.products)
        return self.products[name]

    def state_of(self, name: str) -> ProductState:
        """Raises UnknownProduct."""
        return self.states[self.product(name).name]


def predict_path(product: str) -> str:
    return f"/v1/models/{product}/predict"


def predict_route(schema: BodySchema, decoder: BodyDecoder, predictor: Predicting) -> HTTPRouteHandler:
    """`POST /v1/models/<product>/predict`, typed with the product's own fields."""
    product = schema.product

    async def predict(
        data: RequestStruct,
        request: Request[Any, Any, Any],
        features: Annotated[bool, QueryParameter(description="answer the features of every row as well")] = False,
        explain: Annotated[bool, QueryParameter(description="say how much each feature moved every row")] = False,
    ) -> Response[Any]:
        return await _answer(predictor, request, data.rows, with_features=features, with_explanation=explain)

    # the types are made from the product, so they cannot be written down above
    predict.__annotations__ |= _types(schema.request, answer_type(product.task))
    return post(
        predict_path(product.name),
        name=f"predict_{product.name}",
        operation_id=f"predict_{product.name}",
        opt={NEEDS: Role.PREDICT},
        summary=f"Predict {product.label.name}",
        description=product.description,
        tags=[product.name],
        status_code=200,
        dto=strict_body(decoder.decode),
        return_dto=None,
        request_max_body_size=_most_bytes(schema),
        responses=refusals(Problem, PROBLEM_JSON),
    )(predict)


@post(
    "/v1/models/{product:str}/versions/{version:int}/predict",
    opt={NEEDS: Role.PREDICT},
    tags=["models"],
    summary="Predict by a version that was deployed once, whatever serves now",
    description="Body and answer are those of the product's own predict route.",
    status_code=200,
    request_max_body_size=MOST_BYTES,
)
async def predict_version(
    request: Request[Any, Any, Any], product: FromPath[str], version: FromPath[int], served: NamedDependency[Served]
) -> Response[Any]:
    served.product(product)
    rows = served.decoders[product].decode(await request.body(), request.headers).rows
    return await _answer(served.predictors[product], request, rows, version=version)


def _most_bytes(schema: BodySchema) -> int:
    """Largest body of the product's predict route."""
    return max(100_000, BYTES_PER_ROW * schema.product.serving.max_rows)


async def _answer(
    predictor: Predicting, request: Request[Any, Any, Any], rows: Sequence[RowStruct], **options: Any
) -> Response[Any]:
    request_id = request.headers.get("x-request-id", "")[:200] or new_id()
    trace_id = trace_id_of(request.headers.get("traceparent", ""))
    return AnswerResponse(await predictor.predict(rows, request_id, trace_id=trace_id, **options))


class AnswerResponse(Response[Answer]):
    """An answer as JSON, sent as it is: the cookies, hooks and media types that Litestar's own response looks for are about
    a tenth of a request for one row, and an answer has none of them."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer, status_code=200)
        self._body = _encode(answer)

    def to_asgi_response(self, *_: object, **__: object) -> ASGIApp:  # type: ignore[override]
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(self._body)),
            (b"x-request-id", self.content.request_id.encode("latin-1", "replace")),
        ]

        async def send_answer(scope: Scope, receive: Receive, send: Send) -> None:
            start: Any = {"type": "http.response.start", "status": self.status_code, "headers": headers}
            await send(start)
            await send({"type": "http.response.body", "body": self._body, "more_body": False})

        return send_answer


@post("/v1/models/{product:str}/predict", opt={NEEDS: Role.PREDICT}, include_in_schema=False)
async def predict_unknown(product: FromPath[str], served: NamedDependency[Served]) -> None:
    """Only reached for products that have no route of their own."""
    served.product(product)


@get(
    "/v1/models",
    opt={NEEDS: Role.PREDICT},
    tags=["models"],
    summary="Every product and what serves it",
    sync_to_thread=False,
)
def list_models(served: NamedDependency[Served]) -> information.ModelList:
    summaries = []
    for name, product in served.products.items():
        state = served.models.state(name)
        version = state.model.bundle.manifest.version if state.model else None
        address = f"/v1/models/{name}"
        summaries.append(
            information.ModelSummary(name, product.description, state.name, version, address, f"{address}/predict")
        )
    workers = [
        information.WorkerInformation(process, round(size / 1e6, 1)) for process, size in memory_by_worker().items()
    ]
    return information.ModelList(summaries, workers)


@get(
    "/v1/models/{product:str}",
    opt={NEEDS: Role.PREDICT},
    tags=["models"],
    summary="What serves a product",
    sync_to_thread=True,
)
def model_information(product: FromPath[str], served: NamedDependency[Served]) -> information.ModelInformation:
    declared = served.product(product)
    state = served.models.state(product)
    version = None
    if state.model is not None:
        manifest = state.model.bundle.manifest
        version = information.VersionInformation(
            manifest.version,
            manifest.partition,
            state.model.deployed_at,
            state.model.reason,
            manifest.estimator,
            manifest.rows,
            manifest.metrics,
        )
    return information.ModelInformation(
        product=product,
        description=declared.description,
        owner=declared.owner,
        task=declared.task,
        state=state.name,
        label=declared.label.name,
        label_unit=declared.label.unit,
        predict=predict_path(product),
        version=version,
        last_swap_error=state.swap_error,
        ledger_error=served.models.poll_error,
        inputs=list(_inputs(declared)),
        online_features=[_view(served, declared, view) for view in declared.lookups],
        prediction_log=_log_information(served),
    )


@get("/health/live", opt={NEEDS: NO_KEY}, tags=["health"], summary="The process answers", sync_to_thread=False)
def live() -> information.Liveness:
    return information.Liveness("alive")


@get(
    "/health/ready",
    opt={NEEDS: NO_KEY},
    tags=["health"],
    summary="Every champion is open and warm",
    sync_to_thread=False,
)
def ready(served: NamedDependency[Served]) -> Response[information.Readiness]:
    is_ready = served.models.is_ready
    states = {name: served.models.state(name) for name in served.products}
    body = information.Readiness(
        "ready" if is_ready else "not ready",
        {name: state.name for name, state in states.items()},
        {name: state.swap_error for name, state in states.items() if state.swap_error is not None},
        served.models.poll_error,
        _log_information(served),
    )
    return Response(body, status_code=ready_status(is_ready))


@get("/", opt={NEEDS: ANY_KEY}, include_in_schema=False, sync_to_thread=False)
def addresses() -> information.Addresses:
    return information.Addresses(
        "/v1/models", "/schema", "/schema/openapi.json", "/health/live", "/health/ready", "/reports"
    )


COMMON = (
    addresses,
    predict_unknown,
    *refusing((list_models, model_information, predict_version, live, ready), refusals(Problem, PROBLEM_JSON)),
)


def _types(body: Any, answer: Any) -> dict[str, Any]:
    aliases: dict[str, Any] = {"data": JSONBody, "return": Response}  # generic, and subscripted at run time
    return {"data": aliases["data"][body], "return": aliases["return"][answer]}


def _inputs(product: ModelProduct) -> Iterator[information.InputInformation]:
    for view in product.features:
        for feature in view.features:
            source = f"online store: {view.name}" if view.is_lookup else "request"
            yield information.InputInformation(feature.name, feature.kind, feature.unit, feature.description, source)


def _view(served: Served, product: ModelProduct, view: FeatureView) -> information.ViewInformation:
    try:
        newest = served.online.freshness(product.name, view)
    except StoreError:
        newest = None  # predictions name the outage in their warnings
    seconds = view.time_to_live.total_seconds() if view.time_to_live else None
    return information.ViewInformation(view.name, view.key, seconds, newest)


def _log_information(served: NamedDependency[Served]) -> information.LogInformation:
    return information.LogInformation(**asdict(served.log.health))
