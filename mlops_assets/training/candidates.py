"""Makes the unfitted, scikit-learn compatible estimator of a candidate."""

import importlib
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlops_assets.errors import DeclarationError, choices
from mlops_assets.products.candidates import Candidate
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.search import Range, Real, Whole
from mlops_assets.products.task import Task
from mlops_assets.state.manifest import Input


class Estimator(Protocol):
    """The methods that the platform calls on an estimator, which may be the user's own."""

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], **options: Any) -> Any: ...  # noqa: N803 (sklearn's)

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float64]: ...  # noqa: N803 (sklearn's)


PACKAGES = ("sklearn", "lightgbm")  # a recipe may name their estimators without a declaration of the product


def make_estimator(
    candidate: Candidate, task: Task, inputs: tuple[Input, ...], seed: int, declared: Collection[str] = ()
) -> Estimator:
    """The candidate's estimator for this task.

    declared: packages and paths that the product allows (`ModelProduct.declared_estimators`). A name may come from a stored
    recipe or an MLflow run, which are data, so nothing outside of these and of PACKAGES is imported or called.
    Raises DeclarationError if the family is unknown, or the estimator is not allowed, cannot be imported or takes other
    hyperparameters."""
    families: dict[str, Callable[..., Estimator]] = {
        "linear": _linear,
        "gradient_boosting": _gradient_boosting,
        "lightgbm": _lightgbm,
        "forest": _forest,
        "dummy": _dummy,
    }
    settings = dict(candidate.hyperparameters)
    try:
        if candidate.estimator in families:
            return families[candidate.estimator](task, inputs, seed, settings)
        module, separator, name = candidate.estimator.partition(":")
        if not separator:
            raise DeclarationError(
                f"candidate {candidate.name!r}: no estimator family {candidate.estimator!r}. "
                f"{choices(candidate.estimator, families)} For an estimator of your own, write 'package.module:name'."
            )
        if candidate.estimator in declared:
            family = getattr(importlib.import_module(module), name)
            if not isinstance(family, type):
                return family(task, **settings)  # type: ignore[no-any-return] # a function of the user
        else:
            family = _declared_class(candidate, module, name, (*PACKAGES, *declared))
        return _custom(family, seed, settings, impute=not candidate.to_onnx)
    except (ImportError, AttributeError) as error:
        raise DeclarationError(
            f"candidate {candidate.name!r}: {candidate.estimator} cannot be imported: {error}."
        ) from error
    except TypeError as error:
        raise DeclarationError(
            f"candidate {candidate.name!r}: {candidate.estimator} does not take {settings or 'no hyperparameters'}: {error}."
        ) from error


def _declared_class(candidate: Candidate, module: str, name: str, packages: Sequence[str]) -> type:
    """Raises DeclarationError if the estimator is not in a declared package, or is not a class with `fit`."""
    allowed = ", ".join(item for item in packages if ":" not in item)
    refusal = f"candidate {candidate.name!r}: {candidate.estimator} may not be used"
    remedy = "Declare estimator_packages=(…,) in the product, or make it one of its candidates."
    if not _is_in(module, packages):
        raise DeclarationError(f"{refusal}: estimators are taken by name only from {allowed}. {remedy}")
    family = getattr(importlib.import_module(module), name)
    if (
        not isinstance(family, type)
        or not callable(getattr(family, "fit", None))
        or not _is_in(family.__module__, packages)
    ):
        raise DeclarationError(f"{refusal}: it is not a class with `fit` in {allowed}. {remedy}")
    return family


