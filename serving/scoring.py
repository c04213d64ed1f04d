"""Typed rows to scores, with warnings for missing and unknown values; and scores to predictions, by task."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlops_assets.errors import StoreError
from mlops_assets.features.online_path import Missed, OnlineFeatures
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import OPERATING_THRESHOLD, Task
from mlops_assets.state.bundle import Bundle
from mlops_assets.state.manifest import Manifest
from mlops_assets.state.online_store import OnlineStore
from serving.errors import OnlineStoreDown, UnusableScore
from serving.schemas import (
    BinaryAnswer,
    BinaryPrediction,
    MulticlassAnswer,
    MulticlassPrediction,
    Prediction,
    RegressionAnswer,
    RegressionPrediction,
    RowStruct,
    RowWarning,
    Value,
)

_REASONS = {
    "missing": "the online store has no value for {key}",
    "stale": "the value of {key} in the online store was not valid at the row's event timestamp",
    "unavailable": "the online store could not be read",
}
_NO_WARNINGS: tuple[RowWarning, ...] = ()


@dataclass(frozen=True)
class Scored:
    """inputs: the model's inputs, a tuple per row in the product's order. warnings: by the number of the row.

    scores: (n,) or, for multiclass, (n, classes)."""

    scores: NDArray[np.float32]
    warnings: dict[int, tuple[RowWarning, ...]]
    inputs: list[tuple[Value, ...]]


class Scorer:
    """Features and scores of one product's rows. They do not depend on the other rows of a batch."""

    def __init__(self, product: ModelProduct, online: OnlineStore) -> None:
        self._product = product
        self._features = OnlineFeatures(product, online)

    def features(self, rows: Sequence[RowStruct]) -> tuple[list[tuple[Value, ...]], dict[int, tuple[RowWarning, ...]]]:
        """The inputs of every row, and warnings for rows whose features could not be looked up.

        Raises OnlineStoreDown: the store cannot be read, and the product does not answer without it."""
        try:
            inputs, missed = self._features.of(rows)
        except StoreError as error:
            names = ", ".join(name for view in self._product.lookups for name in view.names)
            raise OnlineStoreDown(
                f"the online store cannot be read ({error}), and {self._product.name} is declared not to answer "
                f"without it. Send {names} in the request, or try again."
            ) from error
        return inputs, {number: tuple(map(_lookup_warning, each)) for number, each in missed.items()}

    def score(self, bundle: Bundle, rows: Sequence[RowStruct]) -> Scored:
        """Raises UnusableScore: the model answered with NaN or infinity. Raises OnlineStoreDown."""
        inputs, warnings = self.features(rows)
        return self.score_features(bundle, inputs, warnings)

    def score_features(
        self, bundle: Bundle, inputs: list[tuple[Value, ...]], warnings: dict[int, tuple[RowWarning, ...]]
    ) -> Scored:
        """Raises UnusableScore."""
        matrix, rows_with_unknowns = bundle.encode_rows(inputs)  # type: ignore[arg-type]
        for number in rows_with_unknowns:
            if unknown := tuple(_unknown_categories(bundle, inputs[number])):
                warnings[number] = warnings.get(number, _NO_WARNINGS) + unknown
        scores = bundle.score(matrix)
        # NaN and infinity survive the sum, which takes a third of the time of isfinite().all()
        if not np.isfinite(scores.sum(dtype=np.float64)):
            number = int(np.argwhere(~np.isfinite(scores))[0][0])
            raise UnusableScore(
                f"version {bundle.manifest.version} of {self._product.name} scores row {number} with NaN or infinity. "
                "Roll back to an earlier version, or retrain with a recipe that supports missing values."
            )
        return Scored(scores, warnings, inputs)


def _unknown_categories(bundle: Bundle, inputs: tuple[Value, ...]) -> Iterator[RowWarning]:
    for name in bundle.unknown_categories(inputs):  # type: ignore[arg-type]
        value: Any = inputs[bundle.input_names.index(name)]
        message = f"version {bundle.manifest.version} was not trained on {name} {value!r}"
        yield RowWarning("unknown category", (name,), message)


def _lookup_warning(missed: Missed) -> RowWarning:
    key_text = ", ".join(
        f"{name}={part:g}" if isinstance(part, float) else f"{name}={part}"
        for name, part in zip(missed.view.key, missed.key, strict=True)
    )
    reason = _REASONS[missed.state].format(key=key_text)
    message = f"{missed.view.name}: {reason}, so null was used for {', '.join(missed.names)}"
    return RowWarning(missed.state, missed.names, message)  # type: ignore[arg-type]


# the logged columns of every row: prediction, label, probabilities
LoggedScores = tuple[list[float], Sequence[str | None], Sequence[list[float] | None]]


class TaskAnswers(NamedTuple):
    """How the scores of one task are answered and logged."""

    answer: Any  # a struct, which msgspec is given as a type
    predictions: Callable[[list[str], list[Any], Manifest], list[Prediction]]
    logged: Callable[[Any, tuple[str, ...]], LoggedScores]


def _binary_predictions(ids: list[str], scores: list[float], manifest: Manifest) -> list[Prediction]:
    labels = _binary_labels(manifest.classes)
    return [
        BinaryPrediction(prediction_id=name, probability=score, label=labels[score >= OPERATING_THRESHOLD])
        for name, score in zip(ids, scores, strict=True)
    ]


def logged_binary(scores: list[float], classes: tuple[str, ...]) -> LoggedScores:
    labels = _binary_labels(classes)
    texts = [label if isinstance(label, str) else str(label).lower() for label in labels]
    return scores, [texts[score >= OPERATING_THRESHOLD] for score in scores], [None] * len(scores)


@cache
def _binary_labels(classes: tuple[str, ...]) -> tuple[bool | str, bool | str]:
    """The two classes: booleans where they are called false and true, or have no names."""
    names = classes or ("false", "true")
    return (False, True) if tuple(map(str.lower, names)) == ("false", "true") else (names[0], names[1])


def _multiclass_predictions(ids: list[str], scores: list[list[float]], manifest: Manifest) -> list[Prediction]:
    classes = manifest.classes
    return [
        MulticlassPrediction(
            prediction_id=name,
            probabilities=dict(zip(classes, score, strict=True)),
            label=_most_likely_class(classes, score),
        )
        for name, score in zip(ids, scores, strict=True)
    ]


def logged_multiclass(scores: list[list[float]], classes: tuple[str, ...]) -> LoggedScores:
    return list(map(max, scores)), [_most_likely_class(classes, of_row) for of_row in scores], scores


def _most_likely_class(classes: tuple[str, ...], probabilities: list[float]) -> str:
    return classes[probabilities.index(max(probabilities))]


def _regression_predictions(ids: list[str], scores: list[float], manifest: Manifest) -> list[Prediction]:
    unit = manifest.label_unit
    return [
        RegressionPrediction(prediction_id=name, value=score, unit=unit)
        for name, score in zip(ids, scores, strict=True)
    ]


def _logged_regression(scores: list[float], classes: tuple[str, ...]) -> LoggedScores:
    return scores, [None] * len(scores), [None] * len(scores)


ANSWERS = {
    Task.BINARY: TaskAnswers(BinaryAnswer, _binary_predictions, logged_binary),
    Task.MULTICLASS: TaskAnswers(MulticlassAnswer, _multiclass_predictions, logged_multiclass),
    Task.REGRESSION: TaskAnswers(RegressionAnswer, _regression_predictions, _logged_regression),
}
