"""Scores to answers: probability and label, value and unit, ids, warnings, and the row for the prediction log."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from msgspec import UNSET

from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from mlops_assets.stores.model_bundle import Manifest
from mlops_assets.stores.prediction_log import LoggedPrediction, PredictionLog
from serving.model_store import ModelStore
from serving.schemas import (
    Answer,
    BinaryAnswer,
    BinaryPrediction,
    MulticlassAnswer,
    MulticlassPrediction,
    Prediction,
    RegressionAnswer,
    RegressionPrediction,
    RowStruct,
)
from serving.scoring import Scored, Scorer

LABEL_FROM = 0.5  # probability of class 1 from which on the label is class 1
ANSWERS: dict[Task, Any] = {
    Task.BINARY: BinaryAnswer,
    Task.MULTICLASS: MulticlassAnswer,
    Task.REGRESSION: RegressionAnswer,
}


class Predictor:
    """Answers the rows of one product with whatever model serves it when the request begins."""

    def __init__(
        self,
        product: ModelProduct,
        scorer: Scorer,
        models: ModelStore,
        log: PredictionLog,
        now: Callable[[], datetime],
    ) -> None:
        self._product = product
        self._scorer = scorer
        self._models = models
        self._log = log
        self._now = now

    def predict(self, rows: Sequence[RowStruct], request_id: str, *, with_features: bool) -> Answer:
        """Raises NoChampion or NotServing: no model is open. Raises UnusableScore."""
        bundle = self._models.model(self._product.name).bundle
        scored = self._scorer.score(bundle, rows)
        predictions = [
            _prediction(
                bundle.manifest,
                score,
                prediction_id=uuid4().hex if row.prediction_id is UNSET else row.prediction_id,
                warnings=warnings,
                features={name: values[name] for name in self._product.feature_names} if with_features else UNSET,
            )
            for row, score, warnings, values in zip(
                rows, scored.scores.tolist(), scored.warnings, scored.values, strict=True
            )
        ]
        version = bundle.manifest.version
        if self._product.serving.log_predictions:
            self._log.append(self._product, self._logged(rows, predictions, scored, version, request_id))
        answer: Answer = ANSWERS[self._product.task](
            product=self._product.name, version=version, request_id=request_id, predictions=predictions
        )
        return answer

    def _logged(
        self,
        rows: Sequence[RowStruct],
        predictions: Sequence[Prediction],
        scored: Scored,
        version: int,
        request_id: str,
    ) -> list[LoggedPrediction]:
        served_at = self._now()
        logged = []
        for row, prediction, values in zip(rows, predictions, scored.values, strict=True):
            event_time = getattr(row, self._product.event_timestamp)
            score, label, probabilities = _logged_score(prediction)
            logged.append(
                LoggedPrediction(
                    prediction.prediction_id,
                    request_id,
                    version,
                    event_time,
                    served_at,
                    score,
                    label,
                    values,
                    probabilities,
                )
            )
        return logged


def _prediction(manifest: Manifest, score: Any, **common: Any) -> Prediction:
    match manifest.task:
        case Task.BINARY:
            return BinaryPrediction(probability=score, label=_binary_label(manifest, score >= LABEL_FROM), **common)
        case Task.MULTICLASS:
            probabilities = dict(zip(manifest.classes, score, strict=True))
            return MulticlassPrediction(
                probabilities=probabilities, label=max(probabilities, key=probabilities.__getitem__), **common
            )
        case Task.REGRESSION:
            return RegressionPrediction(value=score, unit=manifest.label_unit, **common)


def _binary_label(manifest: Manifest, is_class_1: bool) -> bool | str:
    names = manifest.classes or ("false", "true")
    return is_class_1 if tuple(map(str.lower, names)) == ("false", "true") else names[is_class_1]


def _logged_score(prediction: Prediction) -> tuple[float, str | None, list[float] | None]:
    match prediction:
        case BinaryPrediction():
            label = prediction.label
            return prediction.probability, str(label).lower() if isinstance(label, bool) else label, None
        case MulticlassPrediction():
            probabilities = list(prediction.probabilities.values())
            return max(probabilities), prediction.label, probabilities
        case RegressionPrediction():
            return prediction.value, None, None
