"""A state is copied whole between folders and buckets, and whatever interrupts it leaves a state that is whole as well."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.errors import DeclarationError, LedgerBroken, StoreError
from mlops_assets.state.clock import ReplayClock, clock_of
from mlops_assets.state.copying import Copied, copy_databases, copy_state, remaining_parts
from mlops_assets.state.ledger import Ledger
from mlops_assets.state.objects import Folder, Objects, objects_at
from mlops_assets.state.tables import Tables
from tests.unit.training.builders import january

ROWS = pl.DataFrame({"ride": [1, 2], "origin": ["EWR", None]})
OTHERS = {
    "bundles/taxi/1/manifest.json": b"{}",
    "bundles/taxi/1/model.onnx": b"a model",
    "labels/taxi/2020-01-09/here-1-a.parquet": b"labels",
    "predictions/taxi/2020-01-09/here-1-a.parquet": b"answers",
    "records/taxi/model/2020-01-09.json": b'{"version": 1}',
    "reports/taxi/model_card/1.md": b"",
    "shadow/taxi/2020-01-09/here-1-a.parquet": b"what it would have answered",
    "pinned/taxi/2020-01-09/host-1-a.parquet": b"rows",
}
ENTRIES = 3
COUNT = len(OTHERS) + 2 + ENTRIES + 1  # a table has its rows and its record, a ledger a copy of its newest entry

folder_to_folder = ("folder", "folder")
every_way = pytest.mark.parametrize(
    "places", [folder_to_folder, ("folder", "s3"), ("s3", "folder")], indirect=True, ids=" to ".join
)
Places = tuple[Objects, Objects]


@pytest.fixture
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Places:
    """A source with a state in it, and an empty target."""
    kinds = getattr(request, "param", folder_to_folder)

    def place(kind: str, name: str) -> Objects:
        return objects_at(tmp_path / name if kind == "folder" else f"{request.getfixturevalue('bucket')}/{name}")

    source, target = (place(kind, name) for kind, name in zip(kinds, ("source", "target"), strict=True))
    for name, content in OTHERS.items():
        source.put(name, content)
    Tables(source, "taxi").write("raw", "2020-01-09", ROWS)
    deploy(source, ENTRIES)
    return source, target


def deploy(objects: Objects, count: int, product: str = "taxi") -> None:
    """So many versions, one after the other."""
    ledger = Ledger(objects, product)
    for version in range(1, count + 1):
        ledger.deploy(version, "", january(version), reason="gates passed", by="ana", after=version - 1)


def everything_in(objects: Objects) -> dict[str, bytes | None]:
    return {name: objects.get(name) for name in objects.names("")}


@every_way
def test_every_object_is_copied_as_it_is(places: Places):
    source, target = places
    size = sum(len(content or b"") for content in everything_in(source).values())

    copied = copy_state(source, target)

    assert copied == Copied(COUNT, COUNT, size)
    assert everything_in(target) == everything_in(source)


@every_way
def test_the_copy_is_a_state_like_the_source(places: Places):
    source, target = places
    ReplayClock(source).set(january(9))

    copy_state(source, target)

    assert Ledger(target, "taxi").verify() == ENTRIES
    assert Ledger(target, "taxi").history() == Ledger(source, "taxi").history()
    assert Tables(target, "taxi").version("raw", "2020-01-09") == Tables(source, "taxi").version("raw", "2020-01-09")
    assert clock_of(target).now() == january(9)


@every_way
def test_a_copy_that_is_made_again_writes_what_changed_since(places: Places):
    source, target = places
    copy_state(source, target)
    assert copy_state(source, target) == Copied(COUNT, 0, 0)

    source.put("records/taxi/model/2020-01-09.json", b'{"version": 2}')
    source.put("records/taxi/model/2020-01-10.json", b"{}")
    Ledger(source, "taxi").deploy(4, "", january(4), reason="", by="", after=ENTRIES)
    again = copy_state(source, target)

    assert (again.objects, again.written) == (COUNT + 2, 4)  # and the copy of the newest entry
    assert everything_in(target) == everything_in(source)


KILLED = """
import os, signal, sys
from mlops_assets.state.copying import copy_state
from mlops_assets.state.objects import objects_at

