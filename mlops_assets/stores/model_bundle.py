"""The serving bundle: model as ONNX, signature, category maps, reference profile and checksums, immutable.

    manifest.json    what it is, what goes in and out, what it was made from, SHA-256 of every other file
    model.onnx       float32 matrix (n, inputs) -> scores
    reference.json   profile of the training window, for drift readings
    estimator.skops  the fitted estimator, for parity and reproduction; the API never opens it

It needs neither MLflow nor scikit-learn to be read.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.errors import BundleError
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task

if TYPE_CHECKING:
    import onnxruntime

MANIFEST, MODEL, REFERENCE, ESTIMATOR = "manifest.json", "model.onnx", "reference.json", "estimator.skops"
_OUTPUTS = ["scores"]
UNKNOWN = -1.0  # code of a category that the training window never held, and of null


class Input(msgspec.Struct, frozen=True):
    """One column of the model's matrix; `categories` in the order of their codes, empty for numbers."""

    name: str
    kind: FeatureKind
    unit: str = ""
    categories: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True):
    """What a bundle is and what it was made from.

    metrics: of the test window. spread_percent: natural week-to-week spread of the primary metric, in percent of its
    value. classes: names of the classes in code order, empty for regression. search: whether the hyperparameters are
    those of the version before. input_versions: content hash of every partition it was trained on. packages, lock:
    versions it depends on to the bit, and a hash of all that were installed. typical: a row of the model's matrix as it
    usually is, (inputs,), NaN for null; what explanations compare with, empty where the version has none. calibrated: the
    model ends in a sigmoid that was fitted on later rows than the estimator.
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
    features_fingerprint: str
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
    typical: tuple[float | None, ...] = ()
    calibrated: bool = False


class Bundle:
    """A bundle that was opened and checked; scores feature rows."""

    def __init__(self, folder: Path, manifest: Manifest, session: "onnxruntime.InferenceSession") -> None:
        self.folder = folder
        self.manifest = manifest
        self._session = session
        self._encode_rows = _row_encoder(manifest.inputs)

    @classmethod
    def open(cls, folder: Path, product: ModelProduct | None = None, *, threads: int = 1) -> "Bundle":
        """Check every checksum and load the model.

        Raises BundleError: a file is missing or damaged, or `product` now has another task or other features."""
        import onnxruntime

        manifest = read_manifest(folder)
        for name, checksum in manifest.checksums.items():
            path = folder / name
            if not path.exists() or _sha256(path) != checksum:
                raise BundleError(
                    f"{path} is {'damaged' if path.exists() else 'missing'}. Materialise the model again."
                )
        if product is not None and product.fingerprint() != manifest.features_fingerprint:
            raise BundleError(
                f"version {manifest.version} of {product.name} was trained on other feature definitions than the code has now. "
                "Retrain it, or go back to the code it was trained with."
            )
        if product is not None and product.task is not manifest.task:
            raise BundleError(
                f"version {manifest.version} of {product.name} was trained for the task {manifest.task}, and the product "
                f"declares {product.task} now. Retrain it, or go back to the code it was trained with."
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(folder / MODEL), options, providers=["CPUExecutionProvider"])
        return cls(folder, manifest, session)

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(item.name for item in self.manifest.inputs)

    def encode(self, features: pl.DataFrame) -> NDArray[np.float32]:
        """Feature columns to the model's float32 matrix (n, inputs)."""
        return encode(features, self.manifest.inputs)

    def encode_rows(self, rows: Sequence[tuple[float | str | None, ...]]) -> tuple[NDArray[np.float32], list[int]]:
        """Rows of inputs in the manifest's order, without a data frame; and the numbers of those in which a category
        is null or unknown."""
        strangers: list[int] = []
        flat = self._encode_rows(rows, strangers)
        return np.fromiter(flat, np.float32, len(flat)).reshape(len(rows), len(self.manifest.inputs)), strangers

    def unknown_categories(self, row: Sequence[float | str | None]) -> list[str]:
        """Names of inputs whose category the training window never held."""
        return [
            item.name
            for item, value in zip(self.manifest.inputs, row, strict=True)
            if item.kind is FeatureKind.CATEGORICAL and value is not None and value not in item.categories
        ]

    def typical(self) -> NDArray[np.float32] | None:
        """(inputs,), None where the version was made without."""
        known = self.manifest.typical
        return np.array([np.nan if value is None else value for value in known], np.float32) if known else None

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) probability of class 1 (binary) or prediction (regression); (n, classes) for multiclass."""
        if not len(matrix):
            return np.empty(0, dtype=np.float32)
        (raw,) = self._session.run(_OUTPUTS, {"inputs": matrix})
        scores = np.asarray(raw, dtype=np.float32)
        if self.manifest.task is Task.BINARY:
            return scores[:, 1]
        return scores if self.manifest.task is Task.MULTICLASS else scores.reshape(-1)

    def predict(self, features: pl.DataFrame) -> NDArray[np.float32]:
        return self.score(self.encode(features))


def _row_encoder(inputs: tuple[Input, ...]) -> Callable[[Sequence[Any], list[int]], list[float]]:
    """`encode` for rows, written out for these inputs: a loop over them costs five times as much."""
    names = [f"a{position}" for position in range(len(inputs))]
    codes = {
        name: {category: float(code) for code, category in enumerate(item.categories)}.get
        for name, item in zip(names, inputs, strict=True)
        if item.kind is FeatureKind.CATEGORICAL
    }
    body = [f"{name} = code_{name}({name}, UNKNOWN)" for name in codes]
    if codes:
        body.append(f"if {' or '.join(f'{name} < 0' for name in codes)}: strangers.append(number)")
    values = [name if name in codes else f"NAN if {name} is None else {name}" for name in names]
    body.append(f"flat += ({''.join(f'{value}, ' for value in values)})")
    source = [
        "def encode_rows(rows, strangers):",
        "    flat = []",
        f"    for number, ({''.join(f'{name}, ' for name in names)}) in enumerate(rows):",
        *(f"        {line}" for line in body),
        "    return flat",
    ]
    namespace: dict[str, Any] = {f"code_{name}": code for name, code in codes.items()}
    namespace |= {"UNKNOWN": UNKNOWN, "NAN": float("nan")}
    exec("\n".join(source), namespace)  # made of positions only: no name or category of the manifest is in it
    return namespace["encode_rows"]  # type: ignore[no-any-return]


def encode(features: pl.DataFrame, inputs: tuple[Input, ...]) -> NDArray[np.float32]:
    """Categories to their codes, null and unknown to -1, numbers to float32 with NaN for null; (n, inputs)."""
    return np.ascontiguousarray(features.select(_encoded(item) for item in inputs).to_numpy(), dtype=np.float32)


def _encoded(item: Input) -> pl.Expr:
    column = pl.col(item.name)
    if item.kind is FeatureKind.NUMERIC:
        return column.cast(pl.Float32).fill_null(float("nan"))
    if not item.categories:
        return (
            column.is_null().replace_strict({True: UNKNOWN, False: UNKNOWN}, return_dtype=pl.Float32).alias(item.name)
        )
    codes = dict(zip(item.categories, map(float, range(len(item.categories))), strict=True))
    return column.replace_strict(codes, default=UNKNOWN, return_dtype=pl.Float32).fill_null(UNKNOWN)


def read_manifest(folder: Path) -> Manifest:
    """Raises BundleError: there is none, or it is not one of this version."""
    path = folder / MANIFEST
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise BundleError(f"no bundle in {folder}: {MANIFEST} is missing. Materialise the model.") from None
    except msgspec.MsgspecError as error:
        raise BundleError(f"{path} cannot be read: {error}. Materialise the model again.") from error


def write_bundle(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
    """Write all files beside `folder`, then move the folder into place.

    Returns the manifest with checksums. Raises BundleError: there is a bundle of that version already."""
    half = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    try:
        for name, content in files.items():
            (half / name).write_bytes(content)
        sealed = msgspec.structs.replace(manifest, checksums={name: _sha256(half / name) for name in sorted(files)})
        (half / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(sealed, order="deterministic")))
        if folder.exists():
            raise BundleError(
                f"{folder} exists already, and a bundle is never replaced. The registry gave a version number twice: "
                "was its store emptied while the data home was kept? Restore it, or name another MLOPS_HOME."
            )
        half.replace(folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return sealed


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
