"""Candidates: recipes that an experiment compares. `training.candidates` turns them into estimators."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from mlops_assets.products.search import Range

Hyperparameter = int | float | str | bool | None


@dataclass(frozen=True)
class Candidate:
    """A named recipe: estimator family and hyperparameters.

    estimator: "linear", "gradient_boosting", "lightgbm", "forest", "dummy", or "package.module:name" for one of your own:
        the class of a scikit-learn compatible estimator, or a factory that takes the Task and the hyperparameters and
        returns one.
    space: hyperparameters an experiment may vary, each with its range; None: those of the family, {}: none.
    """

    name: str
    estimator: str
    hyperparameters: Mapping[str, Hyperparameter] = field(default_factory=dict)
    space: Mapping[str, Range] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "hyperparameters", MappingProxyType(dict(self.hyperparameters)))
        if self.space is not None:
            object.__setattr__(self, "space", MappingProxyType(dict(self.space)))


def linear(name: str = "linear", **hyperparameters: Hyperparameter) -> Candidate:
    """Logistic or ridge regression on scaled numbers and one-hot categories."""
    return Candidate(name, "linear", hyperparameters)


def gradient_boosting(name: str = "gradient_boosting", **hyperparameters: Hyperparameter) -> Candidate:
    """scikit-learn's histogram gradient boosting."""
    return Candidate(name, "gradient_boosting", hyperparameters)


def lightgbm(name: str = "lightgbm", **hyperparameters: Hyperparameter) -> Candidate:
    """LightGBM with native categories."""
    return Candidate(name, "lightgbm", hyperparameters)


def forest(name: str = "forest", **hyperparameters: Hyperparameter) -> Candidate:
    """Random forest of scikit-learn; nulls are filled with the median."""
    return Candidate(name, "forest", hyperparameters)


def dummy(name: str = "dummy") -> Candidate:
    """Answers the same to every row: what a candidate has to beat to have learned anything."""
    return Candidate(name, "dummy", {}, {})


def own(estimator: str, name: str = "", **hyperparameters: Hyperparameter) -> Candidate:
    """An estimator of your own by its path, as in own("sklearn.ensemble:ExtraTreesClassifier", max_depth=12)."""
    return Candidate(name or estimator.rpartition(":")[2], estimator, hyperparameters)
