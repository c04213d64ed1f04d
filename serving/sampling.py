"""The gauges of this worker, sampled while the server runs: serving versions, readiness, queues."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from mlops_assets.state.prediction_log import PredictionLog
from serving.limits import Load
from serving.metrics import Metrics
from serving.model_store import ModelStore
from serving.rollout import RolloutRouter
from serving.workers import resident_bytes

SAMPLE_SECONDS = 0.1


class Sampling:
    """Sets gauges outside of requests, so that these do not pay for it."""

    def __init__(
        self,
        metrics: Metrics,
        models: ModelStore,
        log: PredictionLog,
        routers: Mapping[str, RolloutRouter],
        load: Load,
    ) -> None:
        self._metrics = metrics
        self._models = models
        self._log = log
        self._routers = routers
        self._load = load
        self._versions: dict[str, int] = {}

    def sample(self) -> None:
        metrics, health, process = self._metrics, self._log.health, os.getpid()
        for gauge, value in (
            (metrics.in_flight, self._load.requests),
            (metrics.queue_rows, sum(router.waiting_rows for router in self._routers.values())),
            (metrics.log_waiting_rows, health.waiting_rows),
            (metrics.log_dropped_rows, health.dropped_rows),
            (metrics.log_writing, health.is_writing),
            (metrics.log_sealing, health.seal_error is None),
            (metrics.ready, self._models.is_ready),
            (metrics.ledger_readable, self._models.poll_error is None),
            (metrics.worker_memory, resident_bytes(process)),
        ):
            gauge.labels(process).set(value)
        for product in self._routers:
            state = self._models.state(product)
            metrics.newest_serves.labels(product, process).set(state.swap_error is None)
            if state.model is None:
                continue
            version = state.model.bundle.manifest.version
            former = self._versions.setdefault(product, version)
            if former != version:
                metrics.serving.labels(product, former, process).set(0)
                self._versions[product] = version
            metrics.serving.labels(product, version, process).set(1)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async def keep_sampling() -> None:
            while True:
                self.sample()
                await asyncio.sleep(SAMPLE_SECONDS)

        task = asyncio.create_task(keep_sampling())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
