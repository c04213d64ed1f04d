"""Reads the files of one bundle, and verifies the checksum or signature of each before it is used."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass

from mlops_assets.errors import BundleError
from mlops_assets.state.file_cache import FileCache
from mlops_assets.state.manifest import MANIFEST, SIGNATURE, Manifest, checksum, signature


@dataclass(frozen=True)
class BundleFiles:
    """title: the bundle's name in errors. get: returns a file by its name, or None. cache: for verified files."""

    title: str
    get: Callable[[str], bytes | None]
    cache: FileCache | None = None

    def manifest(self, approval_key: str = "") -> bytes:
        """The stored manifest; with a key, it must be signed with it.

        Raises BundleError: the manifest is missing, or not correctly signed."""
        manifest = self.get(MANIFEST)
        if manifest is None:
            raise BundleError(f"{self.title} is not a bundle: {MANIFEST} is missing. Materialise the model.")
        if approval_key and self._find(SIGNATURE, checksum(signature(manifest, approval_key))) is None:
            raise BundleError(self._not_signed())
        return manifest

    def content(self, manifest: Manifest, name: str) -> bytes:
        """A file, unchanged since the bundle was written. Raises BundleError: it is missing, damaged or not in the bundle."""
        sha256 = manifest.checksums.get(name)
        if sha256 is None:
            raise BundleError(f"{self.title} has no file {name!r}. Known: {', '.join(sorted(manifest.checksums))}.")
        cached = self.cache.get(sha256) if self.cache else None
        if cached is not None:
            return cached
        content = self._find(name, sha256)
        if content is None:
            fault = "missing" if self.get(name) is None else "damaged"
            raise BundleError(f"{self.title}: {name} is {fault}. Materialise the model again.")
        if self.cache:
            self.cache.put(sha256, content)
        return content

    def _find(self, name: str, sha256: str) -> bytes | None:
        for stored_name in (name, second_name(name, sha256)):
            content = self.get(stored_name)
            if content is not None and hmac.compare_digest(checksum(content), sha256):
                return content
        return None

    def _not_signed(self) -> str:
        if self.get(SIGNATURE) is None:
            return (
                f"{self.title} is not signed, and with MLOPS_APPROVAL_KEY only signed bundles are opened. If you know its origin, "
                "sign it: mlops sign PRODUCT VERSION."
            )
        return (
            f"{self.title} was signed with another key than MLOPS_APPROVAL_KEY, or was changed since. Find out who wrote it, and "
            "materialise the model again."
        )


def second_name(name: str, sha256: str) -> str:
    """The name of a file whose own name is taken, by a writer that was killed or that writes the same version at the same time."""
    return f"{name}-{sha256}"
