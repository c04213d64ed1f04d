"""Answers with a challenger beside the champion: some entities are answered by it, some are only shown to it.

Which ones is decided by the entity key alone, so an entity stays where it is over requests, processes and restarts. A
request with several rows is answered whole, by where its first row belongs: no answer mixes versions.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from mlops_assets.products.product import ModelProduct
from serving.answers import Predictor
from serving.challengers import Challengers, place
from serving.errors import UnusableScore
from serving.model_store import ServedModel
from serving.schemas import Answer, RowStruct

MOST_SHADOWS = 256  # requests that the challenger may be behind; of a busy server it sees less
_log = logging.getLogger(__name__)


class Predicting(Protocol):
    """Whoever answers rows."""

    async def predict(
        self,
        rows: Sequence[RowStruct],
        request_id: str,
        *,
        with_features: bool = False,
        with_explanation: bool = False,
        version: int | None = None,
        trace_id: str = "",
    ) -> Answer: ...


class ChallengedPredictor:
    """unseen: answers into the shadow log. dropped: told how many rows the challenger failed on or had no time for."""

    def __init__(
        self,
        product: ModelProduct,
        predictor: Predictor,
        unseen: Predictor,
        challengers: Challengers,
        dropped: Callable[[int], None],
    ) -> None:
        self._product = product
        self._predictor = predictor
        self._unseen = unseen
        self._challengers = challengers
        self._dropped = dropped
        self._shadows: set[asyncio.Task[None]] = set()

    @property
    def waiting_rows(self) -> int:
        return self._predictor.waiting_rows + self._unseen.waiting_rows

    async def predict(
        self,
        rows: Sequence[RowStruct],
        request_id: str,
        *,
        with_features: bool = False,
        with_explanation: bool = False,
        version: int | None = None,
        trace_id: str = "",
    ) -> Answer:
        """Raises what the champion raises."""
        challenger, serving = self._challengers.of(self._product.name), self._product.serving
        asked: dict[str, Any] = {"with_features": with_features, "with_explanation": with_explanation}
        asked["trace_id"] = trace_id
        if challenger is None or version is not None:
            return await self._predictor.predict(rows, request_id, version=version, **asked)
        if place(self._product, rows[0]) < serving.canary:
            try:
                return await self._predictor.predict(rows, request_id, challenger=challenger, role="canary", **asked)
            except UnusableScore:
                self._dropped(len(rows))  # the champion answers what a challenger cannot
                return await self._predictor.predict(rows, request_id, **asked)
        answer = await self._predictor.predict(rows, request_id, **asked)
        if serving.shadow:
            until = serving.canary + serving.shadow
            shown = [
                msgspec.structs.replace(row, prediction_id=prediction.prediction_id)
                for row, prediction in zip(rows, answer.predictions, strict=True)
                if place(self._product, row) < until
            ]
            if len(self._shadows) >= MOST_SHADOWS:
                self._dropped(len(shown))
            elif shown:
                task = asyncio.create_task(self._show(challenger, shown, request_id, trace_id))
                self._shadows.add(task)
                task.add_done_callback(self._shadows.discard)
        return answer

    async def close(self) -> None:
        """After what the challenger has seen was scored."""
        await asyncio.gather(*self._shadows)
        self._predictor.close()
        self._unseen.close()

    async def _show(self, challenger: ServedModel, rows: Sequence[RowStruct], request_id: str, trace_id: str) -> None:
        try:
            await self._unseen.predict(rows, request_id, trace_id=trace_id, challenger=challenger, role="shadow")
        except Exception:  # noqa: BLE001 (whatever a challenger does wrong is its own affair)
            _log.exception("version %d failed as a shadow", challenger.bundle.manifest.version)
            self._dropped(len(rows))
