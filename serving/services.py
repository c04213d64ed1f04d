"""The services that answer requests, built once from the settings, and started and stopped with the server."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import msgspec
from litestar import Litestar
from litestar.concurrency import sync_to_thread

from mlops_assets.errors import DeclarationError, UnknownProduct
from mlops_assets.products.catalog import Catalog, catalog
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.bundle import Bundle
from mlops_assets.state.clock import LOOK_SECONDS, WatchedClock
from mlops_assets.state.prediction_log import PredictionLog
from mlops_assets.state.workspace import ProductState
from serving.challengers import Challengers
from serving.decoding import BodyDecoder
from serving.limits import Load
from serving.metrics import Metrics
from serving.model_store import ModelStore
from serving.prediction_service import PredictionService
from serving.rollout import RolloutRouter
from serving.sampling import Sampling
from serving.schemas import BodySchema, body_schema
from serving.scoring import Scorer
from serving.settings import Settings

# until the first poll has opened the champions, connections wait this long in the listener's queue
FIRST_POLL_SECONDS = 2.0

_log = logging.getLogger(__name__)


class Services:
    """Not a dataclass, because Litestar would check its fields with every request. Raises DeclarationError: a product cannot
    be served."""

    def __init__(self, settings: Settings, products: Sequence[ModelProduct] | None, metrics: Metrics) -> None:
        workspace = settings.workspace
        served = _served(settings, products)
        self.products = {product.name: product for product in served.products}
        self.broken = {broken.name: broken.sentence for broken in served.broken}
        self.states = {name: workspace.of(product) for name, product in self.products.items()}
        states = tuple(self.states.values())
        self.objects = workspace.objects
        self.online = workspace.online  # shared, because it has one connection per thread
        self.clock = WatchedClock(
            workspace.objects,
            settings.poll_seconds if workspace.is_shared else LOOK_SECONDS,
            in_background=workspace.is_shared,
        )
        self.bodies = {name: body_schema(product) for name, product in self.products.items()}
        self.decoders = {
            name: BodyDecoder(body, metrics.stage_seconds.labels(name, "decode").observe)
            for name, body in self.bodies.items()
        }
        self._scorers = {name: Scorer(product, self.online) for name, product in self.products.items()}
        self.models = ModelStore(states, self._warm_up, pinned=settings.pinned, poll_seconds=settings.poll_seconds)
        self._challengers = Challengers(
            states if settings.pinned is None else (), self._warm_up, poll_seconds=settings.poll_seconds
        )
        flush_seconds = min(product.serving.flush_milliseconds for product in self.products.values()) / 1_000
        self.log = workspace.predictions(settings.log_kind, flush_seconds)
        self._shadow_log = workspace.predictions("shadow", flush_seconds)
        self.labels = workspace.labels()
        self.metrics = metrics
        self._queue_rows = settings.queue_rows
        self.routers = {name: self._router(product) for name, product in self.products.items()}
        # the declared rate is that of the whole server, so each worker gets its part
        self.limits = replace(settings.limits, rate=settings.limits.rate / settings.workers)
        self.load = Load(self.limits)
        self.sampling = Sampling(metrics, self.models, self.log, self.routers, self.load)

    def product(self, name: str) -> ModelProduct:
        """Raises UnknownProduct."""
        if name not in self.products:
            raise UnknownProduct(name, self.products)
        return self.products[name]

    def state_of(self, name: str) -> ProductState:
        """Raises UnknownProduct."""
        return self.states[self.product(name).name]

    @asynccontextmanager
    async def running(self, _: Litestar) -> AsyncIterator[None]:
        self.models.start()
        self._challengers.start()
        logs = (self.log, self._shadow_log, self.labels)
        for log in logs:
            log.start()  # also seals the segments that killed processes of this machine left
        # among several workers on one port, one that is not ready would answer 503
        await sync_to_thread(self.models.wait_until_polled, FIRST_POLL_SECONDS)
        try:
            async with self.sampling.running():
                yield
        finally:
            for router in self.routers.values():
                await router.close()
            # all at once, because each of them may wait for a bucket that does not answer
            ends = (self.models.stop, self._challengers.stop, *(log.close for log in logs))
            await asyncio.gather(*map(sync_to_thread, ends))

    def _router(self, product: ModelProduct) -> RolloutRouter:
        def service(log: PredictionLog) -> PredictionService:
            return PredictionService(
                product,
                self._scorers[product.name],
                self.models,
                log,
                self.clock.microseconds,
                self.metrics,
                most_waiting_rows=self._queue_rows,
            )

        count_dropped = self.metrics.shadow_dropped.labels(product.name).inc
        return RolloutRouter(product, service(self.log), service(self._shadow_log), self._challengers, count_dropped)

    def _warm_up(self, product: ModelProduct, bundle: Bundle) -> None:
        """Scores an example. It contains the looked-up features, so that a model can be opened while the store is unreachable."""
        body: BodySchema = self.bodies[product.name]
        looked_up = {name: None for view in product.lookups for name in view.names}
        content = msgspec.json.encode({"rows": [{**looked_up, **body.example_row()}]})
        self._scorers[product.name].score(bundle, BodyDecoder(body).decode_json(content).rows)


def _served(settings: Settings, products: Sequence[ModelProduct] | None) -> Catalog:
    """The whole catalog, or the one product that the settings name. Raises UnknownProduct."""
    collected = catalog() if products is None else Catalog(tuple(products))
    name = settings.product if settings.pinned is None else settings.pinned.product
    if name is not None:
        return Catalog((collected.named(name),))
    if not collected.products:
        raise DeclarationError(f"there is no product to serve. {collected.search_hint}")
    for broken in collected.broken:
        _log.error("%s is not served: %s", broken.place, broken.sentence)
    return collected
