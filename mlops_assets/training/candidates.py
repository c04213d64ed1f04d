"""Turns a candidate into an unfitted, scikit-learn compatible estimator."""

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
    """What the platform needs of an estimator, which may be the user's own."""

    def fit(self, X: NDArray[np.float32], y: NDArray[np.float64], **options: Any) -> Any: ...  # noqa: N803 (sklearn's)

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float64]: ...  # noqa: N803 (sklearn's)


PACKAGES = ("sklearn", "lightgbm")  # a recipe may name their estimators without a declaration


def make_estimator(
    candidate: Candidate, task: Task, inputs: tuple[Input, ...], seed: int, declared: Collection[str] = ()
) -> Estimator:
    """The candidate's estimator for this task.

    declared: what the product lets a name be of (`ModelProduct.declared_estimators`). A name may come from a stored recipe or
    an MLflow run, which are data: nothing is imported or called that neither they nor we declared.
    Raises DeclarationError: no such family, what it names may not be used, cannot be imported, or takes other hyperparameters."""
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
                f"{choices(candidate.estimator, families)} For your own, write 'package.module:name'."
            )
        if candidate.estimator in declared:
            found = getattr(importlib.import_module(module), name)
            is_class = isinstance(found, type)
            return _own(found, seed, settings, fills=not candidate.to_onnx) if is_class else found(task, **settings)
        named = _declared_class(candidate, module, name, (*PACKAGES, *declared))
        return _own(named, seed, settings, fills=not candidate.to_onnx)
    except (ImportError, AttributeError) as error:
        raise DeclarationError(
            f"candidate {candidate.name!r}: {candidate.estimator} cannot be imported: {error}."
        ) from error
    except TypeError as error:
        raise DeclarationError(
            f"candidate {candidate.name!r}: {candidate.estimator} does not take {settings or 'no hyperparameters'}: {error}."
        ) from error


def _declared_class(candidate: Candidate, module: str, name: str, packages: Sequence[str]) -> type:
    """Raises DeclarationError: the estimator is of no declared package, or is no class with `fit`."""
    known = ", ".join(item for item in packages if ":" not in item)
    refused = f"candidate {candidate.name!r}: {candidate.estimator} may not be used"
    remedy = "Declare estimator_packages=(…,) in the product, or make it one of its candidates."
    if not _is_of(module, packages):
        raise DeclarationError(f"{refused}: estimators are taken by name from {known}. {remedy}")
    found = getattr(importlib.import_module(module), name)
    if (
        not isinstance(found, type)
        or not callable(getattr(found, "fit", None))
        or not _is_of(found.__module__, packages)
    ):
        raise DeclarationError(f"{refused}: it is no class with `fit` of {known}. {remedy}")
    return found


def _is_of(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def default_space(estimator: str, task: Task) -> Mapping[str, Range]:
    """What an experiment varies of a family unless the candidate says otherwise; nothing for an estimator of one's own."""
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


def _forest(task: Task, inputs: tuple[Input, ...], seed: int, hyperparameters: dict[str, Any]) -> Estimator:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    family = RandomForestRegressor if task is Task.REGRESSION else RandomForestClassifier
    fixed = {"n_estimators": 60, "max_depth": 12, "min_samples_leaf": 20, "n_jobs": 2, "random_state": seed}
    return _filled(family(**{**fixed, **hyperparameters}))


def _dummy(task: Task, inputs: tuple[Input, ...], seed: int, hyperparameters: dict[str, Any]) -> Estimator:
    from sklearn.dummy import DummyClassifier, DummyRegressor

    made: Estimator = (
        DummyRegressor(**{"strategy": "median", **hyperparameters})
        if task is Task.REGRESSION
        else DummyClassifier(**{"strategy": "prior", **hyperparameters})
    )
    return made


def _own(family: type, seed: int, hyperparameters: dict[str, Any], *, fills: bool) -> Estimator:
    """A class the user names: seeded where it takes a seed, nulls filled where it would not take them faithfully. fills: one that
    brings its own ONNX is left as it is."""
    takes = inspect.signature(family).parameters
    seeded = {"random_state": seed} if "random_state" in takes else {}
    made: Estimator = family(**{**seeded, **hyperparameters})
    keeps_nulls = not fills or family.__name__.startswith(("HistGradientBoosting", "LGBM"))
    return made if keeps_nulls else _filled(made)


def _filled(estimator: Estimator) -> Estimator:
    """Nulls filled with the median before it: most estimators refuse them, and skl2onnx sends them down the wrong branch
    of a tree."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline

    fill = SimpleImputer(strategy="median", keep_empty_features=True)
    return Pipeline([("fill", fill), ("model", estimator)])  # type: ignore[no-any-return]


def _positions(inputs: tuple[Input, ...], kind: FeatureKind) -> list[int]:
    return [position for position, item in enumerate(inputs) if item.kind is kind]
