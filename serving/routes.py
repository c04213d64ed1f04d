"""The routes of this API: each passes a request on to the service that answers it."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter
from litestar.types import ASGIApp, Receive, Scope, Send

from mlops_assets.errors import StoreError
from mlops_assets.products.feature_view import FeatureView
from mlops_assets.products.product import ModelProduct
from serving import information
from serving.access import ANY_KEY, NEEDS, NO_KEY, Role
from serving.decoding import strict_body
from serving.documentation import body_type, refusals, refusing
from serving.ids import new_id, trace_id_of
from serving.prediction_service import PredictionRequest
from serving.problems import PROBLEM_JSON, Problem, ready_status
from serving.schemas import Answer, RequestStruct
from serving.scoring import ANSWERS
from serving.services import Services
from serving.workers import memory_by_worker

MOST_BYTES = 64 * 2**20  # of a body, on a route that several products share
BYTES_PER_ROW = 2_000
PROBLEMS = refusals(Problem, PROBLEM_JSON)
_encode = msgspec.json.Encoder().encode


def predict_path(product: str) -> str:
    return f"/v1/models/{product}/predict"


def predict_route(services: Services, name: str) -> HTTPRouteHandler:
    """`POST /v1/models/<product>/predict`, typed with the product's own fields."""
    product, router = services.products[name], services.routers[name]

    async def predict(
        data: RequestStruct,
        request: Request[Any, Any, Any],
        features: Annotated[bool, QueryParameter(description="return the features of every row as well")] = False,
        explain: Annotated[bool, QueryParameter(description="return each feature's contribution to every row")] = False,
    ) -> Response[Any]:
        prediction_request = PredictionRequest(
            data.rows, *_ids(request), with_features=features, with_explanation=explain
        )
        return AnswerResponse(await router.submit(prediction_request))

    # the types are built from the product, so they cannot be written above
    response: Any = Response
    predict.__annotations__ |= {
        "data": body_type(services.bodies[name].request),
        "return": response[ANSWERS[product.task].answer],
    }
    return post(
        predict_path(name),
        name=f"predict_{name}",
        operation_id=f"predict_{name}",
        opt={NEEDS: Role.PREDICT},
        summary=f"Predict {product.label.name}",
        description=product.description,
        tags=[name],
        status_code=200,
        dto=strict_body(services.decoders[name].decode),
        return_dto=None,
        request_max_body_size=max(100_000, BYTES_PER_ROW * product.serving.max_rows),
        responses=PROBLEMS,
    )(predict)


@post(
    "/v1/models/{product:str}/versions/{version:int}/predict",
    opt={NEEDS: Role.PREDICT},
    tags=["models"],
    summary="Predict with a version that was deployed earlier",
    description="Body and answer are those of the product's own predict route.",
    status_code=200,
    request_max_body_size=MOST_BYTES,
)
async def predict_version(
    request: Request[Any, Any, Any], product: FromPath[str], version: FromPath[int], services: NamedDependency[Services]
) -> Response[Any]:
    services.product(product)
    rows = services.decoders[product].decode(await request.body(), request.headers).rows
    prediction_request = PredictionRequest(rows, *_ids(request), version=version)
    return AnswerResponse(await services.routers[product].submit(prediction_request))


def _ids(request: Request[Any, Any, Any]) -> tuple[str, str]:
    """The id of the request, a new one where the client sends none, and the id of its trace."""
    request_id = request.headers.get("x-request-id", "")[:200] or new_id()
    return request_id, trace_id_of(request.headers.get("traceparent", ""))


class AnswerResponse(Response[Answer]):
    """An answer as JSON. Litestar's own response handles cookies, hooks and media types, which answers do not have; that takes
    a tenth of the time of a request with one row."""

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
async def predict_unknown(product: FromPath[str], services: NamedDependency[Services]) -> None:
    """Reached only for unknown products, as every product has its own route."""
    services.product(product)


@get(
    "/v1/models",
    opt={NEEDS: Role.PREDICT},
    tags=["models"],
    summary="All products and the versions that serve",
    sync_to_thread=False,
)
def list_models(services: NamedDependency[Services]) -> information.ModelList:
    summaries = []
    for name, product in services.products.items():
        state = services.models.state(name)
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
    summary="A product and the version that serves",
    sync_to_thread=True,
)
def model_information(product: FromPath[str], services: NamedDependency[Services]) -> information.ModelInformation:
    declared = services.product(product)
    state = services.models.state(product)
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
        ledger_error=services.models.poll_error,
        inputs=list(_inputs(declared)),
        online_features=[_view(services, declared, view) for view in declared.lookups],
        prediction_log=_log_information(services),
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
def ready(services: NamedDependency[Services]) -> Response[information.Readiness]:
    is_ready = services.models.is_ready
    states = {name: services.models.state(name) for name in services.products}
    body = information.Readiness(
        "ready" if is_ready else "not ready",
        {name: state.name for name, state in states.items()},
        services.broken,
        {name: state.swap_error for name, state in states.items() if state.swap_error is not None},
        services.models.poll_error,
        _log_information(services),
    )
    return Response(body, status_code=ready_status(is_ready))


@get(
    "/metrics",
    opt={NEEDS: ANY_KEY},
    summary="Metrics, for Prometheus",
    media_type="text/plain; version=0.0.4",
    sync_to_thread=True,
)
def read_metrics(services: NamedDependency[Services]) -> bytes:
    services.sampling.sample()  # the gauges of this worker; those of others are up to a tenth of a second old
    return services.metrics.exposition()


@get("/", opt={NEEDS: ANY_KEY}, include_in_schema=False, sync_to_thread=False)
def addresses() -> information.Addresses:
    return information.Addresses(
        "/v1/models", "/schema", "/schema/openapi.json", "/health/live", "/health/ready", "/reports"
    )


COMMON = (
    addresses,
    predict_unknown,
    *refusing((list_models, model_information, predict_version, live, ready, read_metrics), PROBLEMS),
)


def _inputs(product: ModelProduct) -> Iterator[information.InputInformation]:
    for view in product.features:
        for feature in view.features:
            source = f"online store: {view.name}" if view.is_batch else "request"
            yield information.InputInformation(feature.name, feature.kind, feature.unit, feature.description, source)


def _view(services: Services, product: ModelProduct, view: FeatureView) -> information.ViewInformation:
    try:
        newest = services.online.freshness(product.name, view)
    except StoreError:
        newest = None  # predictions name the outage in their warnings
    seconds = view.time_to_live.total_seconds() if view.time_to_live else None
    return information.ViewInformation(view.name, view.key, seconds, newest)


def _log_information(services: NamedDependency[Services]) -> information.LogInformation:
    return information.LogInformation(**asdict(services.log.health))
