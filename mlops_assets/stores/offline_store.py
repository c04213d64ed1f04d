"""Offline store: the history of every table as Parquet, one file per partition, in a folder or on S3.

Beside each partition lies its record: data version, rows, schema and statistics. The record names the file it is of;
one that is of another file (a writer was killed in between) counts for nothing and is made anew from the content.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec
import polars as pl

from mlops_assets.errors import PartitionMissing, SchemaConflict, StoreError
from mlops_assets.stores.contents import Contents, contents_of
from mlops_assets.stores.places import Folder, Place, place_at


class PartitionRecord(msgspec.Struct, frozen=True):
    """stamp: of the file that the contents are of."""

    contents: Contents
    stamp: str


@dataclass(frozen=True)
class OfflineStore:
    """Tables are named `product/asset`, partitions by their period key. url: a local folder, or s3://bucket/folder."""

    url: Path | str

    @cached_property
    def _place(self) -> Place:
        return place_at(self.url)

    @property
    def root(self) -> Path:
        """The local folder. Raises StoreError: the store is on S3."""
        if not isinstance(self._place, Folder):
            raise StoreError(
                f"{self.url} is no local folder. Use `scan`, `write` and `addresses`, which work anywhere."
            )
        return self._place.root

    def write(self, table: str, key: str, rows: pl.DataFrame | pl.LazyFrame) -> str:
        """Replace the partition whole; returns its data version, which is equal exactly when the content is.

        Lazy rows are streamed to the file and never held whole. Raises StoreError: the place takes no more (disk full,
        endpoint down); the partition that was stored before is untouched."""
        name = _file(table, key)
        with _storing(self._place.address(name)):
            with self._place.replacing(name) as half:
                if isinstance(rows, pl.DataFrame):
                    rows.rechunk().write_parquet(half, compression="zstd")
                    contents = contents_of(rows)
                else:
                    rows.sink_parquet(half, compression="zstd", engine="streaming")
                    contents = contents_of(pl.scan_parquet(half))
            stamp = self._place.stamp(name)
            self._place.write(_record(table, key), msgspec.json.encode(PartitionRecord(contents, stamp or "")))
        return contents.version

    def contents(self, table: str, key: str) -> Contents:
        """Version, rows, schema and statistics of the partition. Raises PartitionMissing."""
        name = _file(table, key)
        stamp = self._place.stamp(name)
        if stamp is None:
            raise PartitionMissing(table, [key])
        recorded = self._recorded(table, key)
        return recorded.contents if recorded and recorded.stamp == stamp else contents_of(self._scan([name]))

    def version(self, table: str, key: str) -> str:
        """Data version of the partition. Raises PartitionMissing."""
        return self.contents(table, key).version

    def scan(self, table: str, keys: Iterable[str], needs: Iterable[str] = ()) -> pl.LazyFrame:
        """Rows of these partitions. A column that a partition was stored without is null there, unless it is needed.

        Raises PartitionMissing, naming every partition that is not stored. Raises SchemaConflict: partitions disagree
        on a type, or lack a column of `needs`; they are named."""
        wanted = list(keys)
        self._require(table, wanted)
        names = [_file(table, key) for key in wanted]
        schemas = {key: self._scan([name]).collect_schema() for key, name in zip(wanted, names, strict=True)}
        return self._scan(names, _common(table, schemas, list(needs)))

    def read(self, table: str, keys: Iterable[str]) -> pl.DataFrame:
        return self.scan(table, keys).collect()

    def keys(self, table: str) -> list[str]:
        """Partitions that are stored, oldest first."""
        return [name.removesuffix(".parquet") for name in self._place.names(table) if name.endswith(".parquet")]

    def has(self, table: str, key: str) -> bool:
        return self._place.stamp(_file(table, key)) is not None

    def addresses(self, table: str, keys: Iterable[str]) -> list[str]:
        """Paths or S3 addresses of these partitions, for engines that read them. Raises PartitionMissing."""
        wanted = list(keys)
        self._require(table, wanted)
        return [self._place.address(_file(table, key)) for key in wanted]

    def _require(self, table: str, keys: list[str]) -> None:
        stored = self.keys(table) if keys else []
        missing = [key for key in keys if key not in stored]
        if missing or not keys:
            raise PartitionMissing(table, missing or ["(none asked for)"])

    def path(self, table: str, key: str) -> Path:
        return self.root / _file(table, key)

    def _recorded(self, table: str, key: str) -> PartitionRecord | None:
        content = self._place.read(_record(table, key))
        try:
            return msgspec.json.decode(content, type=PartitionRecord) if content else None
        except msgspec.MsgspecError:
            return None  # of an earlier release: the content speaks for itself

    def _scan(self, names: list[str], schema: pl.Schema | None = None) -> pl.LazyFrame:
        return pl.scan_parquet(
            [self._place.address(name) for name in names],
            storage_options=self._place.options,
            schema=schema,
            missing_columns="insert" if schema else "raise",
        )


def _file(table: str, key: str) -> str:
    return f"{table}/{key}.parquet"


def _record(table: str, key: str) -> str:
    return f"{table}/{key}.json"


def _common(table: str, schemas: dict[str, pl.Schema], needs: list[str]) -> pl.Schema | None:
    """Every column of these partitions, None where all have the same. The newest partition's order comes first."""
    lacking = {key: [name for name in needs if name not in schema] for key, schema in schemas.items()}
    if outdated := {key: names for key, names in lacking.items() if names}:
        missing = ", ".join(dict.fromkeys(name for names in outdated.values() for name in names))
        raise SchemaConflict(
            f"{table}: partitions {', '.join(outdated)} were stored without {missing}. Materialise them again "
            "(a back-fill in Dagster); their other columns stay readable."
        )
    if len({tuple(schema.items()) for schema in schemas.values()}) == 1:
        return None
    common: dict[str, pl.DataType] = {}
    first: dict[str, str] = {}
    for key in sorted(schemas, reverse=True):
        for name, kind in schemas[key].items():
            if common.setdefault(name, kind) != kind:
                raise SchemaConflict(
                    f"{table}: {name} is {common[name]} in partition {first[name]}, but {kind} in {key}. Materialise "
                    "the older one again, so that both are of one type."
                )
            first.setdefault(name, key)
    return pl.Schema(common)


@contextmanager
def _storing(address: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pl.exceptions.ComputeError) as error:
        reason = str(error).strip().splitlines()[0]
        if not isinstance(error, OSError) and "os error" not in reason:
            raise  # the rows could not be computed, which is not the disk's fault
        raise StoreError(
            f"{address} could not be written: {reason}. What was stored there before is untouched. Make room, then run "
            "it again."
        ) from error
