"""Records of one product: typed JSON objects, each replaced whole, with the version of their schema."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypeVar

import msgspec

from mlops_assets.errors import DataError, PartitionMissing, RecordTooNew
from mlops_assets.records.record import Record
from mlops_assets.records.upgrades import UPGRADES
from mlops_assets.state.objects import Objects

Kind = TypeVar("Kind", bound=Record)
_REQUESTS_AT_ONCE = 16
Schema = Annotated[int, msgspec.Meta(ge=0)]


class Records:
    """The stored records of a product's assets, by kind of record and key. Every method raises StoreError."""

    def __init__(self, objects: Objects, product: str) -> None:
        self.objects, self.product = objects, product

    def save(self, key: str, record: Record) -> str:
        """Replace the record whole; returns its data version, a hash of its content."""
        content = encoded(record)
        self.objects.put(self._name(type(record), key), content)
        return _checksum(content)[:16]

    def create(self, key: str, record: Record) -> bool:
        """Write the record unless the key exists. Of several simultaneous writers, whose records must differ, exactly one gets
        True."""
        return self.objects.create(self._name(type(record), key), encoded(record))

    def load(self, kind: type[Kind], key: str) -> Kind:
        """Raises PartitionMissing: it was never saved. DataError: it is damaged. RecordTooNew: a newer release wrote it."""
        return decoded(kind, self._content(kind, key), self.objects.address(self._name(kind, key)))

    def has(self, kind: type[Record], key: str) -> bool:
        return self.objects.stamp(self._name(kind, key)) is not None

    def load_all(self, kind: type[Kind], keys: Iterable[str]) -> list[Kind]:
        """The records in the order of the keys, fetched at once. Raises what `load` raises."""
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as threads:
            return list(threads.map(lambda key: self.load(kind, key), keys))

    def keys(self, kind: type[Record], since: str = "") -> list[str]:
        """The stored keys in order, from `since` on."""
        folder = self._folder(kind)
        listed = self.objects.names(folder, after=f"{folder}/{since}" if since else "")
        names = (name for name in listed if name.endswith(".json"))
        return [name.removeprefix(f"{folder}/").removesuffix(".json") for name in names]

    def version(self, kind: type[Record], key: str) -> str:
        """The data version. Raises PartitionMissing."""
        return self.checksum(kind, key)[:16]

    def checksum(self, kind: type[Record], key: str) -> str:
        """SHA-256 of the stored bytes. Raises PartitionMissing."""
        return _checksum(self._content(kind, key))

    def remove(self, kind: type[Record], key: str) -> None:
        """Remove the record; nothing happens where there is none."""
        self.objects.delete(self._name(kind, key))

    def _content(self, kind: type[Record], key: str) -> bytes:
        content = self.objects.get(self._name(kind, key))
        if content is None:
            raise PartitionMissing(f"{self.product}/{kind.asset}", [key])
        return content

    def _name(self, kind: type[Record], key: str) -> str:
        return f"{self._folder(kind)}/{key}.json"

    def _folder(self, kind: type[Record]) -> str:
        return f"records/{self.product}/{kind.asset}"


def encoded(record: Record) -> bytes:
    """JSON of the record; equal records give the same bytes."""
    return msgspec.json.encode({**msgspec.structs.asdict(record), "schema": record.schema}, order="deterministic")


def decoded(kind: type[Kind], content: bytes, name: str) -> Kind:
    """The record in `content`, upgraded to the current schema where an earlier release wrote it. name: for errors.

    Raises DataError: it is damaged. RecordTooNew: a newer release wrote it."""
    steps = UPGRADES[kind]
    try:
        fields = msgspec.json.decode(content)
        schema = _schema_of(fields)
        if schema > kind.schema:
            raise RecordTooNew(name, schema, kind.schema)
        for step in steps[schema:]:
            fields = step(fields)
        return msgspec.convert(fields, kind)
    except (msgspec.MsgspecError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"{name} is damaged and cannot be read as {kind.__name__} ({error}). Restore it from a copy, or remove it and "
            "materialise it again."
        ) from error


def _schema_of(fields: Any) -> int:
    """0 for records that were written before schemas were numbered."""
    schema = fields.get("schema", 0) if isinstance(fields, dict) else 0
    return msgspec.convert(schema, Schema)


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
