"""Builds a version again from what it recorded, and says whether it is the same to the bit, or what changed."""

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
    """What came of it. files: name to whether its bytes are the same; largest_difference: of the predictions on the test
    rows, None where they could not be compared; changed: what is not as it was recorded, in words."""

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
    """Rebuild the training set and the bundle of `version` in a temporary folder; nothing that is kept is touched.

    Raises BundleError: there is no bundle of that version. DataError: a partition of its window is gone."""
    product = state.product
    recorded = state.bundles.open(version)
    manifest = recorded.manifest
    changed = list(_changes(state, manifest))
    if other := Golden.unpack(recorded.content(GOLDEN), recorded.title).first_difference(product):
        changed.append(f"the feature definitions in the code: {other}")
    on_progress(f"building the training set of {manifest.partition} again")
    with tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
        rows = load_training_set(state, manifest.partition, manifest.shift_since)
        data_version = contents_of(rows).version
        as_it_was = replace(product, calibrate=manifest.calibration is not None)
        candidate = Candidate(f"version {version}", manifest.estimator, manifest.hyperparameters)
        made = train(as_it_was, candidate, rows, on_progress, manifest.shift_since)
        built = {name: checksum(content) for name, content in made.files.items()}
        with suppress(DataError):  # other definitions, or a source table that is gone
            built[GOLDEN] = checksum(golden_rows(state, manifest.partition, rows))
        files = {name: built.get(name) == sha256 for name, sha256 in manifest.checksums.items()}
        difference = _difference(recorded, made.files, made.fitted.inputs, rows, Path(folder))
    return Reproduction(
        version,
        data_version == manifest.training_data_version,
        files,
        difference,
        rows.filter(pl.col(SPLIT) == TEST).height,
        tuple(changed),
    )


def _changes(state: ProductState, manifest: Manifest) -> Iterator[str]:
    product = state.product
    if manifest.input_versions:
        now = inputs_of_window(state, manifest.partition)
        moved = sorted(
            name for name in {*now, *manifest.input_versions} if now.get(name) != manifest.input_versions.get(name)
        )
        if moved:
            more = f" and {len(moved) - SHOWN} more" if len(moved) > SHOWN else ""
            yield f"data: {', '.join(moved[:SHOWN])}{more}"
    if manifest.seed is not None and manifest.seed != product.seed:
        yield f"seed: {manifest.seed}, now {product.seed}"
    if (was_calibrated := manifest.calibration is not None) != product.calibrate:
        yield f"declaration: calibrate={was_calibrated}, now {product.calibrate} (built as it was)"
    commit = git_commit()
    if manifest.git_commit != commit:
        yield f"code: commit {manifest.git_commit or 'unknown'}, now {commit}"
    packages = numeric_packages()
    others = [
        f"{name} {was}, now {packages.get(name, 'absent')}"
        for name, was in manifest.packages.items()
        if packages.get(name) != was
    ]
    if others:
        yield f"packages: {'; '.join(others)}"
    elif manifest.lock and manifest.lock != lock_hash():
        yield "packages: none that predictions depend on"


def _difference(
    recorded: Bundle, files: Mapping[str, bytes], inputs: tuple[Input, ...], rows: pl.DataFrame, folder: Path
) -> float | None:
    again = Bundles(Folder(folder), recorded.manifest.product, cache=None)
    again.write(msgspec.structs.replace(recorded.manifest, inputs=inputs, checksums={}), files)
    test = rows.filter(pl.col(SPLIT) == TEST)
    old, new = (
        np.asarray(item.predict(test), dtype=np.float64) for item in (recorded, again.open(recorded.manifest.version))
    )
    return float(np.max(np.abs(old - new))) if old.shape == new.shape and len(old) else None
