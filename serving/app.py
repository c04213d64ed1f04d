"""The prediction API, composed: `create_app(settings)`."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import msgspec
from litestar import Litestar, Router, get
from litestar.concurrency import sync_to_thread
from litestar.datastructures import State
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Tag

from mlops_assets.errors import DeclarationError
from mlops_assets.products.catalog import Catalog, catalog
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.bundle import Bundle
from mlops_assets.state.clock import LOOK_SECONDS, WatchedClock
from serving import errors, routes
from serving.access import ANY_KEY, NEEDS, Access, Role
from serving.answers import Predictor
from serving.approvals import approvals_route
from serving.challenged import ChallengedPredictor
from serving.challengers import Challengers
from serving.decoding import BodyDecoder
from serving.documentation import refusals
from serving.edge import Edge
from serving.error_shapes import PROBLEM_JSON, Problem
from serving.labels import labels_route
from serving.limits import Load
from serving.metrics import Metrics
from serving.model_store import ModelStore
from serving.openapi_page import OpenAPIPage
from serving.origins import Origins, known_hosts
from serving.protocols.catalog import error_shapes, protocol_routes
from serving.protocols.scoring import Scoring
from serving.reports import reports_route
from serving.sampling import Sampling
from serving.schemas import body_schema
from serving.scoring import Scorer
from serving.settings import Settings
from serving.telemetry import tracer_from
from serving.versions import list_versions

FIRST_POLL_SECONDS = 2.0  # after that it says that it is loading; until then connections wait in the listener's queue

_log = logging.getLogger(__name__)


def create_app(settings: Settings, products: Sequence[ModelProduct] | None = None) -> Litestar:
    """Serve these products, or just the pinned one. Raises DeclarationError: one of them cannot be served."""
    wanted = settings.product if settings.pinned is None else settings.pinned.product
    known = catalog() if products is None else Catalog(tuple(products))
    products = known.products if wanted is None else [known.named(wanted)]
    if not products:
        raise DeclarationError(f"there is no product to serve. {known.looked_in}")
    if wanted is None:
        for broken in known.broken:
            _log.error("%s is not served: %s", broken.place, broken.sentence)
    workspace = settings.workspace
    states = [workspace.of(product) for product in products]
    online = workspace.online  # kept: it holds one connection per thread
    flush_seconds = min(product.serving.flush_milliseconds for product in products) / 1_000
    log = workspace.predictions(settings.log_kind, flush_seconds)
    metrics = Metrics()
    is_shared = workspace.is_shared
    clock = WatchedClock(
        workspace.objects, settings.poll_seconds if is_shared else LOOK_SECONDS, in_background=is_shared
    )
    bodies = {product.name: body_schema(product) for product in products}
    decoders = {
        name: BodyDecoder(body, metrics.stage_seconds.labels(name, "decode").observe) for name, body in bodies.items()
    }
    scorers = {product.name: Scorer(product, online) for product in products}

    def warm_up(product: ModelProduct, bundle: Bundle) -> None:
        body = bodies[product.name]
        # a model can be taken up while the online store is away
        looked_up = {name: None for view in product.lookups for name in view.names}
        content = msgspec.json.encode({"rows": [{**looked_up, **body.example_row()}]})
        scorers[product.name].score(bundle, BodyDecoder(body).decode_json(content).rows)

    models = ModelStore(
        states,
        warm_up,
        pinned=settings.pinned,
        poll_seconds=settings.poll_seconds,
    )
    labels = workspace.labels()

    def predictor(product: ModelProduct) -> ChallengedPredictor:
        answering, unseen = (
            Predictor(
                product,
                scorers[product.name],
                models,
                into,
                clock.microseconds,
                metrics,
                most_waiting_rows=settings.queue_rows,
            )
            for into in (log, shadow_log)
        )
        return ChallengedPredictor(
            product, answering, unseen, challengers, metrics.shadow_dropped.labels(product.name).inc
        )

    challenged = () if settings.pinned is not None else states
    challengers = Challengers(challenged, warm_up, poll_seconds=settings.poll_seconds)
    shadow_log = workspace.predictions("shadow", flush_seconds)
    predictors = {product.name: predictor(product) for product in products}
    served = routes.Served(states, models, online, log, predictors, decoders)
    limits = replace(settings.limits, rate=settings.limits.rate / settings.workers)  # of each of them
    load = Load(limits)
    sampling = Sampling(metrics, models, log, predictors, load)
    scorings = [Scoring(bodies[name], decoders[name], predictor) for name, predictor in predictors.items()]
    shapes = error_shapes(settings.platform)
    tracer = tracer_from(os.environ)

    @asynccontextmanager
    async def running(_: Litestar) -> AsyncIterator[None]:
        models.start()
        challengers.start()
        for event_log in (log, shadow_log, labels):
            event_log.start()  # what a killed process of this machine left is sealed, also where nothing is asked
        # of several workers on one port, one that is not ready would answer 503 beside others that are
        await sync_to_thread(models.wait_until_polled, FIRST_POLL_SECONDS)
        try:
            async with sampling.running():
                yield
        finally:
            for challenged_predictor in predictors.values():
                await challenged_predictor.close()
            # at once, as each of them may wait for a bucket that says nothing
            ends = (models.stop, challengers.stop, log.close, shadow_log.close, labels.close)
            await asyncio.gather(*map(sync_to_thread, ends))
            tracer.close()

    edge = Edge(
        access=Access(settings.keys, is_open=settings.needs_no_key),
        origins=Origins(known_hosts(settings.hosts, settings.host, needs_no_key=settings.needs_no_key)),
        limits=limits,
        load=load,
        shapes=shapes,
        metrics=metrics,
        tracer=tracer,
        log_requests=settings.log_requests,
    )
    approvals = approvals_route(states, clock.now, is_open=settings.needs_no_key)
    app = Litestar(
        [
            *(routes.predict_route(bodies[name], decoders[name], predictor) for name, predictor in predictors.items()),
            *protocol_routes(scorings, models, settings.platform),
            *(labels_route(product, models, labels, metrics, clock.now) for product in products),
            *routes.COMMON,
            Router("/", route_handlers=[approvals], opt={NEEDS: Role.APPROVE}),
            list_versions,
            metrics_route(metrics, sampling),
            reports_route(workspace.objects),
        ],
        dependencies={"served": Provide(lambda: served, sync_to_thread=False)},
        exception_handlers=errors.handlers(shapes),
        middleware=[edge.middleware],
        lifespan=[running],
        openapi_config=OpenAPIConfig(
            title="Predictions",
            version="1",
            description="Predictions of the deployed champions.",
            tags=[Tag(product.name, product.description) for product in products],
            openapi_router=Router("/schema", route_handlers=[], include_in_schema=False, opt={NEEDS: ANY_KEY}),
            render_plugins=[OpenAPIPage(path="/")],
        ),
        logging_config=None,
        state=State({"leave": models.leave, "refused": edge.count_refusal}),
    )
    edge.put_around(app)
    return app


def metrics_route(metrics: Metrics, sampling: Sampling) -> HTTPRouteHandler:
    @get(
        "/metrics",
        opt={NEEDS: ANY_KEY},
        summary="Metrics, for Prometheus",
        media_type="text/plain; version=0.0.4",
        sync_to_thread=True,
    )
    def read_metrics() -> bytes:
        sampling.sample()  # of this worker, now; of the others, a tenth of a second ago
        return metrics.exposition()

    read_metrics.responses = refusals(Problem, PROBLEM_JSON)
    return read_metrics
