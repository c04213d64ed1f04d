"""Scores to answers: probability and label, value and unit, ids, warnings, and the rows for the prediction log."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from operator import attrgetter
from threading import get_ident
from typing import Any, NamedTuple

from litestar.concurrency import sync_to_thread
from msgspec import UNSET

from mlops_assets.products.policy import Durability, Outage
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import OPERATING_THRESHOLD, Task
from mlops_assets.state.manifest import Manifest
from mlops_assets.state.prediction_log import LoggedRows, PredictionLog, Row, log_columns
from serving.batching import MOST_WAITING_ROWS, Batcher
from serving.errors import NotLogged
from serving.explaining import explain, refuse_to_explain
from serving.ids import new_id
from serving.metrics import Metrics
from serving.model_store import ModelStore, ServedModel
from serving.schemas import (
    Answer,
    BinaryAnswer,
    BinaryPrediction,
    Explanation,
    MulticlassAnswer,
    MulticlassPrediction,
    Prediction,
    RegressionAnswer,
    RegressionPrediction,
    RowStruct,
    Value,
)
from serving.scoring import Scored, Scorer

_log = logging.getLogger(__name__)


class _Call:
    """One request on its way to its answer; it keeps the model that served when it came."""

    __slots__ = (
        "answer", "future", "inputs", "loop", "model", "received", "request_id", "role", "rows", "thread", "trace_id",
        "with_features",
    )  # fmt: skip

    def __init__(
        self,
        rows: Sequence[RowStruct],
        request_id: str,
        trace_id: str,
        with_features: bool,
        model: ServedModel,
        role: str,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.rows = rows
        self.request_id = request_id
        self.trace_id = trace_id
        self.with_features = with_features
        self.model = model
        self.role = role
        self.inputs: Sequence[tuple[Value, ...]] = ()
        self.received = time.perf_counter_ns()
        self.loop = loop
        self.thread = get_ident()
        self.future: asyncio.Future[Answer] = loop.create_future()
        self.answer: Answer | None = None

    def fail(self, error: Exception) -> None:
        self.loop.call_soon_threadsafe(_settle, [self], error)


class Predictor:
    """Answers the rows of one product with whatever model serves it when the request begins; on one event loop."""

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
        self._queued_for, self._featured_in, self._modelled_in, self._logged_in, self._explained_in = (
            metrics.stage_seconds.labels(product.name, stage).observe
            for stage in ("queue", "features", "model", "log", "explain")
        )
        # asked here, not with every batch: to look up what is declared is a part of an answer's time
        serving = product.serving
        self._is_logged, self._waits_for_disk = serving.log_predictions, serving.durability is Durability.STRICT
        self._refuses_unlogged = serving.log_predictions and serving.outage is Outage.REFUSE
        self._answer_type, self._predictions, self._logged_scores = _BY_TASK[product.task]
        self._batcher: Batcher[_Call] = Batcher(self._answer, most_waiting_rows=most_waiting_rows)
        requested = {column.name for column in product.request_columns()}.difference(product.feature_names)
        self._loop: asyncio.AbstractEventLoop | None = None
        asked = [name for name in log_columns(product) if name in requested]
        self._asked = _tuple_of([product.event_timestamp, *asked])

    async def predict(
        self,
        rows: Sequence[RowStruct],
        request_id: str,
        *,
        with_features: bool = False,
        with_explanation: bool = False,
        version: int | None = None,
        trace_id: str = "",
        challenger: ServedModel | None = None,
        role: str = "champion",
    ) -> Answer:
        """version: of an earlier deployment, None for what serves now. challenger: answers in its place, in this role.

        Explaining costs 2 x inputs scores a row and is done in a thread. Raises NotExplainable or TooManyRows.

        Raises NoChampion or NotServing: no model is open. Raises UnknownVersion, UnusableScore, Overloaded,
        OnlineStoreDown or NotLogged."""
        name = self._product.name
        if challenger is not None:
            model = challenger
        else:
            model = self._models.model(name) if version is None else await self._models.version(name, version)
        if with_explanation:
            refuse_to_explain(model.bundle, len(rows))
        if self._refuses_unlogged and self._log.last_error is not None:
            raise NotLogged(_not_logged(name, self._log.last_error))
        call = _Call(rows, request_id, trace_id, with_features, model, role, self._running_loop())
        self._batcher.put(call)
        answer = await call.future
        if with_explanation:
            await sync_to_thread(self._explain, model, call.inputs, answer)
        return answer

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.get_running_loop()  # a system call in CPython 3.11: not of every request
        return self._loop

    @property
    def waiting_rows(self) -> int:
        return self._batcher.waiting_rows

    def close(self) -> None:
        self._batcher.close()

    def _answer(self, calls: Sequence[_Call]) -> None:
        by_model: dict[int, list[_Call]] = {}
        for call in calls:
            by_model.setdefault(id(call.model), []).append(call)
        if len(by_model) == 1:
            self._answer_with_one_model(list(calls))
            return
        for same in by_model.values():  # one version's failure is no answer for the others
            self._batcher.answer(same)

    def _answer_with_one_model(self, calls: list[_Call]) -> None:
        started = time.perf_counter_ns()
        rows = calls[0].rows if len(calls) == 1 else [row for call in calls for row in call.rows]
        try:
            inputs, warnings = self._scorer.features(rows)
            featured = time.perf_counter_ns()
            scored = self._scorer.score_features(calls[0].model.bundle, inputs, warnings)
        except Exception as error:
            if len(calls) == 1:
                raise
            # one row that cannot be scored is no reason to fail its neighbours
            _log.info("%s: a batch is answered request by request: %s", self._product.name, error)
            for call in calls:
                self._batcher.answer([call])
            return
        manifest, scores = calls[0].model.bundle.manifest, scored.scores.tolist()
        ids = [new_id() if row.prediction_id is UNSET else row.prediction_id for row in rows]
        predictions = self._predictions(ids, scores, manifest)
        for number, of_row in scored.warnings.items():
            predictions[number].warnings = of_row
        self._fill(calls, predictions, inputs)
        modelled = time.perf_counter_ns()
        if self._is_logged:
            logged = self._logged(calls, rows, ids, scores, inputs)
            self._settle_when_logged(calls, logged)
        else:
            _settle_from_anywhere(calls)
        self._tell(calls, scored, started, featured, modelled)

    def _fill(self, calls: list[_Call], predictions: list[Prediction], inputs: list[tuple[Value, ...]]) -> None:
        """Give every call its share."""
        answers = self._answer_type
        version, start = calls[0].model.bundle.manifest.version, 0
        for call in calls:
            end = start + len(call.rows)
            mine = predictions[start:end]
            if call.with_features:
                for prediction, values in zip(mine, inputs[start:end], strict=True):
                    prediction.features = dict(zip(self._product.feature_names, values, strict=True))  # type: ignore[arg-type]
            call.inputs = inputs[start:end]
            call.answer = answers(
                product=self._product.name, version=version, request_id=call.request_id, predictions=mine
            )
            start = end

    def _logged(
        self, calls: list[_Call], rows: Sequence[RowStruct], ids: list[str], scores: list[Any], inputs: Sequence[Row]
    ) -> LoggedRows:
        """In the order of `log_columns`: its own, what was asked, features."""
        served_at, manifest = self._now(), calls[0].model.bundle.manifest
        ahead = served_at - time.perf_counter_ns() // 1_000
        asking = calls if len(calls) == len(rows) else [call for call in calls for _ in call.rows]
        return (
            (manifest.version, served_at),
            (
                [call.received // 1_000 + ahead for call in asking],
                [call.request_id for call in asking],
                [call.trace_id for call in asking],
                ids,
                *self._logged_scores(scores, manifest.classes),
            ),
            list(map(self._asked, rows)),
            inputs,
        )

    def _settle_when_logged(self, calls: list[_Call], logged: LoggedRows) -> None:
        """Hand out the answers: at once, or in strict durability when they are on disk."""
        if not self._waits_for_disk:
            self._log.append(self._product, logged)
            _settle_from_anywhere(calls)
            return

        def on_disk(failure: str | None) -> None:
            error = None if failure is None else NotLogged(_not_logged(self._product.name, failure))
            calls[0].loop.call_soon_threadsafe(_settle, calls, error)

        self._log.append(self._product, logged, on_disk)

    def _tell(self, calls: list[_Call], scored: Scored, started: int, featured: int, modelled: int) -> None:
        self._queued_for(1e-9 * (started - calls[0].received))
        self._featured_in(1e-9 * (featured - started))
        self._modelled_in(1e-9 * (modelled - featured))
        self._logged_in(1e-9 * (time.perf_counter_ns() - modelled))
        name, metrics = self._product.name, self._metrics
        metrics.predictions.labels(name, calls[0].model.bundle.manifest.version, calls[0].role).inc(len(scored.inputs))
        for warning in chain.from_iterable(scored.warnings.values()):
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
        self._explained_in(time.perf_counter() - started)


def _settle(calls: Sequence[_Call], error: Exception | None = None) -> None:
    for call in calls:
        if call.future.done():
            continue  # the client went away
        if error is not None:
            call.future.set_exception(error)
        else:
            assert call.answer is not None
            call.future.set_result(call.answer)


def _settle_from_anywhere(calls: Sequence[_Call]) -> None:
    """At once on the thread of their event loop."""
    if get_ident() == calls[0].thread:
        _settle(calls)
    else:
        calls[0].loop.call_soon_threadsafe(_settle, calls)


def _tuple_of(names: list[str]) -> Callable[[RowStruct], tuple[Any, ...]]:
    """Reads fields of a row, also a single one as a tuple; attrgetter does so for two or more."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda row: (getattr(row, names[0]),)