def _is_in(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def default_space(estimator: str, task: Task) -> Mapping[str, Range]:
    """The hyperparameters that an experiment varies unless the candidate declares a space; none for a custom estimator."""
    linear: dict[str, Range] = (
        {"alpha": Real(1e-2, 1e3, log=True)} if task is Task.REGRESSION else {"C": Real(1e-3, 1e1, log=True)}
    )
    families: dict[str, dict[str, Range]] = {
        "linear": linear,
        "gradient_boosting": {
            "learning_rate": Real(0.02, 0.2, log=True),
            "max_leaf_nodes": Whole(8, 64, log=True),
            "l2_regularization": Real(1e-3, 1e2, log=True),
        },
        "lightgbm": {
            "learning_rate": Real(0.02, 0.2, log=True),
            "num_leaves": Whole(8, 64, log=True),
            "min_child_samples": Whole(10, 500, log=True),
            "reg_lambda": Real(1e-3, 1e2, log=True),
        },
        "forest": {"max_depth": Whole(6, 14), "min_samples_leaf": Whole(5, 200, log=True)},
    }
    return families.get(estimator, {})


def fit_options(candidate: Candidate, inputs: tuple[Input, ...]) -> dict[str, Any]:
    """Options of `fit`: LightGBM takes the positions of its categorical inputs."""
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

    # categories are passed as ordered codes, because skl2onnx silently converts `categorical_features` wrong
    family = HistGradientBoostingRegressor if task is Task.REGRESSION else HistGradientBoostingClassifier
    return family(**{"early_stopping": False, "random_state": seed, **hyperparameters})  # type: ignore[no-any-return]


def _lightgbm(task: Task, inputs: tuple[Input, ...], seed: int, hyperparameters: dict[str, Any]) -> Estimator:
    from lightgbm import LGBMClassifier, LGBMRegressor

    family = LGBMRegressor if task is Task.REGRESSION else LGBMClassifier
    # n_jobs 0: as many threads as OpenMP is allowed when the model is fitted
    fixed = {"random_state": seed, "deterministic": True, "force_row_wise": True, "verbosity": -1, "n_jobs": 0}
    return family(**{**fixed, **hyperparameters})  # type: ignore[no-any-return]


def _forest(task: Task, inputs: tuple[Input, ...], seed: int, hyperparameters: dict[str, Any]) -> Estimator:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    family = RandomForestRegressor if task is Task.REGRESSION else RandomForestClassifier
    fixed = {"n_estimators": 60, "max_depth": 12, "min_samples_leaf": 20, "n_jobs": 2, "random_state": seed}
    return _with_imputer(family(**{**fixed, **hyperparameters}))


def _dummy(task: Task, inputs: tuple[Input, ...], seed: int, hyperparameters: dict[str, Any]) -> Estimator:
    from sklearn.dummy import DummyClassifier, DummyRegressor

    if task is Task.REGRESSION:
        return DummyRegressor(**{"strategy": "median", **hyperparameters})  # type: ignore[no-any-return]
    return DummyClassifier(**{"strategy": "prior", **hyperparameters})  # type: ignore[no-any-return]


def _custom(family: type, seed: int, hyperparameters: dict[str, Any], *, impute: bool) -> Estimator:
    """An estimator by class: seeded if it takes a seed, with an imputer if it does not handle nulls. impute: False for an
    estimator that has its own ONNX converter."""
    seeded = {"random_state": seed} if "random_state" in inspect.signature(family).parameters else {}
    estimator: Estimator = family(**{**seeded, **hyperparameters})
    handles_nulls = family.__name__.startswith(("HistGradientBoosting", "LGBM"))
    return _with_imputer(estimator) if impute and not handles_nulls else estimator


def _with_imputer(estimator: Estimator) -> Estimator:
    """Fills nulls with the median first: most estimators refuse nulls, and skl2onnx sends them down the wrong branch of a
    tree."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline

    fill = SimpleImputer(strategy="median", keep_empty_features=True)
    return Pipeline([("fill", fill), ("model", estimator)])  # type: ignore[no-any-return]


def _positions(inputs: tuple[Input, ...], kind: FeatureKind) -> list[int]:
    return [position for position, item in enumerate(inputs) if item.kind is kind]
