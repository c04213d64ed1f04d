"""Bundles: every version of a product's model, as immutable objects `bundles/<product>/<version>/<file>`.

The manifest is created last, and a bundle exists once its manifest does. No object of another writer is overwritten: where a
file exists already, of a writer that was killed or writes the same version, its content is stored under a second name. So of
several writers of one version exactly one succeeds, and its bundle is complete.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from mlops_assets.errors import BundleError, DeclarationError, choices
from mlops_assets.state.bundle_files import BundleFiles, second_name
from mlops_assets.state.file_cache import MOST_BYTES, FileCache
from mlops_assets.state.manifest import MANIFEST, SIGNATURE, Manifest, checksum, decoded, encoded, signature
from mlops_assets.state.objects import Folder, Objects

# a code location that only lists its assets needs neither Polars nor NumPy
if TYPE_CHECKING:
    from mlops_assets.state.bundle import Bundle

_REQUESTS_AT_ONCE = 16


@dataclass(frozen=True)
class Bundles:
    """The bundles of one product.

    cache: folder of this machine for fetched files; None: files are not cached. approval_key: signs bundles when they are
    written; with a key, only bundles that were signed with it are opened."""

    objects: Objects
    product: str
    cache: Path | None = None
    approval_key: str = field(default="", repr=False)
    cache_bytes: int = MOST_BYTES

    def write(self, manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
        """Returns the manifest with checksums.

        Raises BundleError: there is a bundle of that version already, or a file does not belong in a bundle."""
        version = manifest.version
        sealed = msgspec.structs.replace(manifest, checksums={name: checksum(files[name]) for name in sorted(files)})
        content = encoded(sealed)
        self._decoded(content, version)  # a manifest that could not be read is not written
        if self.objects.get(self._name(version, MANIFEST)) is not None:
            raise self._taken(version)
        for name, file in files.items():
            self._create(version, name, file)
        if self.approval_key:
            self._create(version, SIGNATURE, signature(content, self.approval_key))
        if not self.objects.create(self._name(version, MANIFEST), content):
            raise self._taken(version)
        return sealed

    def manifest(self, version: int) -> Manifest:
        """The manifest of a version, without its signature being verified. Raises BundleError: it is missing, or of another version."""
        return self._decoded(self._files(version).manifest(), version)

    def manifests(self, after: int = 0) -> list[Manifest]:
        """The manifests of all bundles newer than version `after`, newest first; damaged ones are left out."""
        versions = [version for version in reversed(self.versions()) if version > after]
        # each needs a request, and a bucket answers many parallel requests as fast as one
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as threads:
            return [manifest for manifest in threads.map(self._readable, versions) if manifest is not None]

    def versions(self) -> list[int]:
        """The versions of all complete bundles, in order."""
        ending = f"/{MANIFEST}"
        names = self.objects.names(self._folder)
        versions = (
            name.removeprefix(f"{self._folder}/").removesuffix(ending) for name in names if name.endswith(ending)
        )
        return sorted(int(version) for version in versions if version.isdecimal())

    def require(self, version: int) -> None:
        """Raises DeclarationError, with the versions that exist: this one has no bundle."""
        if version not in (versions := self.versions()):
            raise DeclarationError(
                f"{self.product} has no version {version}. {choices(str(version), map(str, versions))}"
            )

    def open(self, version: int, *, threads: int = 1) -> "Bundle":
        """Check the signature and every checksum, and load the model.

        Raises BundleError: a file is missing, damaged or unknown, or the manifest is not correctly signed."""
        from mlops_assets.state.bundle import Bundle

        files = self._files(version)
        return Bundle.load(files, self._decoded(files.manifest(self.approval_key), version), threads)

    def read(self, version: int, name: str) -> bytes:
        """One verified file of a bundle. Raises BundleError, as `open` does."""
        files = self._files(version)
        return files.content(self._decoded(files.manifest(self.approval_key), version), name)

    @contextmanager
    def folder(self, version: int) -> Iterator[Path]:
        """A temporary folder with a bundle's verified files, for programs that need a folder; it is removed after the block.

        Raises BundleError, as `open` does."""
        files = self._files(version)
        content = files.manifest(self.approval_key)
        manifest = self._decoded(content, version)
        with TemporaryDirectory(prefix="bundle-") as name:
            folder = Folder(Path(name))
            for file in manifest.checksums:
                folder.put(file, files.content(manifest, file))
            if self.approval_key:
                folder.put(SIGNATURE, signature(content, self.approval_key))
            folder.put(MANIFEST, content)
            yield folder.root

    def sign(self, version: int) -> None:
        """Sign a bundle that was written without a signature. The manifest, which reports and approvals name, is not changed.

        Raises BundleError: it is damaged. DeclarationError: there is no key."""
        if not self.approval_key:
            raise DeclarationError("MLOPS_APPROVAL_KEY is not set. Set it to the key that bundles are signed with.")
        stored = replace(self._files(version), cache=None)
        content = stored.manifest()
        manifest = self._decoded(content, version)
        for name in manifest.checksums:
            stored.content(manifest, name)  # raises where a file is damaged
        self.objects.put(self._name(version, SIGNATURE), signature(content, self.approval_key))

    def evidence(self, version: int) -> str:
        """SHA-256 of the manifest, which contains the checksum of every other file. Raises BundleError: there is none."""
        return checksum(self._files(version).manifest())

    def size(self, version: int) -> int:
        """The size of all its files in bytes. Raises BundleError, as `open` does."""
        return sum(len(self.read(version, name)) for name in self.manifest(version).checksums)

    def _readable(self, version: int) -> Manifest | None:
        with suppress(BundleError):
            return self.manifest(version)
        return None

    def _create(self, version: int, name: str, content: bytes) -> None:
        path = self._name(version, name)
        if not self.objects.create(path, content) and self.objects.get(path) != content:
            self.objects.put(second_name(path, checksum(content)), content)

    def _files(self, version: int) -> BundleFiles:
        cache = FileCache(self.cache, self.cache_bytes) if self.cache else None
        return BundleFiles(self._title(version), lambda name: self.objects.get(self._name(version, name)), cache)

    def _decoded(self, content: bytes, version: int) -> Manifest:
        title = self._title(version)
        manifest = decoded(content, title)
        if (manifest.product, manifest.version) != (self.product, version):
            raise BundleError(
                f"the manifest of {title} is that of version {manifest.version} of {manifest.product}. Find out who wrote it, and "
                "materialise the model again."
            )
        return manifest

    def _taken(self, version: int) -> BundleError:
        return BundleError(
            f"{self._title(version)} exists already, and bundles are never replaced. The registry issued this version number twice, "
            "for example because its store was emptied while the state was kept. Restore the store, or name another state."
        )

    def _title(self, version: int) -> str:
        return f"version {version} of {self.product} ({self.objects.address(f'{self._folder}/{version}')})"

    def _name(self, version: int, name: str) -> str:
        return f"{self._folder}/{version}/{name}"

    @property
    def _folder(self) -> str:
        return f"bundles/{self.product}"
