"""What metrics do not count as it happens: sampled, or settled, ten times a second while the server runs."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from mlops_assets.state.prediction_log import PredictionLog
from serving.challenged import ChallengedPredictor
from serving.limits import Load
from serving.metrics import Metrics
from serving.model_store import ModelStore

SAMPLE_SECONDS = 0.1


class Gauges:
    """State of this worker: what serves, whether it is ready, what its prediction log holds back."""

    def __init__(
        self,
        metrics: Metrics,
        models: ModelStore,
        log: PredictionLog,
        predictors: Mapping[str, ChallengedPredictor],
        load: Load,
    ) -> None:
        self._metrics = metrics
        self._models = models
        self._log = log
        self._predictors = predictors
        self._load = load
        self._serving: dict[str, int] = {}

    def sample(self) -> None:
        health = self._log.health
        self._metrics.set(("mlops_log_waiting_rows",), health.waiting_rows)
        self._metrics.set(("mlops_log_dropped_rows",), health.dropped_rows)
        self._metrics.set(("mlops_log_writing",), float(health.is_writing))
        self._metrics.set(("mlops_log_sealing",), float(health.seal_error is None))
        self._metrics.set(("mlops_in_flight",), self._load.requests)
        waiting = sum(predictor.waiting_rows for predictor in self._predictors.values())
        self._metrics.set(("mlops_queue_rows",), waiting)
        self._metrics.set(("mlops_ready",), float(self._models.is_ready))
        self._metrics.set(("mlops_ledger_readable",), float(self._models.poll_error is None))
        for product in self._predictors:
            state = self._models.state(product)
            self._metrics.set(("mlops_newest_serves", product), float(state.swap_error is None))
            model = state.model
            if model is None:
                continue
            version, before = model.bundle.manifest.version, self._serving.get(product)
            if version != before:
                if before is not None:
                    self._metrics.set(("mlops_serving", product, str(before)), 0.0)
                self._serving[product] = version
            self._metrics.set(("mlops_serving", product, str(version)), 1.0)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async def keep_sampling() -> None:
            while True:
                self.sample()
                self._metrics.settle()
                await asyncio.sleep(SAMPLE_SECONDS)

        task = asyncio.create_task(keep_sampling())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
