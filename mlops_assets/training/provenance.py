"""What a version was made from: the stored partitions, the packages, and whether its hyperparameters were searched anew."""

import hashlib
from functools import cache
from importlib import metadata

import msgspec

from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.home import Home

TRAINING_INPUTS = "training_inputs"
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


class TrainingInputs(msgspec.Struct, frozen=True):
    """Which partitions a training set was made of. versions: content hash by `features/2013-07-01`."""

    data_version: str
    versions: dict[str, str]


def inputs_of_window(product: ModelProduct, home: Home, key: str) -> dict[str, str]:
    """Content hash of every partition the training set of `key` is made of. Raises PartitionMissing."""
    window = product.period.window_before(key, product.training_window)
    return {
        f"{name}/{period.key}": home.offline.version(f"{product.name}/{name}", period.key)
        for name in ("features", "labels")
        for period in window
    }


def recorded_inputs(product: ModelProduct, home: Home, key: str, data_version: str) -> dict[str, str]:
    """What was noted when the stored training set was made; empty where it was made by other means."""
    if not home.documents.has(product.name, TRAINING_INPUTS, key):
        return {}
    noted = home.documents.load(product.name, TRAINING_INPUTS, key, TrainingInputs)
    return noted.versions if noted.data_version == data_version else {}


@cache
def lock_hash() -> str:
    """Hash of the name and version of every package that is installed."""
    listed = sorted({f"{item.name.lower()}=={item.version}" for item in metadata.distributions() if item.name})
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()[:16]


@cache
def numeric_packages() -> dict[str, str]:
    """Versions of the packages that a bundle depends on to the bit."""
    return {name: metadata.version(name) for name in NUMERIC}
