"""Offline store: the history of every table as Parquet, one file per partition."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from mlops_assets.errors import PartitionMissing
from mlops_assets.stores.files import replace_atomically


@dataclass(frozen=True)
class OfflineStore:
    """Tables are named `product/asset`, partitions by their period key."""

    root: Path

    def write(self, table: str, key: str, frame: pl.DataFrame) -> str:
        """Replace the partition whole; returns its data version, which is equal exactly when the content is."""
        path = self.path(table, key)
        replace_atomically(path, lambda half: frame.rechunk().write_parquet(half, compression="zstd"))
        return self.version(table, key)

    def version(self, table: str, key: str) -> str:
        """Content hash of the partition. Raises PartitionMissing."""
        path = self.path(table, key)
        if not path.exists():
            raise PartitionMissing(table, [key])
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]

    def scan(self, table: str, keys: Iterable[str]) -> pl.LazyFrame:
        """Rows of these partitions. Raises PartitionMissing, naming every partition that is not stored."""
        wanted = list(keys)
        missing = [key for key in wanted if not self.path(table, key).exists()]
        if missing or not wanted:
            raise PartitionMissing(table, missing or ["(none asked for)"])
        return pl.scan_parquet([self.path(table, key) for key in wanted])

    def read(self, table: str, keys: Iterable[str]) -> pl.DataFrame:
        return self.scan(table, keys).collect()

    def keys(self, table: str) -> list[str]:
        """Partitions that are stored, oldest first."""
        return sorted(path.stem for path in (self.root / table).glob("*.parquet") if not path.name.startswith("."))

    def has(self, table: str, key: str) -> bool:
        return self.path(table, key).exists()

    def path(self, table: str, key: str) -> Path:
        return self.root / table / f"{key}.parquet"
