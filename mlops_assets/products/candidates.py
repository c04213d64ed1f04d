"""Candidates: recipes that an experiment compares. `training.candidates` turns them into estimators."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Hyperparameter = int | float | str | bool | None


@dataclass(frozen=True)
class Candidate:
    """A named recipe: estimator family and hyperparameters.

    estimator: "linear", "gradient_boosting", "lightgbm", or "package.module:factory" for one of your own; a factory
        takes the Task and the hyperparameters and returns a scikit-learn compatible estimator.
    """

    name: str
    estimator: str
    hyperparameters: Mapping[str, Hyperparameter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hyperparameters", MappingProxyType(dict(self.hyperparameters)))


def linear(name: str = "linear", **hyperparameters: Hyperparameter) -> Candidate:
    """Logistic or ridge regression on scaled numbers and one-hot categories."""
    return Candidate(name, "linear", hyperparameters)


def gradient_boosting(name: str = "gradient_boosting", **hyperparameters: Hyperparameter) -> Candidate:
    """scikit-learn's histogram gradient boosting."""
    return Candidate(name, "gradient_boosting", hyperparameters)


def lightgbm(name: str = "lightgbm", **hyperparameters: Hyperparameter) -> Candidate:
    """LightGBM with native categories."""
    return Candidate(name, "lightgbm", hyperparameters)
