"""Records: typed, replaced whole, versioned by their content, and read whatever release wrote them."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from mlops_assets.errors import DataError, PartitionMissing, PlatformError, RecordTooNew, StoreError
from mlops_assets.records.acceptance import Approval, Head
from mlops_assets.records.data import AskedAgain, SkippedPeriod
from mlops_assets.records.record import Record
from mlops_assets.records.training import ModelRecord, TrainingInputs
from mlops_assets.state.objects import Objects
from mlops_assets.state.records import Records, decoded, encoded

AT = datetime(2013, 7, 1, 12, 30, tzinfo=UTC)
SKIPPED = SkippedPeriod("2013-07-01", "the source is gone", "ana", AT)
NAME = "records/taxi/skipped/2013-07-01.json"


@pytest.fixture
def records(objects: Objects) -> Records:
    return Records(objects, "taxi")


def test_a_record_is_read_as_it_was_saved(records: Records) -> None:
    records.save("2013-07-01", SKIPPED)

    assert records.load(SkippedPeriod, "2013-07-01") == SKIPPED
    assert records.has(SkippedPeriod, "2013-07-01")


def test_a_record_is_one_object_with_its_fields_and_its_schema(records: Records) -> None:
    records.save("2013-07-01", SKIPPED)

    content = records.objects.get(NAME)
    assert content is not None
    assert json.loads(content) == {
        "period": "2013-07-01",
        "reason": "the source is gone",
        "by": "ana",
        "at": "2013-07-01T12:30:00Z",
        "schema": 1,
    }


def test_the_version_is_the_start_of_the_checksum_of_what_is_stored(records: Records) -> None:
    version = records.save("2013-07-01", SKIPPED)

    checksum = hashlib.sha256(records.objects.get(NAME) or b"").hexdigest()
    assert records.checksum(SkippedPeriod, "2013-07-01") == checksum
    assert records.version(SkippedPeriod, "2013-07-01") == version == checksum[:16]


def test_versions_are_equal_exactly_when_the_records_are(records: Records) -> None:
    first = records.save("1", TrainingInputs("a", {"features/1": "x", "labels/1": "y"}, ""))
    again = records.save("2", TrainingInputs("a", {"labels/1": "y", "features/1": "x"}, ""))
    other = records.save("3", TrainingInputs("b", {"features/1": "x", "labels/1": "y"}, ""))

    assert first == again != other


def test_a_record_that_is_saved_again_is_replaced(records: Records) -> None:
    records.save("1", ModelRecord(7))
    records.save("1", ModelRecord(8))

    assert records.load(ModelRecord, "1") == ModelRecord(8)
    assert records.keys(ModelRecord) == ["1"]


def test_a_record_is_created_once(records: Records) -> None:
    assert records.create("1", ModelRecord(7))
    assert not records.create("1", ModelRecord(8))

    assert records.load(ModelRecord, "1") == ModelRecord(7)


def test_keys_come_in_order_and_of_one_kind_and_product_only(records: Records) -> None:
    for key in ("2013-07-08", "2013-07-01"):
        records.save(key, AskedAgain(key, "ana", AT))
    records.save("2013-07-15", SKIPPED)
    Records(records.objects, "taxi_fare").save("2013-07-22", AskedAgain("2013-07-22", "ana", AT))

    assert records.keys(AskedAgain) == ["2013-07-01", "2013-07-08"]
    assert records.keys(ModelRecord) == []


def test_a_kind_whose_asset_begins_like_another_is_not_listed_with_it(records: Records) -> None:
    records.save("head", Head("taxi", 1, "signature"))

    assert Head.asset.startswith(Approval.asset)
    assert records.keys(Approval) == []


def test_what_was_removed_is_gone_and_may_be_removed_again(records: Records) -> None:
    records.save("2013-07-01", SKIPPED)

    records.remove(SkippedPeriod, "2013-07-01")
    records.remove(SkippedPeriod, "2013-07-01")

    assert not records.has(SkippedPeriod, "2013-07-01")
    assert records.keys(SkippedPeriod) == []


@pytest.mark.parametrize("ask", [Records.load, Records.version, Records.checksum])
def test_a_record_that_was_never_saved_is_a_missing_partition(records: Records, ask: Any) -> None:
    with pytest.raises(PartitionMissing, match=r"taxi/skipped has no stored partition for 2013-07-01. Materialise"):
        ask(records, SkippedPeriod, "2013-07-01")
    assert not records.has(SkippedPeriod, "2013-07-01")


WHOLE = {"period": "2013-07-01", "reason": "gone", "by": "ana", "at": "2013-07-01T12:30:00Z", "schema": 1}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        pytest.param(b"[" * 100_000, id="nested"),
        b"\xff\xfe",
        b"null",
        b"[]",
        b'"2013-07-01"',
        json.dumps({**WHOLE, "at": "yesterday"}).encode(),
        json.dumps({name: value for name, value in WHOLE.items() if name != "by"}).encode(),
        *(json.dumps({**WHOLE, "schema": wrong}).encode() for wrong in (-1, "1", True, None, 1.5, [])),
    ],
)
def test_a_damaged_record_is_named(objects: Objects, content: bytes) -> None:
    objects.put(NAME, content)

    with pytest.raises(
        DataError, match=r"records/taxi/skipped/2013-07-01.json is damaged and cannot be read as Skipped"
    ):
        Records(objects, "taxi").load(SkippedPeriod, "2013-07-01")


def test_a_record_of_a_newer_release_is_named_with_both_schemas(records: Records) -> None:
    records.objects.put(NAME, json.dumps({"another": "form", "schema": 7}).encode())

    with pytest.raises(RecordTooNew) as raised:
        records.load(SkippedPeriod, "2013-07-01")

    text = str(raised.value)
    assert (
        f"{NAME} was written by a newer release of mlops-assets with schema 7, and this release reads schemas up to 1"
        in text
    )
    assert (raised.value.schema, raised.value.known) == (7, 1)
    assert isinstance(raised.value, StoreError)
    assert not raised.value.is_transient


def test_a_record_that_cannot_be_read_can_still_be_replaced_and_removed(records: Records) -> None:
    records.objects.put(NAME, b"{")
    assert records.has(SkippedPeriod, "2013-07-01")
    assert records.keys(SkippedPeriod) == ["2013-07-01"]

    records.save("2013-07-01", SKIPPED)
    assert records.load(SkippedPeriod, "2013-07-01") == SKIPPED

    records.objects.put(NAME, b"{")
    records.remove(SkippedPeriod, "2013-07-01")
    assert not records.has(SkippedPeriod, "2013-07-01")


def test_an_earlier_schema_is_taken_through_every_step_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Twice(Record, frozen=True):
        asset = "twice"
        schema = 3

        value: int
        steps: tuple[int, ...]

    def step(number: int) -> Any:
        return lambda fields: {**fields, "steps": [*fields.get("steps", []), number]}

    monkeypatch.setattr("mlops_assets.state.records.UPGRADES", {Twice: tuple(step(number) for number in (1, 2, 3))})

    def stored(**fields: Any) -> Twice:
        return decoded(Twice, msgspec.json.encode({"value": 5, **fields}), "twice.json")

    assert stored() == Twice(5, (1, 2, 3))
    assert stored(schema=1) == Twice(5, (2, 3))
    assert stored(schema=2, steps=[9]) == Twice(5, (9, 3))
    assert stored(schema=3, steps=[9]) == Twice(5, (9,))
    assert decoded(Twice, encoded(Twice(5, (9,))), "twice.json") == Twice(5, (9,))
    with pytest.raises(RecordTooNew):
        stored(schema=4)


def test_a_key_cannot_leave_the_folder_of_its_kind(records: Records) -> None:
    with pytest.raises(PlatformError, match="cannot be the name of an object"):
        records.save("../model/1", SKIPPED)
