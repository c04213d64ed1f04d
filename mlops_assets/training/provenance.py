"""What a version was made from: the stored partitions, the packages, and whether its hyperparameters were searched anew."""

import hashlib
from functools import cache
from importlib import metadata

from mlops_assets.records.training import TrainingInputs
from mlops_assets.state.workspace import ProductState

SAME, NEW = "same hyperparameters", "new hyperparameters"
# packages whose version can change a bundle or its predictions
NUMERIC = (
    "lightgbm",
    "numpy",
    "onnx",
    "onnxmltools",
    "onnxruntime",
    "polars",
    "scikit-learn",
    "scipy",
    "skl2onnx",
    "skops",
)


def inputs_of_window(state: ProductState, key: str) -> dict[str, str]:
    """Content hash of every partition the training set of `key` is made of. Raises PartitionMissing."""
    product = state.product
    window = product.period.window_before(key, product.training_window)
    return {
        f"{name}/{period.key}": state.tables.version(name, period.key)
        for name in ("features", "labels")
        for period in window
    }


def recorded_inputs(state: ProductState, key: str, data_version: str) -> TrainingInputs:
    """What was noted when the stored training set was made; without versions where it was made by other means."""
    if state.records.has(TrainingInputs, key):
        noted = state.records.load(TrainingInputs, key)
        if noted.data_version == data_version:
            return noted
    return TrainingInputs(data_version, {}, shift_since="")


@cache
def lock_hash() -> str:
    """Hash of the name and version of every package that is installed."""
    listed = sorted({f"{item.name.lower()}=={item.version}" for item in metadata.distributions() if item.name})
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()[:16]


@cache
def numeric_packages() -> dict[str, str]:
    """Versions of the packages that a bundle depends on to the bit."""
    return {name: metadata.version(name) for name in NUMERIC}
