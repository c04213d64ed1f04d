"""Builds a version again from its recorded origin, and says whether it is identical to the bit or what changed."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from mlops_assets.errors import DataError
from mlops_assets.features.golden import Golden
from mlops_assets.products.candidates import Candidate
from mlops_assets.state.bundle import Bundle
from mlops_assets.state.bundles import Bundles
from mlops_assets.state.contents import contents_of
from mlops_assets.state.manifest import GOLDEN, Input, Manifest, checksum
from mlops_assets.state.model_registry import git_commit
from mlops_assets.state.objects import Folder
from mlops_assets.state.workspace import ProductState
from mlops_assets.training.build import train
from mlops_assets.training.golden import golden_rows
from mlops_assets.training.provenance import inputs_of_window, lock_hash, numeric_packages
from mlops_assets.training.split import SPLIT, TEST
from mlops_assets.training.window import load_training_set

SHOWN = 3


@dataclass(frozen=True)
class Reproduction:
    """A version that was built again. files: name to whether its bytes are identical. largest_difference: of the predictions on
    the test rows, None if they could not be compared. changed: what differs from the record, in words."""

    version: int
    data_is_same: bool
    files: dict[str, bool]
    largest_difference: float | None
    rows: int
    changed: tuple[str, ...]

    @property
    def is_identical(self) -> bool:
        return self.data_is_same and all(self.files.values()) and self.largest_difference == 0


def reproduce(state: ProductState, version: int, on_progress: Callable[[str], None] = lambda _: None) -> Reproduction:
    """Build the training set and the bundle of `version` again in a temporary folder, without changing stored data.

    Raises DeclarationError if there is no such version, DataError if a partition of its window is no longer stored."""
    product = state.product
    state.bundles.require(version)
    recorded = state.bundles.open(version)
    manifest = recorded.manifest
    changed = list(_changes(state, manifest))
    if difference := Golden.unpack(recorded.content(GOLDEN), recorded.title).first_difference(product):
        changed.append(f"the feature definitions in the code: {difference}")
    on_progress(f"building the training set of {manifest.partition} again")
    with tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
        rows = load_training_set(state, manifest.partition, manifest.shift_since)
        data_version = contents_of(rows).version
        recorded_product = replace(product, calibrate=manifest.calibration is not None)
        candidate = Candidate(f"version {version}", manifest.estimator, manifest.hyperparameters)
        trained = train(recorded_product, candidate, rows, on_progress, manifest.shift_since)
        checksums = {name: checksum(content) for name, content in trained.files.items()}
        with suppress(DataError):  # the definitions changed, or a source table is no longer stored
            checksums[GOLDEN] = checksum(golden_rows(state, manifest.partition, rows))
        files = {name: checksums.get(name) == sha256 for name, sha256 in manifest.checksums.items()}
        largest = _largest_difference(recorded, trained.files, trained.fitted.inputs, rows, Path(folder))
    return Reproduction(
        version,
        data_version == manifest.training_data_version,
        files,
        largest,
        rows.filter(pl.col(SPLIT) == TEST).height,
        tuple(changed),
    )


def _changes(state: ProductState, manifest: Manifest) -> Iterator[str]:
    product = state.product
    if manifest.input_versions:
        now = inputs_of_window(state, manifest.partition)
        was = manifest.input_versions
        changed = sorted(name for name in {*now, *was} if now.get(name) != was.get(name))
        if changed:
            more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
            yield f"data: {', '.join(changed[:SHOWN])}{more}"
    if manifest.seed is not None and manifest.seed != product.seed:
        yield f"seed: {manifest.seed}, now {product.seed}"
    if (was_calibrated := manifest.calibration is not None) != product.calibrate:
        yield f"declaration: calibrate={was_calibrated}, now {product.calibrate} (built with {was_calibrated})"
    commit = git_commit()
    if manifest.git_commit != commit:
        yield f"code: commit {manifest.git_commit or 'unknown'}, now {commit}"
    packages = numeric_packages()
    versions = [
        f"{name} {was}, now {packages.get(name, 'absent')}"
        for name, was in manifest.packages.items()
        if packages.get(name) != was
    ]
    if versions:
        yield f"packages: {'; '.join(versions)}"
    elif manifest.lock and manifest.lock != lock_hash():
        yield "packages: only some that predictions do not depend on"


def _largest_difference(
    recorded: Bundle, files: Mapping[str, bytes], inputs: tuple[Input, ...], rows: pl.DataFrame, folder: Path
) -> float | None:
    again = Bundles(Folder(folder), recorded.manifest.product, cache=None)
    again.write(msgspec.structs.replace(recorded.manifest, inputs=inputs, checksums={}), files)
    test = rows.filter(pl.col(SPLIT) == TEST)
    old, new = (
        np.asarray(item.predict(test), dtype=np.float64) for item in (recorded, again.open(recorded.manifest.version))
    )
    return float(np.max(np.abs(old - new))) if old.shape == new.shape and len(old) else None
