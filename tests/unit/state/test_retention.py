"""Retention: what goes after which time, what never goes, and that it may be killed and done twice."""

import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import StoreError
from mlops_assets.products.keep import KINDS, Keep
from mlops_assets.state.ledger import Kind
from mlops_assets.state.objects import Folder, Objects
from mlops_assets.state.retention import Expired, expired, in_table, remove
from mlops_assets.state.workspace import ProductState, Workspace
from tests.tiny_bundle import tiny_files, tiny_manifest

PRODUCT = flight_delay.name
NOTHING = Keep(**dict.fromkeys(KINDS, timedelta(0)))
FOR_EVER = Keep(**dict.fromkeys(KINDS))
NOW = datetime(2013, 12, 2, tzinfo=UTC)
LONG_AGO = 10 * 86_400.0  # seconds


@pytest.fixture
def state(objects: Objects, tmp_path: Path) -> ProductState:
    return Workspace(objects.url, tmp_path / "home").of(flight_delay)


def put(state: ProductState, *names: str) -> None:
    for name in names:
        state.workspace.objects.put(name, b"1")


def everything(state: ProductState) -> list[str]:
    return state.workspace.objects.names("")


def gone(state: ProductState, keep: Keep, now: datetime = NOW) -> list[str]:
    """Names that go."""
    return sorted(name for item in expired(state, keep, now) for name in item.names)


def a_version(state: ProductState, version: int, partition: str) -> None:
    manifest = msgspec.structs.replace(tiny_manifest(state.product, version), partition=partition)
    state.bundles.write(manifest, tiny_files(state.product))


def deploy(state: ProductState, version: int, partition: str, at: datetime, kind: Kind = Kind.DEPLOYED) -> None:
    after = state.ledger.position()
    state.ledger.append(kind, version, partition, at, reason="a test", by="test", after=after)


class TestLogs:
    @pytest.mark.parametrize("kind", ["predictions", "shadow", "pinned", "labels"])
    def test_a_day_goes_once_it_has_been_over_for_as_long_as_it_is_kept(self, state: ProductState, kind: str) -> None:
        day = f"{kind}/{PRODUCT}/2013-07-01/host-1-a.parquet"
        put(state, day, f"{kind}/{PRODUCT}/2013-07-02/host-1-a.parquet", f"{kind}/other/2013-07-01/host-1-a.parquet")
        keep = replace(FOR_EVER, **{kind: timedelta(days=10)})
        limit = datetime(2013, 7, 12, tzinfo=UTC)  # the day is over when 2 July begins

        assert gone(state, keep, limit - timedelta(microseconds=1)) == []
        assert gone(state, keep, limit) == [day]

    def test_days_that_the_loop_has_not_read_yet_stay(self, state: ProductState) -> None:
        # a row may be asked for seven days ahead of its event
        def days(*dates: str) -> list[str]:
            return sorted(f"{kind}/{PRODUCT}/{day}/a.parquet" for kind in ("predictions", "labels") for day in dates)

        put(state, *days("2013-06-30", "2013-07-01", "2013-07-08"))
        rows = pl.DataFrame({"row": [1]})

        # nothing has arrived, so nobody reads them
        assert gone(state, NOTHING) == days("2013-06-30", "2013-07-01", "2013-07-08")
        state.tables.write("features", "2013-07-08", rows)
        assert gone(state, NOTHING) == days("2013-06-30")
        state.tables.write("labels", "2013-07-01", rows)
        assert gone(state, NOTHING) == days("2013-06-30")
        state.tables.write("labels", "2013-07-08", rows)
        assert gone(state, NOTHING) == days("2013-06-30", "2013-07-01")

    def test_what_is_no_day_is_left_alone(self, state: ProductState) -> None:
        put(state, f"predictions/{PRODUCT}/20130701/a.parquet", f"predictions/{PRODUCT}/notes/a.txt")

        assert gone(state, NOTHING) == []


