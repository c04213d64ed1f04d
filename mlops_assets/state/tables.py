"""Tables of a product: the history of each as Parquet, one object per partition.

Beside each partition is its record: data version, rows, schema and statistics. The record contains the stamp of its object.
A record of another object (after a writer was killed in between) is ignored and computed again from the content.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import msgspec
import polars as pl

from mlops_assets.errors import DeclarationError, PartitionMissing, SchemaConflict, StoreError
from mlops_assets.state.contents import Contents, contents_of
from mlops_assets.state.objects import Objects
from mlops_assets.state.whole_partitions import scan_whole, schemas_of


class PartitionRecord(msgspec.Struct, frozen=True):
    """stamp: that of the object that the contents describe."""

    contents: Contents
    stamp: str


@dataclass(frozen=True)
class Tables:
    """The tables of one product. A table has the name of its asset, a partition the key of its period."""

    objects: Objects
    product: str
    borrowed: Mapping[str, Objects] = field(default_factory=dict)  # read-only tables of another workspace

    def write(self, table: str, key: str, rows: pl.DataFrame | pl.LazyFrame) -> str:
        """Replace the partition whole; returns its data version: equal content has an equal version.

        Lazy rows are streamed to the file and never loaded whole. Raises StoreError: the objects cannot be written (disk full,
        endpoint down); the previous partition is unchanged. Raises DeclarationError: the table is borrowed."""
        if table in self.borrowed:
            raise DeclarationError(
                f"{self._label(table)} belongs to {self.borrowed[table].url} and is read-only here. Write it in that workspace."
            )
        name = self._name(table, key)
        with _storing(self.objects.address(name)):
            with self.objects.replacing(name) as half:
                if isinstance(rows, pl.DataFrame):
                    rows.rechunk().write_parquet(half, compression="zstd")
                    contents = contents_of(rows)
                else:
                    rows.sink_parquet(half, compression="zstd", engine="streaming")
                    contents = contents_of(pl.scan_parquet(half))
            stamp = self.objects.stamp(name)
            self._write_record(table, key, PartitionRecord(contents, stamp or ""))
        return contents.version

    def contents(self, table: str, key: str) -> Contents:
        """Version, rows, schema and statistics of the partition. Raises PartitionMissing."""
        name = self._name(table, key)
        stamp = self._at(table).stamp(name)
        if stamp is None:
            raise PartitionMissing(self._label(table), [key])
        record = self._read_record(table, key)
        if record is not None and record.stamp == stamp:
            return record.contents
        place = self._at(table)
        contents = contents_of(scan_whole(place, [name], *schemas_of(place, [name])))
        with suppress(StoreError):  # a reader may have no right to write
            self._write_record(table, key, PartitionRecord(contents, stamp))
        return contents

    def version(self, table: str, key: str) -> str:
        """Data version of the partition. Raises PartitionMissing."""
        return self.contents(table, key).version

    def scan(self, table: str, keys: Iterable[str], needs: Iterable[str] = ()) -> pl.LazyFrame:
        """Rows of these partitions. A column that a partition does not have is null there, unless `needs` contains it.

        Raises PartitionMissing, with every partition that is not stored. Raises SchemaConflict, with the partitions that
        disagree on a type or lack a column of `needs`."""
        keys = list(keys)
        self._require(table, keys)
        names = [self._name(table, key) for key in keys]
        place = self._at(table)
        schemas = dict(zip(keys, schemas_of(place, names), strict=True))
        return scan_whole(place, names, _common(self._label(table), schemas, list(needs)))

    def read(self, table: str, keys: Iterable[str]) -> pl.DataFrame:
        return self.scan(table, keys).collect()

    def keys(self, table: str, since: str = "") -> list[str]:
        """The stored partitions, oldest first, from `since` on."""
        folder = f"tables/{self._label(table)}"
        names = self._at(table).names(folder, after=f"{folder}/{since}" if since else "")
        return [name.rpartition("/")[2].removesuffix(".parquet") for name in names if name.endswith(".parquet")]

    def has(self, table: str, key: str) -> bool:
        return self._at(table).stamp(self._name(table, key)) is not None

    def addresses(self, table: str, keys: Iterable[str]) -> list[str]:
        """Paths or URLs of these partitions, for engines that read them. Raises PartitionMissing."""
        keys = list(keys)
        self._require(table, keys)
        return [self._at(table).address(self._name(table, key)) for key in keys]

    def _require(self, table: str, keys: list[str]) -> None:
        # a single partition is looked up directly; for several, older partitions are not listed
        stored = set(self.keys(table, min(keys))) if len(keys) > 1 else {key for key in keys if self.has(table, key)}
        missing = [key for key in keys if key not in stored]
        if missing or not keys:
            raise PartitionMissing(self._label(table), missing or ["(none requested)"])

    def _at(self, table: str) -> Objects:
        return self.borrowed.get(table, self.objects)

    def _label(self, table: str) -> str:
        return f"{self.product}/{table}"

    def _name(self, table: str, key: str) -> str:
        return f"tables/{self._label(table)}/{key}.parquet"

    def _record_name(self, table: str, key: str) -> str:
        return f"tables/{self._label(table)}/{key}.json"

    def _write_record(self, table: str, key: str, record: PartitionRecord) -> None:
        self._at(table).put(self._record_name(table, key), msgspec.json.encode(record))

    def _read_record(self, table: str, key: str) -> PartitionRecord | None:
        content = self._at(table).get(self._record_name(table, key))
        try:
            return msgspec.json.decode(content, type=PartitionRecord) if content else None
        except msgspec.MsgspecError:
            return None  # an earlier release wrote it; it is computed again from the content


def _common(table: str, schemas: dict[str, pl.Schema], needs: list[str]) -> pl.Schema:
    """Every column of these partitions: in their order where all schemas are equal, else with the newest schema first."""
    lacking = {key: [name for name in needs if name not in schema] for key, schema in schemas.items()}
    if outdated := {key: names for key, names in lacking.items() if names}:
        missing = ", ".join(dict.fromkeys(name for names in outdated.values() for name in names))
        raise SchemaConflict(
            f"{table}: partitions {', '.join(outdated)} were stored without {missing}. Materialise them again "
            "(a back-fill in Dagster); their other columns stay readable."
        )
    if len({tuple(schema.items()) for schema in schemas.values()}) == 1:
        return next(iter(schemas.values()))
    common: dict[str, pl.DataType] = {}
    first: dict[str, str] = {}
    for key in sorted(schemas, reverse=True):
        for name, kind in schemas[key].items():
            if common.setdefault(name, kind) != kind:
                raise SchemaConflict(
                    f"{table}: {name} is {common[name]} in partition {first[name]}, but {kind} in {key}. Materialise "
                    "the older one again, so that both have one type."
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
            raise  # computing the rows failed, not writing them
        raise StoreError(
            f"{address} could not be written: {reason}. The previous content is unchanged. Free some space, then run "
            "it again."
        ) from error
