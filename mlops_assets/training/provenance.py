"""The origin of a version: its stored input partitions, installed packages, and whether its hyperparameters are new."""

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
    """Content hash of every partition that the training set of `key` is built from. Raises PartitionMissing."""
    product = state.product
    window = product.period.window_before(key, product.training_window)
    return {
        f"{name}/{period.key}": state.tables.version(name, period.key)
        for name in ("features", "labels")
        for period in window
    }


def recorded_inputs(state: ProductState, key: str, data_version: str) -> TrainingInputs:
    """The recorded inputs of the stored training set; without versions if the record is of another training set."""
    if state.records.has(TrainingInputs, key):
        recorded = state.records.load(TrainingInputs, key)
        if recorded.data_version == data_version:
            return recorded
    return TrainingInputs(data_version, {}, shift_since="")


@cache
def lock_hash() -> str:
    """Hash of the names and versions of all installed packages."""
    installed = sorted({f"{item.name.lower()}=={item.version}" for item in metadata.distributions() if item.name})
    return hashlib.sha256("\n".join(installed).encode()).hexdigest()[:16]


@cache
def numeric_packages() -> dict[str, str]:
    """Versions of the packages that determine a bundle to the bit."""
    return {name: metadata.version(name) for name in NUMERIC}