@cache
def _binary_labels(classes: tuple[str, ...]) -> tuple[bool | str, bool | str]:
    names = classes or ("false", "true")
    return (False, True) if tuple(map(str.lower, names)) == ("false", "true") else (names[0], names[1])


@cache
def _binary_texts(classes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(label if isinstance(label, str) else str(label).lower() for label in _binary_labels(classes))


def _likeliest(classes: tuple[str, ...], probabilities: list[float]) -> str:
    return classes[probabilities.index(max(probabilities))]


# prediction, label and probabilities in the log
_LoggedScores = tuple[list[float], Sequence[str | None], Sequence[list[float] | None]]


def _binary_predictions(ids: list[str], scores: list[float], manifest: Manifest) -> list[Prediction]:
    labels = _binary_labels(manifest.classes)
    return [
        BinaryPrediction(prediction_id=name, probability=score, label=labels[score >= OPERATING_THRESHOLD])
        for name, score in zip(ids, scores, strict=True)
    ]


def _logged_binary(scores: list[float], classes: tuple[str, ...]) -> _LoggedScores:
    texts = _binary_texts(classes)
    return scores, [texts[score >= OPERATING_THRESHOLD] for score in scores], [None] * len(scores)


def _multiclass_predictions(ids: list[str], scores: list[list[float]], manifest: Manifest) -> list[Prediction]:
    classes = manifest.classes
    return [
        MulticlassPrediction(
            prediction_id=name, probabilities=dict(zip(classes, score, strict=True)), label=_likeliest(classes, score)
        )
        for name, score in zip(ids, scores, strict=True)
    ]


def _logged_multiclass(scores: list[list[float]], classes: tuple[str, ...]) -> _LoggedScores:
    return list(map(max, scores)), [_likeliest(classes, of_row) for of_row in scores], scores


def _regression_predictions(ids: list[str], scores: list[float], manifest: Manifest) -> list[Prediction]:
    unit = manifest.label_unit
    return [
        RegressionPrediction(prediction_id=name, value=score, unit=unit)
        for name, score in zip(ids, scores, strict=True)
    ]


def _logged_regression(scores: list[float], classes: tuple[str, ...]) -> _LoggedScores:
    return scores, [None] * len(scores), [None] * len(scores)


class _OfTask(NamedTuple):
    answer: Any  # a struct, which msgspec is given as a type
    predictions: Callable[[list[str], list[Any], Manifest], list[Prediction]]
    logged: Callable[[Any, tuple[str, ...]], _LoggedScores]


_BY_TASK = {
    Task.BINARY: _OfTask(BinaryAnswer, _binary_predictions, _logged_binary),
    Task.MULTICLASS: _OfTask(MulticlassAnswer, _multiclass_predictions, _logged_multiclass),
    Task.REGRESSION: _OfTask(RegressionAnswer, _regression_predictions, _logged_regression),
}


def answer_type(task: Task) -> Any:
    """The struct that a prediction route answers."""
    return _BY_TASK[task].answer


def _not_logged(product: str, failure: str) -> str:
    return (
        f"the answer could not be written to the prediction log ({failure}), and {product} is declared not to answer "
        "without. Try again once the disk is well; /health/ready shows it."
    )