def told(done, all):
    if done == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

copy_state(objects_at(sys.argv[1]), objects_at(sys.argv[2]), told)
"""


@every_way
@pytest.mark.parametrize("done", [1, COUNT - ENTRIES - 1, COUNT - 2, COUNT - 1])
def test_a_copy_that_was_killed_is_whole_as_far_as_it_goes_and_is_resumed(places: Places, done: int):
    source, target = places

    killed = subprocess.run([sys.executable, "-c", KILLED, source.url, target.url, str(done)], check=False)
    left = everything_in(target)
    of_history = [name for name in left if name.startswith("ledger/taxi/")]
    verified = Ledger(target, "taxi").verify()
    resumed = copy_state(source, target)

    assert killed.returncode == -signal.SIGKILL
    assert all(everything_in(source)[name] == content for name, content in left.items())
    assert len(left) >= done
    assert verified == len(of_history)
    assert not of_history or {*OTHERS} <= {*left}  # nothing that it names is missing
    # fewer, or none, where requests that were under way when the copy was killed reached the bucket after all
    assert resumed.written <= COUNT - len(left)
    assert everything_in(target) == everything_in(source)


@pytest.mark.parametrize("place", ["file://{0}", "file://{0}/", "{0}"])
def test_a_state_is_not_copied_onto_itself(tmp_path: Path, place: str):
    deploy(Folder(tmp_path), 1)

    with pytest.raises(DeclarationError, match=r"cannot be copied onto itself. Name another target"):
        copy_state(Folder(tmp_path), objects_at(place.format(tmp_path)))


def test_a_source_without_a_state_is_refused_and_nothing_is_made(tmp_path: Path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "notes.txt").write_text("no state")

    with pytest.raises(
        DeclarationError, match=r"source has no state to copy\. Name the folder or bucket of an installation"
    ):
        copy_state(Folder(source), Folder(target))

    assert not target.exists()


@pytest.mark.parametrize(
    "give_a_history",
    [
        lambda target: deploy(target, 1, "another"),
        lambda target: deploy(target, ENTRIES - 1),  # entries of the same numbers, by somebody else
        lambda target: deploy(target, ENTRIES),
        lambda target: deploy(target, ENTRIES + 1),
    ],
    ids=["of another product", "shorter", "as long", "longer"],
)
@every_way
def test_a_target_with_a_history_of_its_own_is_left_as_it_is(places: Places, give_a_history: Callable[[Objects], None]):
    source, target = places
    give_a_history(target)
    before = everything_in(target)

    with pytest.raises(DeclarationError, match=r"has another history \(ledger/.*\.json\).*Name an empty target"):
        copy_state(source, target)

    assert everything_in(target) == before


def test_a_target_that_went_on_by_itself_is_not_set_back(places: Places):
    source, target = places
    copy_state(source, target)
    Ledger(target, "taxi").deploy(9, "", january(9), reason="", by="", after=ENTRIES)

    with pytest.raises(DeclarationError, match=r"another history \(ledger/taxi/000004\.json\)"):
        copy_state(source, target)

    assert Ledger(target, "taxi").champion().version == 9


@dataclass(frozen=True)
class LosesTheLastByte(Folder):
    """Says that it has written what it has not."""

    def put(self, name: str, content: bytes) -> None:
        super().put(name, content[:-1])


def test_what_is_not_in_the_target_as_it_was_written_is_named(places: Places, tmp_path: Path):
    source, _ = places

    with pytest.raises(
        StoreError, match=r"lossy/tables/taxi/raw/2020-01-09\.\w+ is not what was written to it\. Check the target"
    ):
        copy_state(source, LosesTheLastByte(tmp_path / "lossy"))

    assert Folder(tmp_path / "lossy").names("ledger") == []


@dataclass(frozen=True)
class InUse(Folder):
    """Its retention removes an old report, and its loop deploys a version, while the objects are listed."""

    def names(self, folder: str, after: str = "") -> list[str]:
        listed = super().names(folder, after)
        if folder == "reports":
            for name in listed:
                self.delete(name)
        if folder == "bundles":
            self.put("bundles/taxi/4/manifest.json", b"{}")
            if Ledger(Folder(self.root), "taxi").position() == ENTRIES:
                Ledger(Folder(self.root), "taxi").deploy(4, "", january(4), reason="", by="", after=ENTRIES)
        return listed


def test_a_source_may_be_in_use_and_the_copy_is_of_one_moment(places: Places):
    source, target = places
    assert isinstance(source, Folder)

    copied = copy_state(InUse(source.root), target)

    # the version of after the listing is not half there: neither its bundle nor its entry
    assert (copied.objects, copied.written) == (COUNT, COUNT - 1)
    assert Ledger(target, "taxi").verify() == ENTRIES
    assert target.names("bundles/taxi/4") == target.names("reports") == []


def test_a_ledger_whose_end_was_removed_tells_so_in_its_copy_as_well(places: Places):
    source, target = places
    source.delete(f"ledger/taxi/{ENTRIES:06d}.json")

    copy_state(source, target)

    with pytest.raises(LedgerBroken, match=f"entry {ENTRIES} of the ledger of taxi"):
        Ledger(target, "taxi").verify()


def test_progress_is_told_object_by_object(places: Places):
    told: list[tuple[int, int]] = []

    copy_state(*places, lambda done, every: told.append((done, every)))

    assert told == [(number, COUNT) for number in range(1, COUNT + 1)]


def test_what_belongs_to_a_machine_stays_there(places: Places):
    source, target = places
    for name in ("runs/0123.json", "mlflow.sqlite", "dagster/dagster.yaml"):
        source.put(name, b"of this machine")

    copied = copy_state(source, target)

    assert copied.objects == COUNT
    assert target.names("runs") == []


@every_way
def test_neither_the_approval_key_nor_what_is_not_sealed_is_copied_and_that_is_told(places: Places, tmp_path: Path):
    source, target = places
    for name in ("approval.key", "spool/predictions/taxi/here-1-a.jsonl", "spool/labels/taxi/here-1-b.jsonl"):
        source.put(name, b"of this machine")

    copied = copy_state(source, target)

    assert copied.objects == COUNT
    assert target.get("approval.key") is None
    assert target.names("spool") == []
    if isinstance(source, Folder):
        unsealed, key = remaining_parts(source.root)
        assert unsealed.startswith(
            f"2 files in {source.root / 'spool'} contain answers or labels that are not sealed yet."
        )
        assert key.startswith(f"The approval key, {source.root / 'approval.key'}, is never copied.")


def test_of_a_home_without_a_key_whose_answers_are_sealed_nothing_stays(tmp_path: Path):
    assert remaining_parts(tmp_path) == []


def test_the_embedded_online_store_is_copied_as_it_is_at_one_moment(tmp_path: Path):
    """Also what is still in its write-ahead log."""
    (tmp_path / "here").mkdir()
    with closing(sqlite3.connect(tmp_path / "here" / "online.sqlite")) as written:
        written.execute("PRAGMA journal_mode = wal")
        written.execute("CREATE TABLE value (number INTEGER)")
        written.execute("INSERT INTO value VALUES (7)")
        written.commit()

        names = copy_databases(tmp_path / "here", tmp_path / "there")

        assert (tmp_path / "here" / "online.sqlite-wal").stat().st_size > 0
    assert names == ["online.sqlite"]
    with closing(sqlite3.connect(tmp_path / "there" / "online.sqlite")) as read:
        assert read.execute("SELECT number FROM value").fetchall() == [(7,)]


def test_a_home_without_an_embedded_online_store_has_none_to_copy(tmp_path: Path):
    assert copy_databases(tmp_path, tmp_path / "there") == []
    assert not (tmp_path / "there").exists()