class TestReports:
    def test_pages_of_periods_go_and_cards_and_pictures_stay(self, state: ProductState) -> None:
        pages = [f"reports/{PRODUCT}/{asset}/2013-07-01.html" for asset in ("data_drift", "test_report")]
        stay = ("model_card/7.md", "backtest/latest.png", "backtest/latest.html", "data_drift/2013-07-01.md")
        put(state, *pages, *(f"reports/{PRODUCT}/{name}" for name in stay))
        keep = replace(FOR_EVER, reports=timedelta(days=30))

        # the week of 1 July ends on 8 July
        assert gone(state, keep, datetime(2013, 8, 6, 23, tzinfo=UTC)) == []
        assert gone(state, keep, datetime(2013, 8, 7, tzinfo=UTC)) == sorted(pages)


class TestTrainingSets:
    def test_those_of_the_champion_of_the_newest_version_and_of_one_being_trained_stay(
        self, state: ProductState
    ) -> None:
        rows = pl.DataFrame({"row": [1]})
        for key in ("2013-01-07", "2013-02-04", "2013-03-04", "2013-04-01"):
            state.tables.write("training_set", key, rows)
        a_version(state, 1, "2013-02-04")
        a_version(state, 2, "2013-03-04")
        deploy(state, 1, "2013-02-04", datetime(2013, 2, 4, tzinfo=UTC))

        found = gone(state, replace(FOR_EVER, training_sets=timedelta(0)))

        assert found == [f"tables/{PRODUCT}/training_set/2013-01-07.{ending}" for ending in ("json", "parquet")]
        remove(state, expired(state, NOTHING, NOW))
        assert state.tables.keys("training_set") == ["2013-02-04", "2013-03-04", "2013-04-01"]

    def test_a_record_whose_rows_are_gone_is_found_again(self, state: ProductState) -> None:
        for key in ("2013-01-07", "2013-02-04"):
            state.tables.write("training_set", key, pl.DataFrame({"row": [1]}))
        state.workspace.objects.delete(f"tables/{PRODUCT}/training_set/2013-01-07.parquet")

        assert gone(state, NOTHING) == [f"tables/{PRODUCT}/training_set/2013-01-07.json"]


class TestVersions:
    def test_only_those_go_that_no_entry_names_and_that_something_newer_has_replaced(self, state: ProductState) -> None:
        june, july = datetime(2013, 6, 3, tzinfo=UTC), datetime(2013, 7, 1, tzinfo=UTC)
        for version, partition in enumerate(("2013-05-06", "2013-05-13", "2013-05-20", "2013-05-27"), 1):
            a_version(state, version, partition)
        a_version(state, 5, "2013-07-01")  # refused
        a_version(state, 6, "2013-07-08")  # of a later partition than what serves: it may still be deployed
        a_version(state, 7, "2013-07-01")
        a_version(state, 8, "2013-07-01")  # newer than what serves
        deploy(state, 2, "2013-05-13", june)
        deploy(state, 4, "2013-05-27", june, Kind.FLAGGED)
        deploy(state, 7, "2013-07-01", july)
        keep = replace(FOR_EVER, versions=timedelta(days=90))

        def versions_gone(now: datetime) -> set[str]:
            return {name.split("/")[2] for name in gone(state, keep, now)}

        # 1 is replaced by 2 in June, 3 and 5 by 7 in July
        assert versions_gone(june + timedelta(days=90, microseconds=-1)) == set()
        assert versions_gone(june + timedelta(days=90)) == {"1"}
        assert versions_gone(july + timedelta(days=90)) == {"1", "3", "5"}
        remove(state, expired(state, keep, july + timedelta(days=90)))
        assert state.bundles.versions() == [2, 4, 6, 7, 8]
        assert not [name for name in everything(state) if name.startswith(f"bundles/{PRODUCT}/1/")]

    def test_after_a_rollback_only_what_is_older_than_what_serves_goes(self, state: ProductState) -> None:
        for version in (1, 2, 3, 4):
            a_version(state, version, f"2013-05-0{version}")
        for version in (2, 4, 2):
            deploy(state, version, f"2013-05-0{version}", datetime(2013, 6, 3, tzinfo=UTC))

        assert {name.split("/")[2] for name in gone(state, NOTHING)} == {"1"}

    def test_what_a_killed_writer_left_of_one_goes_as_well(self, state: ProductState) -> None:
        put(state, f"bundles/{PRODUCT}/1/model.onnx")
        a_version(state, 2, "2013-05-13")
        assert gone(state, NOTHING) == []

        deploy(state, 2, "2013-05-13", datetime(2013, 6, 3, tzinfo=UTC))

        assert gone(state, NOTHING) == [f"bundles/{PRODUCT}/1/model.onnx"]


