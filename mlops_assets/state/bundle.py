"""An open bundle: its files are verified, its model is loaded, and it scores rows.

It needs neither MLflow nor scikit-learn.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.task import Task
from mlops_assets.state.bundle_files import BundleFiles
from mlops_assets.state.encoding import encode, row_encoder
from mlops_assets.state.manifest import MANIFEST, MODEL, Manifest, decoded, encoded
from mlops_assets.state.objects import Folder

if TYPE_CHECKING:
    import onnxruntime

_OUTPUTS = ["scores"]


class Bundle:
    """title: the bundle's name in errors. size: bytes of its files."""

    def __init__(
        self, files: BundleFiles, manifest: Manifest, session: "onnxruntime.InferenceSession", size: int
    ) -> None:
        self.manifest = manifest
        self.size = size
        self._files = files
        self._session = session
        self._encode_rows = row_encoder(manifest.inputs)

    @classmethod
    def open(cls, folder: Path, *, threads: int = 1, approval_key: str = "") -> "Bundle":
        """Open a bundle in a folder outside of a state: in an image, or in a folder that a hosted platform mounts.

        Raises BundleError, as `load` does, or because the manifest is missing or, with a key, not signed with it."""
        return cls.load(_files_in(folder), read_manifest(folder, approval_key), threads)

    @classmethod
    def load(cls, files: BundleFiles, manifest: Manifest, threads: int) -> "Bundle":
        """Check every file and load the model. Raises BundleError: a file is missing or damaged."""
        import onnxruntime

        contents = {name: files.content(manifest, name) for name in manifest.checksums}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # loaded from the checked bytes: a file could be replaced before ONNX Runtime reads it
        session = onnxruntime.InferenceSession(contents[MODEL], options, providers=["CPUExecutionProvider"])
        return cls(files, manifest, session, sum(map(len, contents.values())))

    @property
    def title(self) -> str:
        return self._files.title

    def copy_to(self, folder: Path) -> None:
        """Write its files to a folder, for a program that opens it there. Raises BundleError: a file was damaged since."""
        target = Folder(folder.absolute())
        for name in self.manifest.checksums:
            target.put(name, self.content(name))
        target.put(MANIFEST, encoded(self.manifest))

    def content(self, name: str) -> bytes:
        """A file, unchanged since the bundle was written. Raises BundleError: it is missing, damaged or not in the bundle."""
        return self._files.content(self.manifest, name)

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(item.name for item in self.manifest.inputs)

    def encode(self, features: pl.DataFrame) -> NDArray[np.float32]:
        """Feature columns to the model's float32 matrix (n, inputs)."""
        return encode(features, self.manifest.inputs)

    def encode_rows(self, rows: Sequence[tuple[float | str | None, ...]]) -> tuple[NDArray[np.float32], list[int]]:
        """The matrix of rows of inputs in the manifest's order, without a data frame; and the numbers of the rows in which a
        category is null or unknown."""
        unknown_rows: list[int] = []
        flat = self._encode_rows(rows, unknown_rows)
        return np.fromiter(flat, np.float32, len(flat)).reshape(len(rows), len(self.manifest.inputs)), unknown_rows

    def unknown_categories(self, row: Sequence[float | str | None]) -> list[str]:
        """Names of the inputs whose category did not occur in the training window."""
        return [
            item.name
            for item, value in zip(self.manifest.inputs, row, strict=True)
            if item.kind is FeatureKind.CATEGORICAL and value is not None and value not in item.categories
        ]

    def baseline_row(self) -> NDArray[np.float32] | None:
        """The row that explanations compare with, (inputs,); None where the version has none."""
        row = self.manifest.baseline_row
        return np.array([np.nan if value is None else value for value in row], np.float32) if row else None

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) probability of class 1 (binary) or prediction (regression); (n, classes) for multiclass."""
        if not len(matrix):
            return np.empty(0, dtype=np.float32)
        (raw,) = self._session.run(_OUTPUTS, {"inputs": matrix})
        scores = np.asarray(raw, dtype=np.float32)
        if self.manifest.task is not Task.BINARY:
            return scores if self.manifest.task is Task.MULTICLASS else scores.reshape(-1)
        calibration = self.manifest.calibration
        return scores[:, 1] if calibration is None else calibration.apply(scores[:, 1]).astype(np.float32)

    def predict(self, features: pl.DataFrame) -> NDArray[np.float32]:
        return self.score(self.encode(features))


def read_manifest(folder: Path, approval_key: str = "") -> Manifest:
    """The manifest of a bundle in a folder outside of a state; with a key, the manifest must be signed with it.

    Raises BundleError: the manifest is missing, cannot be read, or is not correctly signed."""
    files = _files_in(folder)
    return decoded(files.manifest(approval_key), files.title)


def _files_in(folder: Path) -> BundleFiles:
    return BundleFiles(str(folder), Folder(folder.absolute()).get)
