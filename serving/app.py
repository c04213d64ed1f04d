"""The prediction API, composed: `create_app(settings)`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
from litestar import Litestar
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Tag
from litestar.static_files import create_static_files_router

from mlops_assets.errors import PlatformError, UnknownProduct
from mlops_assets.products.catalog import CATALOG
from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.clock import WatchedClock
from mlops_assets.stores.home import Home
from mlops_assets.stores.model_bundle import Bundle
from mlops_assets.stores.prediction_log import PredictionLog
from serving import errors, routes
from serving.answers import Predictor
from serving.decoding import BodyDecoder
from serving.fast_path import Endpoint, FastPath
from serving.model_store import ModelStore
from serving.observer import NoObserver, Observer
from serving.openapi_page import OpenAPIPage
from serving.schemas import body_schema
from serving.scoring import Scorer
from serving.settings import Settings


def create_app(
    settings: Settings, products: Sequence[ModelProduct] = CATALOG, observer: Observer | None = None
) -> Litestar:
    """Serve these products, or just the pinned one. Raises DeclarationError: one of them cannot be served."""
    if settings.pinned is not None:
        products = [_named(settings.pinned.product, products)]
    home = Home(settings.home)
    online = home.online  # kept: it holds one connection per thread
    clock = WatchedClock(home.clock_file)
    observer = observer or NoObserver()
    log = PredictionLog(
        settings.prediction_log,
        flush_seconds=min(product.serving.flush_milliseconds for product in products) / 1_000,
    )
    bodies = {product.name: body_schema(product) for product in products}
    scorers = {product.name: Scorer(product, online) for product in products}

    def warm_up(product: ModelProduct, bundle: Bundle) -> None:
        body = bodies[product.name]
        # a model can be taken up while the online store is away
        looked_up = {name: None for view in product.lookups for name in view.names}
        content = msgspec.json.encode({"rows": [{**looked_up, **body.example_row()}]})
        scorers[product.name].score(bundle, BodyDecoder(body).decode_json(content).rows)

    models = ModelStore(products, home.ledger, warm_up, pinned=settings.pinned, poll_seconds=settings.poll_seconds)

    predictors = {
        product.name: Predictor(
            product,
            scorers[product.name],
            models,
            log,
            clock.now,
            observer=observer,
            most_waiting_rows=settings.queue_rows,
        )
        for product in products
    }

    served = routes.Served(products, models, online, log, predictors, bodies)

    @asynccontextmanager
    async def running(_: Litestar) -> AsyncIterator[None]:
        models.start()
        try:
            yield
        finally:
            models.stop()
            for predictor in predictors.values():
                predictor.close()
            log.close()

    home.reports.mkdir(parents=True, exist_ok=True)
    app = Litestar(
        [
            *(routes.predict_route(bodies[name], predictor) for name, predictor in predictors.items()),
            *routes.COMMON,
            create_static_files_router("/reports", [home.reports], html_mode=True, include_in_schema=False),
        ],
        dependencies={"served": Provide(lambda: served, sync_to_thread=False)},
        exception_handlers={
            PlatformError: errors.from_platform_error,
            HTTPException: errors.from_http_exception,
            Exception: errors.from_bug,
        },
        lifespan=[running],
        openapi_config=OpenAPIConfig(
            title="Predictions",
            version="1",
            description="Predictions of the deployed champions.",
            tags=[Tag(product.name, product.description) for product in products],
            path="/schema",
            render_plugins=[OpenAPIPage(path="/")],
        ),
        logging_config=None,
    )
    app.asgi_handler = FastPath(
        app.asgi_handler,
        {routes.predict_path(name): Endpoint(bodies[name], predictor) for name, predictor in predictors.items()},
        observer,
    )
    return app


def _named(name: str, products: Sequence[ModelProduct]) -> ModelProduct:
    for product in products:
        if product.name == name:
            return product
    raise UnknownProduct(name, [product.name for product in products])