class TestTrials:
    def test_the_journal_of_a_search_goes_unless_it_may_be_under_way(self, state: ProductState) -> None:
        journals = [a_journal(state, study) for study in ("2013-07-01-aaa", "2013-07-01-elsewhere", "2013-07-08-bbb")]
        keep = replace(FOR_EVER, trials=timedelta(days=30))

        assert gone(state, keep, datetime(2013, 7, 30, tzinfo=UTC)) == []
        in_time = datetime(2013, 7, 31, tzinfo=UTC)
        assert gone(state, keep, in_time) == []  # both journals were written to just now
        for journal in journals:
            age(journal)
        remove(state, expired(state, keep, in_time))

        assert [journal.exists() for journal in journals] == [False, False, True]


def a_journal(state: ProductState, study: str) -> Path:
    folder = state.trials.journals / PRODUCT / study
    folder.mkdir(parents=True)
    (folder / "journal.log").write_text("{}")
    return folder


def age(journal: Path) -> None:
    """As if it had not been written to for days."""
    then = time.time() - LONG_AGO
    for path in (journal / "journal.log", journal):
        os.utime(path, (then, then))


class TestRemoval:
    def test_what_is_kept_for_ever_is_not_even_looked_for(self, state: ProductState) -> None:
        fill(state)

        assert expired(state, FOR_EVER, NOW) == [Expired(kind, None) for kind in KINDS]

    def test_what_a_later_reader_needs_is_there_after_everything_has_expired(self, state: ProductState) -> None:
        fill(state)
        newest, served = f"tables/{PRODUCT}/training_set/2013-02-04.parquet", f"bundles/{PRODUCT}/2/"
        needed = [name for name in everything(state) if name.startswith(("ledger/", "records/", newest, served))]
        needed += [name for name in everything(state) if "/features/" in name]

        remove(state, expired(state, NOTHING, NOW))

        assert everything(state) == sorted(needed)
        assert gone(state, NOTHING) == []

    def test_two_at_once_disturb_neither_each_other_nor_anybody_later(self, state: ProductState) -> None:
        fill(state)
        what = expired(state, NOTHING, NOW)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: remove(state, what), range(2)))

        assert gone(state, NOTHING) == []

    def test_people_read_a_row_for_each_kind(self, state: ProductState) -> None:
        put(state, *(f"shadow/{PRODUCT}/2013-07-{day:02}/a.parquet" for day in (1, 2, 9)))
        keep = replace(FOR_EVER, shadow=timedelta(days=90), reports=timedelta(days=1))

        rows = {row["kind"]: row for row in in_table(expired(state, keep, NOW))}

        assert list(rows) == list(KINDS)
        row = {"kind": "shadow", "kept for": "90 days", "objects": "3", "from": "2013-07-01", "to": "2013-07-09"}
        assert rows["shadow"] == row
        assert rows["reports"] == {"kind": "reports", "kept for": "1 day", "objects": "0", "from": "", "to": ""}
        assert rows["labels"]["kept for"] == "for ever"


def fill(state: ProductState) -> None:
    """Something of each kind that expires, and beside it what never does."""
    for kind in ("predictions", "shadow", "labels"):
        put(state, f"{kind}/{PRODUCT}/2013-06-24/a.parquet")
    put(state, f"reports/{PRODUCT}/data_drift/2013-07-01.html", f"records/{PRODUCT}/data_drift/2013-07-01.json")
    put(state, *(f"tables/{PRODUCT}/training_set/{key}.parquet" for key in ("2013-01-07", "2013-02-04")))
    put(state, f"tables/{PRODUCT}/features/2013-07-08.parquet")
    a_version(state, 1, "2013-05-06")
    a_version(state, 2, "2013-05-13")
    deploy(state, 2, "2013-05-13", datetime(2013, 6, 3, tzinfo=UTC))


