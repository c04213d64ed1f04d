"""Documents: readings, decisions and reports as typed JSON, one file per product, asset and key."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from mlops_assets.errors import PartitionMissing
from mlops_assets.stores.files import write_bytes

Document = TypeVar("Document")


@dataclass(frozen=True)
class Documents:
    root: Path

    def save(self, product: str, asset: str, key: str, document: object) -> str:
        """Replace the document whole; returns its data version (content hash)."""
        content = msgspec.json.encode(document, order="deterministic")
        write_bytes(self.path(product, asset, key), content)
        return hashlib.sha256(content).hexdigest()[:16]

    def load(self, product: str, asset: str, key: str, kind: type[Document]) -> Document:
        """Raises PartitionMissing: it was never saved."""
        path = self.path(product, asset, key)
        if not path.exists():
            raise PartitionMissing(f"{product}/{asset}", [key])
        return msgspec.json.decode(path.read_bytes(), type=kind)

    def version(self, product: str, asset: str, key: str) -> str:
        path = self.path(product, asset, key)
        if not path.exists():
            raise PartitionMissing(f"{product}/{asset}", [key])
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]

    def has(self, product: str, asset: str, key: str) -> bool:
        return self.path(product, asset, key).exists()

    def keys(self, product: str, asset: str) -> list[str]:
        """Keys that are saved, in order."""
        return sorted(
            path.stem for path in (self.root / product / asset).glob("*.json") if not path.name.startswith(".")
        )

    def path(self, product: str, asset: str, key: str) -> Path:
        return self.root / product / asset / f"{key}.json"
