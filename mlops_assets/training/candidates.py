"""Turns a candidate into an unfitted, scikit-learn compatible estimator."""

import importlib
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlops_assets.errors import DeclarationError, choices
from mlops_assets.products.candidates import Candidate
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.task import Task
from mlops_assets.stores.model_bundle import Input


class Estimator(Protocol):
    """What the platform asks of an estimator; it stays the user's own."""

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], **options: Any) -> Any: ...  # noqa: N803 (sklearn's)

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float64]: ...  # noqa: N803 (sklearn's)


def make_estimator(candidate: Candidate, task: Task, inputs: tuple[Input, ...], seed: int) -> Estimator:
    """The candidate's estimator for this task.

    Raises DeclarationError: no such family, or the factory it names cannot be imported."""
    families: dict[str, Callable[..., Estimator]] = {
        "linear": _linear,
        "gradient_boosting": _gradient_boosting,
        "lightgbm": _lightgbm,
    }
    if candidate.estimator in families:
        return families[candidate.estimator](task, inputs, seed, dict(candidate.hyperparameters))
    module, separator, factory = candidate.estimator.partition(":")
    if not separator:
        raise DeclarationError(
            f"candidate {candidate.name!r}: no estimator family {candidate.estimator!r}. "
            f"{choices(candidate.estimator, families)} For your own, write 'package.module:factory'."
        )
    try:
        made: Estimator = getattr(importlib.import_module(module), factory)(task, **candidate.hyperparameters)
    except (ImportError, AttributeError) as error:
        raise DeclarationError(
            f"candidate {candidate.name!r}: {candidate.estimator} cannot be imported: {error}."
        ) from error
    return made


def fit_options(candidate: Candidate, inputs: tuple[Input, ...]) -> dict[str, Any]:
    """What `fit` is told besides the data: LightGBM takes the positions of its native categories."""
    return (
        {"categorical_feature": _positions(inputs, FeatureKind.CATEGORICAL)}
        if candidate.estimator == "lightgbm"
        else {}
    )


def _linear(task: Task, inputs: tuple[Input, ...], seed: int, hyperparameters: dict[str, Any]) -> Estimator:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = Pipeline(
        [("impute", SimpleImputer(strategy="median", keep_empty_features=True)), ("scale", StandardScaler())]
    )
    prepare = ColumnTransformer(
        [
            (
                "categories",
                OneHotEncoder(handle_unknown="ignore", dtype=np.float32, sparse_output=False),
                _positions(inputs, FeatureKind.CATEGORICAL),
            ),
            ("numbers", numbers, _positions(inputs, FeatureKind.NUMERIC)),
        ]
    )
    model = (
        Ridge(**{"alpha": 1.0, "random_state": seed, **hyperparameters})
        if task is Task.REGRESSION
        else LogisticRegression(**{"max_iter": 200, "random_state": seed, **hyperparameters})
    )
    return Pipeline([("prepare", prepare), ("model", model)])  # type: ignore[no-any-return]


def _gradient_boosting(task: Task, inputs: tuple[Input, ...], seed: int, hyperparameters: dict[str, Any]) -> Estimator:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    # categories go in as ordered codes: skl2onnx converts `categorical_features` silently wrong
    family = HistGradientBoostingRegressor if task is Task.REGRESSION else HistGradientBoostingClassifier
    return family(**{"early_stopping": False, "random_state": seed, **hyperparameters})  # type: ignore[no-any-return]


def _lightgbm(task: Task, inputs: tuple[Input, ...], seed: int, hyperparameters: dict[str, Any]) -> Estimator:
    from lightgbm import LGBMClassifier, LGBMRegressor

    family = LGBMRegressor if task is Task.REGRESSION else LGBMClassifier
    fixed = {"random_state": seed, "deterministic": True, "force_row_wise": True, "verbosity": -1}
    return family(**{**fixed, **hyperparameters})  # type: ignore[no-any-return]


def _positions(inputs: tuple[Input, ...], kind: FeatureKind) -> list[int]:
    return [position for position, item in enumerate(inputs) if item.kind is kind]
