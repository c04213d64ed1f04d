"""Rollout of a challenger beside the champion: canary requests are answered by it, shadow rows are only scored by it.

Only the entity key decides, so an entity keeps its version over requests, processes and restarts. The first row of a request
decides for all its rows: no answer mixes versions.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from datetime import datetime

import msgspec

from mlops_assets.products.product import ModelProduct
from mlops_assets.state.dtypes import microseconds
from serving.challengers import Challengers
from serving.errors import UnusableScore
from serving.model_store import ServedModel
from serving.prediction_service import PredictionRequest, PredictionService
from serving.schemas import Answer, RowStruct

MOST_SHADOWS = 256  # requests that may wait for the challenger; more are dropped and counted
_log = logging.getLogger(__name__)


class RolloutRouter:
    """shadow: the service that writes to the shadow log. count_dropped: called with the number of rows on which the challenger
    failed, or for which it had no time."""

    def __init__(
        self,
        product: ModelProduct,
        service: PredictionService,
        shadow: PredictionService,
        challengers: Challengers,
        count_dropped: Callable[[int], None],
    ) -> None:
        self._product = product
        self._service = service
        self._shadow = shadow
        self._challengers = challengers
        self._count_dropped = count_dropped
        self._shadows: set[asyncio.Task[None]] = set()

    @property
    def waiting_rows(self) -> int:
        return self._service.waiting_rows + self._shadow.waiting_rows

    async def submit(self, request: PredictionRequest) -> Answer:
        """Raises whatever `PredictionService.submit` raises for the champion."""
        challenger = self._challengers.of(self._product.name)
        if challenger is None or request.version is not None:
            return await self._service.submit(request)
        if place(self._product, request.rows[0]) < self._product.serving.canary:
            try:
                return await self._service.submit(request, challenger=challenger, role="canary")
            except UnusableScore:
                self._count_dropped(len(request.rows))  # the champion answers instead
                return await self._service.submit(request)
        answer = await self._service.submit(request)
        if self._product.serving.shadow:
            self._start_shadow(challenger, request, answer)
        return answer

    async def close(self) -> None:
        """Waits until the challenger has scored its queue."""
        await asyncio.gather(*self._shadows)
        self._service.close()
        self._shadow.close()

    def _start_shadow(self, challenger: ServedModel, request: PredictionRequest, answer: Answer) -> None:
        end = self._product.serving.canary + self._product.serving.shadow
        rows = [
            msgspec.structs.replace(row, prediction_id=prediction.prediction_id)
            for row, prediction in zip(request.rows, answer.predictions, strict=True)
            if place(self._product, row) < end
        ]
        if len(self._shadows) >= MOST_SHADOWS:
            self._count_dropped(len(rows))
        elif rows:
            copied = PredictionRequest(rows, request.request_id, request.trace_id)
            task = asyncio.create_task(self._score_shadow(challenger, copied))
            self._shadows.add(task)
            task.add_done_callback(self._shadows.discard)

    async def _score_shadow(self, challenger: ServedModel, request: PredictionRequest) -> None:
        try:
            await self._shadow.submit(request, challenger=challenger, role="shadow")
        except Exception:  # noqa: BLE001 (no error of a challenger may fail a request)
            _log.exception("version %d failed as a shadow", challenger.bundle.manifest.version)
            self._count_dropped(len(request.rows))


def place(product: ModelProduct, row: RowStruct) -> float:
    """A hash of the row's entity key, in [0, 1)."""
    parts = [getattr(row, name) for name in product.entity_key]
    text = "\x1f".join(str(microseconds(part)) if isinstance(part, datetime) else str(part) for part in parts)
    digest = hashlib.blake2b(text.encode(), digest_size=7, key=product.name.encode()[:64]).digest()
    return int.from_bytes(digest) / 2**56
