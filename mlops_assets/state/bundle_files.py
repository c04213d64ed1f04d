"""Reads the files of one bundle, and uses none of them before its checksum or signature was verified."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass

from mlops_assets.errors import BundleError
from mlops_assets.state.file_cache import FileCache
from mlops_assets.state.manifest import MANIFEST, SIGNATURE, Manifest, checksum, signature


@dataclass(frozen=True)
class BundleFiles:
    """title: names the bundle in errors. get: returns a file by its name, or None where there is none. cache: keeps verified files."""

    title: str
    get: Callable[[str], bytes | None]
    cache: FileCache | None = None

    def manifest(self, approval_key: str = "") -> bytes:
        """The manifest as it is stored. With a key, only a manifest that was signed with it.

        Raises BundleError: there is no manifest, or it is not rightly signed."""
        manifest = self.get(MANIFEST)
        if manifest is None:
            raise BundleError(f"{self.title} holds no bundle: {MANIFEST} is missing. Materialise the model.")
        if approval_key and self._find(SIGNATURE, checksum(signature(manifest, approval_key))) is None:
            raise BundleError(self._not_signed())
        return manifest

    def content(self, manifest: Manifest, name: str) -> bytes:
        """A file as it was when the bundle was written. Raises BundleError: it is missing, damaged or none of the bundle."""
        sha256 = manifest.checksums.get(name)
        if sha256 is None:
            raise BundleError(f"{self.title} has no file {name!r}. Known: {', '.join(sorted(manifest.checksums))}.")
        kept = self.cache.get(sha256) if self.cache else None
        if kept is not None:
            return kept
        content = self._find(name, sha256)
        if content is None:
            fault = "missing" if self.get(name) is None else "damaged"
            raise BundleError(f"{self.title}: {name} is {fault}. Materialise the model again.")
        if self.cache:
            self.cache.keep(sha256, content)
        return content

    def _find(self, name: str, sha256: str) -> bytes | None:
        for place in (name, second_name(name, sha256)):
            content = self.get(place)
            if content is not None and hmac.compare_digest(checksum(content), sha256):
                return content
        return None

    def _not_signed(self) -> str:
        if self.get(SIGNATURE) is None:
            return (
                f"{self.title} is not signed, and MLOPS_APPROVAL_KEY is set, so only signed bundles are opened. If you know where "
                "it comes from, sign it: mlops sign PRODUCT VERSION."
            )
        return (
            f"{self.title} was signed with another key than MLOPS_APPROVAL_KEY, or changed since. Find out who wrote it; "
            "materialise the model again."
        )


def second_name(name: str, sha256: str) -> str:
    """Where a file is stored if its own name is taken, by a writer that was killed or that wrote the same version at the same time."""
    return f"{name}-{sha256}"
