"""Requests to answers: batches are scored by the model that serves, logged, and answered."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from threading import get_ident
from typing import Any

import msgspec
from litestar.concurrency import sync_to_thread
from msgspec import UNSET

from mlops_assets.products.policy import Durability, Outage
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.prediction_log import LoggedRows, PredictionLog, log_columns
from serving.batching import MOST_WAITING_ROWS, Batcher
from serving.errors import NotLogged
from serving.explaining import explain, refuse_to_explain
from serving.ids import new_id
from serving.metrics import Metrics
from serving.model_store import ModelStore, ServedModel
from serving.schemas import Answer, Explanation, Prediction, RowStruct, Value
from serving.scoring import ANSWERS, Scored, Scorer

_log = logging.getLogger(__name__)


class PredictionRequest(msgspec.Struct, frozen=True):
    """version: that of an earlier deployment; None for the one that serves."""

    rows: Sequence[RowStruct]
    request_id: str
    trace_id: str = ""
    with_features: bool = False
    with_explanation: bool = False
    version: int | None = None


class _Call:
    """A request that is being answered, by the model that served when it arrived."""

    __slots__ = ("answer", "future", "inputs", "loop", "model", "received", "request", "role", "rows", "thread")

    def __init__(
        self, request: PredictionRequest, model: ServedModel, role: str, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.request = request
        self.rows = request.rows
        self.model = model
        self.role = role
        self.inputs: Sequence[tuple[Value, ...]] = ()
        self.received = time.perf_counter_ns()
        self.loop = loop
        self.thread = get_ident()
        self.future: asyncio.Future[Answer] = loop.create_future()
        self.answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class _Batch:
    """Requests of one model that were scored together. started, featured: perf_counter_ns() before and after the features."""

    calls: list[_Call]
    rows: Sequence[RowStruct]
    scored: Scored
    started: int
    featured: int


class PredictionService:
    """Answers the rows of one product, on one event loop."""

    def __init__(
        self,
        product: ModelProduct,
        scorer: Scorer,
        models: ModelStore,
        log: PredictionLog,
        now: Callable[[], int],
        metrics: Metrics,
        *,
        most_waiting_rows: int = MOST_WAITING_ROWS,
    ) -> None:
        self._product = product
        self._scorer = scorer
        self._models = models
        self._log = log
        self._now = now
        self._metrics = metrics
        self._observe_queue, self._observe_features, self._observe_model, self._observe_log, self._observe_explain = (
            metrics.stage_seconds.labels(product.name, stage).observe
            for stage in ("queue", "features", "model", "log", "explain")
        )
        # read once here, because reading the declaration for every batch would add to each answer's time
        serving = product.serving
        self._is_logged, self._waits_for_disk = serving.log_predictions, serving.durability is Durability.STRICT
        self._refuses_unlogged = serving.log_predictions and serving.outage is Outage.REFUSE
        self._answers = ANSWERS[product.task]
        self._batcher: Batcher[_Call] = Batcher(self._answer, most_waiting_rows=most_waiting_rows)
        self._loop: asyncio.AbstractEventLoop | None = None
        requested = {column.name for column in product.request_columns()}.difference(product.feature_names)
        logged = [name for name in log_columns(product) if name in requested]
        self._requested_values = _tuple_of([product.event_timestamp, *logged])

    async def submit(
        self, request: PredictionRequest, *, challenger: ServedModel | None = None, role: str = "champion"
    ) -> Answer:
        """challenger: the model that answers instead of the champion, in this role. Explaining a row costs 2 x inputs scores.

        Raises NoChampion, NotServing, UnknownVersion, NotExplainable, TooManyRows, UnusableScore, Overloaded, OnlineStoreDown
        or NotLogged."""
        name = self._product.name
        if challenger is not None:
            model = challenger
        elif request.version is None:
            model = self._models.model(name)
        else:
            model = await self._models.version(name, request.version)
        if request.with_explanation:
            refuse_to_explain(model.bundle, len(request.rows))
        if self._refuses_unlogged and self._log.last_error is not None:
            raise NotLogged(_not_logged(name, self._log.last_error))
        call = _Call(request, model, role, self._running_loop())
        self._batcher.put(call)
        answer = await call.future
        if request.with_explanation:
            await sync_to_thread(self._explain, model, call.inputs, answer)
        return answer

    @property
    def waiting_rows(self) -> int:
        return self._batcher.waiting_rows

    def close(self) -> None:
        self._batcher.close()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.get_running_loop()  # costs a system call in CPython 3.11, so it is called once
        return self._loop

    def _answer(self, calls: list[_Call]) -> None:
        by_model: dict[int, list[_Call]] = {}
        for call in calls:
            by_model.setdefault(id(call.model), []).append(call)
        for calls_of_model in by_model.values():
            for batch in self._score(calls_of_model):
                try:
                    self._finish(batch)
                except Exception as error:  # noqa: BLE001 (whatever the error is, no caller may wait for ever)
                    _resolve_from_any_thread(batch.calls, error)

    def _score(self, calls: list[_Call]) -> Iterator[_Batch]:
        """All calls as one batch. Where that fails, each call is scored separately, so that a row that cannot be scored fails
        only its own request."""
        started = time.perf_counter_ns()
        rows = calls[0].rows if len(calls) == 1 else [row for call in calls for row in call.rows]
        try:
            inputs, warnings = self._scorer.features(rows)
            featured = time.perf_counter_ns()
            scored = self._scorer.score_features(calls[0].model.bundle, inputs, warnings)
        except Exception as error:  # noqa: BLE001 (ONNX Runtime errors share no public base)
            if len(calls) == 1:
                _resolve_from_any_thread(calls, error)
                return
            _log.info("%s: a batch is answered request by request: %s", self._product.name, error)
            for call in calls:
                yield from self._score([call])
        else:
            yield _Batch(calls, rows, scored, started, featured)

    def _finish(self, batch: _Batch) -> None:
        """Log and answer a batch: at once, or in strict durability as soon as its rows are on disk."""
        calls, manifest = batch.calls, batch.calls[0].model.bundle.manifest
        scores = batch.scored.scores.tolist()
        ids = [new_id() if row.prediction_id is UNSET else row.prediction_id for row in batch.rows]
        predictions = self._answers.predictions(ids, scores, manifest)
        for number, warnings in batch.scored.warnings.items():
            predictions[number].warnings = warnings
        self._distribute(calls, predictions, batch.scored.inputs)
        modelled = time.perf_counter_ns()
        if self._is_logged and self._waits_for_disk:

            def on_disk(failure: str | None) -> None:
                error = None if failure is None else NotLogged(_not_logged(self._product.name, failure))
                _resolve_from_any_thread(calls, error)

            self._log.append(self._product, self._logged_rows(batch, ids, scores), on_disk)
        else:
            if self._is_logged:
                self._log.append(self._product, self._logged_rows(batch, ids, scores))
            _resolve_from_any_thread(calls)
        self._count(batch, modelled)

    def _distribute(
        self, calls: list[_Call], predictions: list[Prediction], inputs: Sequence[tuple[Value, ...]]
    ) -> None:
        """Give every call the predictions of its rows."""
        version, start = calls[0].model.bundle.manifest.version, 0
        for call in calls:
            end = start + len(call.rows)
            own, call.inputs = predictions[start:end], inputs[start:end]
            if call.request.with_features:
                for prediction, values in zip(own, call.inputs, strict=True):
                    prediction.features = dict(zip(self._product.feature_names, values, strict=True))  # type: ignore[arg-type]
            call.answer = self._answers.answer(
                product=self._product.name, version=version, request_id=call.request.request_id, predictions=own
            )
            start = end

    def _logged_rows(self, batch: _Batch, ids: list[str], scores: list[Any]) -> LoggedRows:
        """In the order of `log_columns`: columns of the log, of the request, features."""
        calls, manifest, served_at = batch.calls, batch.calls[0].model.bundle.manifest, self._now()
        ahead = served_at - time.perf_counter_ns() // 1_000
        by_row = calls if len(calls) == len(batch.rows) else [call for call in calls for _ in call.rows]
        return (
            (manifest.version, served_at),
            (
                [call.received // 1_000 + ahead for call in by_row],
                [call.request.request_id for call in by_row],
                [call.request.trace_id for call in by_row],
                ids,
                *self._answers.logged(scores, manifest.classes),
            ),
            list(map(self._requested_values, batch.rows)),
            batch.scored.inputs,
        )

    def _count(self, batch: _Batch, modelled: int) -> None:
        first = batch.calls[0]
        self._observe_queue(1e-9 * (batch.started - first.received))
        self._observe_features(1e-9 * (batch.featured - batch.started))
        self._observe_model(1e-9 * (modelled - batch.featured))
        self._observe_log(1e-9 * (time.perf_counter_ns() - modelled))
        name, metrics, version = self._product.name, self._metrics, first.model.bundle.manifest.version
        metrics.predictions.labels(name, version, first.role).inc(len(batch.rows))
        for warning in chain.from_iterable(batch.scored.warnings.values()):
            for feature in warning.features:
                if warning.reason == "unknown category":
                    metrics.unknown_categories.labels(name, feature).inc()
                else:
                    metrics.online_features.labels(name, feature, warning.reason).inc()

    def _explain(self, model: ServedModel, inputs: Sequence[tuple[Value, ...]], answer: Answer) -> None:
        started = time.perf_counter()
        matrix, _ = model.bundle.encode_rows(inputs)  # type: ignore[arg-type]
        baselines, contributions = explain(model.bundle, matrix)
        names = self._product.feature_names
        for prediction, baseline, of_row in zip(
            answer.predictions, baselines.tolist(), contributions.tolist(), strict=True
        ):
            prediction.explanation = Explanation(baseline, dict(zip(names, of_row, strict=True)))
        self._observe_explain(time.perf_counter() - started)


def _resolve_from_any_thread(calls: Sequence[_Call], error: Exception | None = None) -> None:
    if get_ident() == calls[0].thread:
        _resolve(calls, error)
    else:
        calls[0].loop.call_soon_threadsafe(_resolve, calls, error)


def _resolve(calls: Sequence[_Call], error: Exception | None) -> None:
    for call in calls:
        if call.future.done():
            continue  # the client went away
        if error is not None:
            call.future.set_exception(error)
        else:
            assert call.answer is not None
            call.future.set_result(call.answer)


def _tuple_of(names: list[str]) -> Callable[[RowStruct], tuple[Any, ...]]:
    """Reads fields of a row into a tuple, even a single field, which attrgetter would return without a tuple."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda row: (getattr(row, names[0]),)


def _not_logged(product: str, failure: str) -> str:
    return (
        f"the answer could not be written to the prediction log ({failure}), and {product} is declared not to answer "
        "without it. Try again once the disk has room; /health/ready shows when."
    )