@dataclass(frozen=True)
class WatchedFolder(Folder):
    """Counts what is asked of it, and is cut short after so many deletions."""

    asked: list[str] = field(default_factory=list)
    deletions: int = 1_000_000

    def names(self, folder: str, after: str = "") -> list[str]:
        self.asked.append(f"names {folder}")
        return super().names(folder, after)

    def folders(self, folder: str) -> list[str]:
        self.asked.append(f"folders {folder}")
        return super().folders(folder)

    def get(self, name: str) -> bytes | None:
        self.asked.append(f"get {name}")
        return super().get(name)

    def stamp(self, name: str) -> str | None:
        self.asked.append(f"stamp {name}")
        return super().stamp(name)

    def delete(self, name: str) -> None:
        self.asked.append(f"delete {name}")
        if sum(item.startswith("delete") for item in self.asked) > self.deletions:
            raise StoreError("cut short")
        super().delete(name)


@dataclass(frozen=True)
class WatchedWorkspace(Workspace):
    deletions: int = 1_000_000

    @cached_property
    def objects(self) -> WatchedFolder:  # type: ignore[override]
        return WatchedFolder(Path(self.url), deletions=self.deletions)


@pytest.mark.parametrize("deletions", range(12))
def test_one_that_is_cut_short_anywhere_is_finished_by_the_next(tmp_path: Path, deletions: int) -> None:
    fill(Workspace(tmp_path).of(flight_delay))
    before = gone(Workspace(tmp_path).of(flight_delay), NOTHING)
    cut_short = WatchedWorkspace(tmp_path, deletions=deletions).of(flight_delay)

    try:
        remove(cut_short, expired(cut_short, NOTHING, NOW))
    except StoreError:
        left = Workspace(tmp_path).of(flight_delay)
        # whatever is left is found again, and a bundle whose files are gone is still known as one
        assert gone(left, NOTHING) == [name for name in before if left.workspace.objects.get(name) is not None]
        assert (1 in left.bundles.versions()) == any(
            name.startswith(f"bundles/{PRODUCT}/1/") for name in everything(left)
        )

    again = Workspace(tmp_path).of(flight_delay)
    remove(again, expired(again, NOTHING, NOW))
    assert gone(again, NOTHING) == []
    assert again.bundles.versions() == [2]


def test_finding_costs_a_listing_for_each_kind_however_much_there_is(tmp_path: Path) -> None:
    def asked_with(count: int) -> int:
        state = WatchedWorkspace(tmp_path / str(count)).of(flight_delay)
        days = [(date(2010, 1, 1) + timedelta(days=day)).isoformat() for day in range(count)]
        put(state, *(f"reports/{PRODUCT}/data_drift/{day}.html" for day in days))
        put(state, *(f"tables/{PRODUCT}/training_set/{day}.parquet" for day in days))
        put(state, *(f"predictions/{PRODUCT}/{day}/a.parquet" for day in days))
        deploy(state, 1, "2013-05-13", datetime(2013, 6, 3, tzinfo=UTC))
        state.workspace.objects.asked.clear()  # type: ignore[attr-defined]
        nothing_old = Keep(predictions=timedelta(days=10_000), reports=timedelta(0), training_sets=timedelta(0))
        assert len(gone(state, nothing_old)) == 2 * count - 1  # the newest training set stays
        return len(state.workspace.objects.asked)  # type: ignore[attr-defined]

    assert asked_with(100) == asked_with(5)


days_of_2013 = st.dates(date(2013, 1, 1), date(2013, 12, 31))


@settings(max_examples=50, deadline=None)
@given(days=st.sets(days_of_2013, max_size=8), kept=st.integers(0, 400), now=days_of_2013)
def test_a_day_goes_exactly_when_it_is_over_for_longer_than_it_is_kept(
    tmp_path_factory: pytest.TempPathFactory, days: set[date], kept: int, now: date
) -> None:
    state = Workspace(tmp_path_factory.mktemp("state")).of(flight_delay)
    put(state, *(f"predictions/{PRODUCT}/{day}/a.parquet" for day in days))
    keep = replace(FOR_EVER, predictions=timedelta(days=kept))
    at = datetime(now.year, now.month, now.day, 12, tzinfo=UTC)

    remove(state, expired(state, keep, at))

    # the day after it, at midnight, is at least `kept` days ago at noon of `now`
    stay = {day for day in days if (now - day).days - 1 < kept}
    assert days_of(everything(state)) == stay
    assert gone(state, keep, at) == []


def days_of(names: Iterable[str]) -> set[date]:
    return {date.fromisoformat(name.split("/")[2]) for name in names}
