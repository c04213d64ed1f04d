"""Builds a version again from what it recorded, and says whether it is the same to the bit, or what changed."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from mlops_assets.products.candidates import Candidate
from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.home import Home
from mlops_assets.stores.model_bundle import Bundle, Input, Manifest, write_bundle
from mlops_assets.stores.model_registry import git_commit
from mlops_assets.stores.offline_store import OfflineStore
from mlops_assets.training.build import train
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


def reproduce(
    product: ModelProduct, home: Home, version: int, told: Callable[[str], None] = lambda _: None
) -> Reproduction:
    """Rebuild the training set and the bundle of `version` in a temporary folder; nothing that is kept is touched.

    Raises BundleError: there is no bundle of that version. DataError: a partition of its window is gone."""
    recorded = Bundle.open(home.bundle(product.name, version))
    manifest = recorded.manifest
    changed = list(_changes(product, home, manifest))
    if manifest.features_fingerprint != product.fingerprint():
        changed.append("the feature definitions in the code")
    told(f"building the training set of {manifest.partition} again")
    with tempfile.TemporaryDirectory(prefix="reproduce-") as folder:
        rows = load_training_set(product, home.offline, manifest.partition)
        data_version = OfflineStore(Path(folder)).write("again", "training_set", rows)
        as_it_was = replace(product, calibrate=manifest.calibrated)
        candidate = Candidate(f"version {version}", manifest.estimator, manifest.hyperparameters)
        made = train(as_it_was, candidate, rows, told)
        built = {name: hashlib.sha256(content).hexdigest() for name, content in made.files.items()}
        files = {name: built.get(name) == checksum for name, checksum in manifest.checksums.items()}
        difference = _difference(recorded, made.files, made.fitted.inputs, rows, Path(folder) / "bundle")
    return Reproduction(
        version,
        data_version == manifest.training_data_version,
        files,
        difference,
        rows.filter(pl.col(SPLIT) == TEST).height,
        tuple(changed),
    )


def _changes(product: ModelProduct, home: Home, manifest: Manifest) -> Iterator[str]:
    if manifest.input_versions:
        now = inputs_of_window(product, home, manifest.partition)
        moved = sorted(
            name for name in {*now, *manifest.input_versions} if now.get(name) != manifest.input_versions.get(name)
        )
        if moved:
            more = f" and {len(moved) - SHOWN} more" if len(moved) > SHOWN else ""
            yield f"data: {', '.join(moved[:SHOWN])}{more}"
    if manifest.seed is not None and manifest.seed != product.seed:
        yield f"seed: {manifest.seed}, now {product.seed}"
    if manifest.calibrated != product.calibrate:
        yield f"declaration: calibrate={manifest.calibrated}, now {product.calibrate} (built as it was)"
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
    write_bundle(folder, msgspec.structs.replace(recorded.manifest, inputs=inputs, checksums={}), files)
    test = rows.filter(pl.col(SPLIT) == TEST)
    old, new = (np.asarray(item.predict(test), dtype=np.float64) for item in (recorded, Bundle.open(folder)))
    return float(np.max(np.abs(old - new))) if old.shape == new.shape and len(old) else None
