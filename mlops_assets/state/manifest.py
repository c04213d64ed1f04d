"""A bundle's manifest: what the model is, what it was built from, and the SHA-256 of each of the bundle's files.

manifest.json    the manifest
manifest.sig     HMAC of the manifest, where MLOPS_APPROVAL_KEY was set
model.onnx       float32 matrix (n, inputs) -> scores
reference.json   profile of the training window, for drift readings
estimator.skops  the fitted estimator, for parity and reproduction; the API never opens it
golden.zip       inputs of the feature definitions with the values they gave; replayed when the bundle is opened
"""

import hashlib
import hmac
import re
from collections.abc import Collection
from datetime import datetime

import msgspec

from mlops_assets.errors import BundleError
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.task import Task
from mlops_assets.state.calibration import Calibration

MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
MODEL, REFERENCE, ESTIMATOR, GOLDEN = "model.onnx", "reference.json", "estimator.skops", "golden.zip"
FILES = frozenset({MODEL, REFERENCE, ESTIMATOR, GOLDEN})  # a manifest contains the checksums of these
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Input(msgspec.Struct, frozen=True):
    """One column of the model's matrix; `categories` in the order of their codes, empty for numbers."""

    name: str
    kind: FeatureKind
    unit: str = ""
    categories: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True, rename={"baseline_row": "typical"}):
    """What a bundle is and what it was built from.

    metrics: those of the test window. spread_percent: natural week-to-week spread of the primary metric, in percent of its
    value. classes: names of the classes in code order, empty for regression. search: whether the hyperparameters are
    those of the previous version. input_versions: content hash of every partition it was trained on. packages, lock:
    package versions that determine the result to the bit, and a hash of all installed packages. baseline_row: the row of the
    model's matrix that explanations compare with, (inputs,), None for null, empty where the version has none; its name in the
    file is that of the first release. calibration: of the model's probabilities, fitted on later rows than the estimator.
    shift_since: first period of the shift on whose later half it was tested, "" where it was tested on the whole test window.
    fitted_until: its newest training row, tested_from: its oldest test row; None in bundles that were written before these
    were recorded.
    """

    product: str
    version: int
    partition: str
    created_at: datetime
    task: Task
    label: str
    label_unit: str
    metric: str
    inputs: tuple[Input, ...]
    classes: tuple[str, ...]
    estimator: str
    hyperparameters: dict[str, int | float | str | bool | None]
    recipe_version: int
    training_data_version: str
    mlflow_run_id: str
    dagster_run_id: str
    git_commit: str
    rows: int
    metrics: dict[str, float] = {}
    spread_percent: float = 0.0
    seed: int | None = None
    search: str = ""
    input_versions: dict[str, str] = {}
    packages: dict[str, str] = {}
    lock: str = ""
    checksums: dict[str, str] = {}
    baseline_row: tuple[float | None, ...] = ()
    calibration: Calibration | None = None
    shift_since: str = ""
    fitted_until: datetime | None = None
    tested_from: datetime | None = None


def encoded(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"))


def decoded(content: bytes, title: str) -> Manifest:
    """title: the bundle's name in errors. Raises BundleError: this is not a manifest, or it names a file that is not a bundle's."""
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{title}: {MANIFEST} cannot be read: {error}. Materialise the model again.") from error
    _check_names(manifest.checksums, title)
    if wrong := [name for name, checksum in manifest.checksums.items() if not _SHA256.fullmatch(checksum)]:
        raise BundleError(
            f"{title}: the checksum of {', '.join(wrong)} is not a SHA-256. Find out who wrote it, and materialise the model again."
        )
    return manifest


def checksum(content: bytes) -> str:
    """SHA-256, as hex."""
    return hashlib.sha256(content).hexdigest()


def signature(manifest: bytes, approval_key: str) -> bytes:
    """HMAC-SHA256 of the stored manifest, as hex."""
    return hmac.new(approval_key.encode(), b"Manifest\n" + manifest, hashlib.sha256).hexdigest().encode()


def _check_names(names: Collection[str], title: str) -> None:
    """Raises BundleError: the model is missing, or a name is not that of a bundle's file (such as ../ or an address)."""
    if foreign := sorted({*names} - FILES):
        raise BundleError(
            f"{title} names {', '.join(map(repr, foreign))}, which is not a file of a bundle. Known: {', '.join(sorted(FILES))}. "
            "Find out who wrote it, and materialise the model again."
        )
    if MODEL not in names:
        raise BundleError(f"{title} has no checksum of {MODEL}, so it cannot be verified. Materialise the model again.")
