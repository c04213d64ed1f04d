"""Candidates: recipes that an experiment compares. `training.candidates` turns them into estimators."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from mlops_assets.errors import DeclarationError
from mlops_assets.products.search import Range

Hyperparameter = int | float | str | bool | None


@dataclass(frozen=True)
class Candidate:
    """A named recipe: estimator family and hyperparameters.

    estimator: "linear", "gradient_boosting", "lightgbm", "forest", "dummy", or "package.module:name" for one of your own:
        the class of a scikit-learn compatible estimator, or a factory that takes the Task and the hyperparameters and
        returns one.
    to_onnx: "package.module:function" that converts a fitted estimator of your own to ONNX, where no converter supports it
        (rules, PyTorch). It takes the estimator, the Task and the number of inputs, and returns an onnx.ModelProto with one
        float32 input (rows, inputs) and one output: (rows, classes) probabilities, or (rows, 1) predictions. Nulls arrive as
        NaN, in `fit` as well. The gate of ONNX parity compares the two.
    space: hyperparameters an experiment may vary, each with its range; None: the ranges of the family, {}: none.
    """

    name: str
    estimator: str
    hyperparameters: Mapping[str, Hyperparameter] = field(default_factory=dict)
    space: Mapping[str, Range] | None = None
    to_onnx: str = ""

    def __post_init__(self) -> None:
        if self.to_onnx and (":" not in self.estimator or not re.fullmatch(r"\w+(\.\w+)*:\w+", self.to_onnx)):
            raise DeclarationError(
                f"candidate {self.name!r}: to_onnx must be 'package.module:function' and goes with an estimator of your own. It is "
                f"{self.to_onnx!r}, and the estimator is {self.estimator!r}."
            )
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
    """Predicts the same for every row. A candidate that does not beat it has learned nothing."""
    return Candidate(name, "dummy", {}, {})


def own(estimator: str, name: str = "", *, to_onnx: str = "", **hyperparameters: Hyperparameter) -> Candidate:
    """An estimator of your own by its path, as in own("sklearn.ensemble:ExtraTreesClassifier", max_depth=12).

    to_onnx: the function that converts it, where neither skl2onnx nor onnxmltools does."""
    return Candidate(name or estimator.rpartition(":")[2], estimator, hyperparameters, to_onnx=to_onnx)
