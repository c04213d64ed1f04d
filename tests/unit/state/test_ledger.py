"""Deployment ledger: numbered entries, of which each is written once, follows the one before, and cannot change unseen."""

import json
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_assets.errors import ChampionChanged, LedgerBroken, NoChampion, StoreError
from mlops_assets.state.ledger import COPY, Deployment, Kind, Ledger, ReworkFlag, flags_of, standing, terms
from mlops_assets.state.objects import Bucket, Folder, Objects
from tests.servers.faulty_proxy import Fault, a_faulty_proxy
from tests.servers.object_store import speak_to
from tests.unit.state.racing_ledger import next_change

ROOT = Path(__file__).parents[3]
MONDAY = datetime(2013, 4, 22, tzinfo=UTC)
any_objects = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def ledger(objects: Objects) -> Ledger:
    return Ledger(objects, "p")


def deploy(ledger: Ledger, version: int, *, days: int = 0) -> Deployment:
    at, after = MONDAY + timedelta(days=days), ledger.position()
    return ledger.deploy(version, "2013-04-22", at, reason="better", by="gate", after=after, run_id="run")


def a_deployment(version: int, *, number: int = 1, days: int = 0, kind: Kind = Kind.DEPLOYED) -> Deployment:
    return Deployment(number, version, "2013-04-22", MONDAY + timedelta(days=days), "better", "gate", "run", kind)


def versions(ledger: Ledger) -> list[int]:
    return [deployment.version for deployment in ledger.history()]


class TestChampion:
    def test_an_empty_ledger_has_no_champion_and_writes_nothing(self, ledger: Ledger, objects: Objects) -> None:
        with pytest.raises(NoChampion, match="Materialise p/deployment"):
            ledger.champion()

        assert (ledger.history(), ledger.position(), ledger.flags(), ledger.open_flag()) == ([], 0, [], None)
        assert (ledger.verify(), ledger.champion_at(MONDAY)) == (0, None)
        assert objects.names("") == []

    def test_the_last_deployment_is_the_champion_also_after_a_rollback(self, ledger: Ledger) -> None:
        deploy(ledger, 1)
        deploy(ledger, 2, days=7)
        at = MONDAY + timedelta(days=8)
        back = ledger.deploy(
            1, "2013-04-22", at, reason="better", by="gate", after=2, run_id="run", kind=Kind.ROLLED_BACK
        )

        assert back == ledger.champion() == a_deployment(1, number=3, days=8, kind=Kind.ROLLED_BACK)
        assert ledger.history() == [a_deployment(1), a_deployment(2, number=2, days=7), back]

    def test_what_was_written_is_what_others_read(self, ledger: Ledger, objects: Objects) -> None:
        evidence = {"test_report": "ab12", "bundle": "cd34"}
        written = ledger.append(
            *(Kind.DEPLOYED, 7, "2013-04-22", MONDAY),
            **{"reason": 'better: 0,71 – "ü"', "by": "ana", "after": 0, "run_id": "run", "evidence": evidence},
        )

        (read,) = Ledger(objects, "p").entries()

        assert read == written
        assert (read.number, read.kind, read.version, read.evidence) == (1, Kind.DEPLOYED, 7, evidence)
        assert (read.previous, read.schema_version, read.product) == ("", 1, "p")
        assert Ledger(objects, "p").champion().evidence == evidence

    def test_products_have_champions_of_their_own(self, objects: Objects) -> None:
        first, second, other = Ledger(objects, "p"), Ledger(objects, "q"), Ledger(objects, "p_long")
        deploy(first, 1)
        deploy(second, 7)

        assert (first.champion().version, second.champion().version, other.history()) == (1, 7, [])
        assert (first.champion().number, second.champion().number) == (1, 1)

    @pytest.mark.parametrize(("days", "version"), [(-1, None), (0, 1), (6, 1), (7, 2), (400, 2)])
    def test_who_served_at_a_moment_is_remembered(self, ledger: Ledger, days: int, version: int | None) -> None:
        deploy(ledger, 1)
        deploy(ledger, 2, days=7)

        served = ledger.champion_at(MONDAY + timedelta(days=days))

        assert (served.version if served else None) == version

    def test_the_position_rises_by_one_with_every_entry(self, ledger: Ledger) -> None:
        positions = [ledger.position()]
        for version in (1, 2, 1):
            deploy(ledger, version)
            positions.append(ledger.position())
        ledger.flag_for_rework(1, MONDAY, "12 % moved")

        assert [*positions, ledger.position()] == [0, 1, 2, 3, 4]

    def test_entries_lie_where_their_numbers_say(self, ledger: Ledger, objects: Objects) -> None:
        for version in range(1, 12):
            deploy(ledger, version)

        assert objects.names("ledger/p") == [f"ledger/p/{number:06d}.json" for number in range(1, 12)]
        assert versions(Ledger(objects, "p")) == list(range(1, 12))


class TestDecisions:
    """An entry says which one its decision rests on."""

    @pytest.mark.parametrize("after", [0, 1, 3])
    def test_a_decision_that_rests_on_another_entry_than_the_newest_is_not_written(
        self, ledger: Ledger, objects: Objects, after: int
    ) -> None:
        deploy(ledger, 1)
        deploy(ledger, 2)
        before = objects.names("")

        said = "version 3 was not deployed, because another entry was added to the ledger of p in the meantime"
        with pytest.raises(ChampionChanged, match=said) as caught:
            ledger.deploy(3, "2013-04-22", MONDAY, reason="", by="", after=after)

        assert caught.value.is_transient
        assert (versions(ledger), objects.names("")) == ([1, 2], before)

    def test_of_two_ledgers_that_saw_the_same_one_writes(self, ledger: Ledger, objects: Objects) -> None:
        other = Ledger(objects, "p")
        after = ledger.position()
        deploy(other, 1)

        with pytest.raises(ChampionChanged):
            ledger.deploy(2, "", MONDAY, reason="", by="", after=after, kind=Kind.ROLLED_BACK)

        assert versions(ledger) == versions(other) == [1]

    def test_a_flag_of_somebody_else_lets_a_deployment_be_judged_again(self, ledger: Ledger, objects: Objects) -> None:
        deploy(ledger, 1)
        after = ledger.position()
        Ledger(objects, "p").flag_for_rework(2, MONDAY, "12 % moved")

        with pytest.raises(ChampionChanged):
            ledger.deploy(2, "", MONDAY, reason="", by="", after=after)

        assert versions(ledger) == [1]

    def test_the_same_decision_taken_twice_makes_two_different_entries(self, tmp_path: Path) -> None:
        """So that a writer whose answer was lost can tell whether it was its own entry that won."""
        places = Folder(tmp_path / "one"), Folder(tmp_path / "other")
        for place in places:
            deploy(Ledger(place, "p"), 1)

        assert places[0].get("ledger/p/000001.json") != places[1].get("ledger/p/000001.json")

    def test_threads_that_share_a_ledger_lose_no_entry(self, ledger: Ledger) -> None:
        def deploy_when_possible(version: int) -> int:
            while True:
                try:
                    return deploy(ledger, version).number
                except ChampionChanged:
                    continue

        with ThreadPoolExecutor(8) as threads:
            numbers = list(threads.map(deploy_when_possible, range(24)))

        assert sorted(numbers) == list(range(1, 25))
        assert ledger.verify() == 24


class TestFlags:
    def test_a_flag_stands_until_it_is_cleared(self, ledger: Ledger) -> None:
        ledger.flag_for_rework(1, MONDAY, "12 % moved")
        ledger.flag_for_rework(1, MONDAY + timedelta(days=7), "again")
        open_flag = ledger.open_flag()

        ledger.clear_rework(MONDAY + timedelta(days=9))
        ledger.clear_rework(MONDAY + timedelta(days=10))

        assert open_flag == ReworkFlag(1, MONDAY, "12 % moved", None)
        assert ledger.open_flag() is None
        assert ledger.flags() == [ReworkFlag(1, MONDAY, "12 % moved", MONDAY + timedelta(days=9))]
        assert [entry.kind for entry in ledger.entries()] == [Kind.FLAGGED, Kind.CLEARED]

    def test_a_version_is_flagged_again_after_its_flag_was_cleared(self, ledger: Ledger) -> None:
        ledger.flag_for_rework(1, MONDAY, "first")
        ledger.clear_rework(MONDAY + timedelta(days=1))
        ledger.flag_for_rework(2, MONDAY + timedelta(days=2), "second")

        assert [(flag.version, flag.cleared_at is None) for flag in ledger.flags()] == [(1, False), (2, True)]

    def test_a_flag_leaves_the_champion_and_knows_its_partition(self, ledger: Ledger) -> None:
        deploy(ledger, 1)

        ledger.flag_for_rework(1, MONDAY, "12 % moved")

        entry = ledger.entries()[-1]
        assert ledger.champion().version == 1
        assert (entry.partition, entry.by, entry.reason) == ("2013-04-22", "drift policy", "12 % moved")

    def test_racing_flaggers_leave_one_flag_and_racing_clearers_one_answer(self, objects: Objects) -> None:
        ledgers = [Ledger(objects, "p") for _ in range(8)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda each: each.flag_for_rework(1, MONDAY, "12 % moved"), ledgers))
            flagged = [entry.kind for entry in Ledger(objects, "p").entries()]
            list(threads.map(lambda each: each.clear_rework(MONDAY), ledgers))

        assert flagged == [Kind.FLAGGED]
        assert [entry.kind for entry in Ledger(objects, "p").entries()] == [Kind.FLAGGED, Kind.CLEARED]

    def test_a_flag_beside_one_that_stands_adds_nothing(self, ledger: Ledger) -> None:
        for kind in (Kind.FLAGGED, Kind.FLAGGED, Kind.CLEARED, Kind.CLEARED):
            days = ledger.position()
            ledger.append(kind, 1, "", MONDAY + timedelta(days=days), reason=str(days), by="", after=days)

        assert flags_of(ledger.entries()) == [ReworkFlag(1, MONDAY, "0", MONDAY + timedelta(days=2))]


class TestStanding:
    @pytest.mark.parametrize(
        ("history", "expected"),
        [
            ([], []),
            ([1], [0]),
            ([1, 2, 3], [0, 1, 2]),
            ([1, 2, 1], [2]),
            ([1, 2, 3, 2], [0, 3]),  # back once
            ([1, 2, 3, 2, 1], [4]),  # back twice
            ([1, 2, 3, 2, 4], [0, 3, 4]),
            ([1, 2, 1, 2], [2, 3]),
            ([1, 1], [1]),
        ],
    )
    def test_a_rollback_takes_back_what_served_since(self, history: list[int], expected: list[int]) -> None:
        found = standing([a_deployment(version, number=number) for number, version in enumerate(history)])

        assert [item.number for item in found] == expected

    @given(st.lists(st.integers(1, 5), max_size=30))
    def test_it_is_what_one_goes_back_to(self, history: list[int]) -> None:
        """Each version stands once, in order; a new one adds itself, and one that stands leaves those before it."""
        items = [a_deployment(version, number=number) for number, version in enumerate(history)]
        for length in range(1, len(items) + 1):
            before, newest = standing(items[: length - 1]), items[length - 1]
            found = standing(items[:length])

            assert found[-1] == newest
            assert len({item.version for item in found}) == len(found)
            earlier = [item.version for item in before]
            kept = earlier.index(newest.version) if newest.version in earlier else len(earlier)
            assert found[:-1] == before[:kept]


class TestReading:
    def test_an_instance_sees_what_others_write(self, ledger: Ledger, objects: Objects) -> None:
        other = Ledger(objects, "p")
        seen = []
        for version in (1, 2, 3):
            deploy(other, version)
            seen.append(versions(ledger))

        assert seen == [[1], [1, 2], [1, 2, 3]]

    def test_it_hands_out_lists_of_its_own(self, ledger: Ledger) -> None:
        deploy(ledger, 1)

        ledger.entries().clear()

        assert versions(ledger) == [1]

    @pytest.mark.parametrize("again", [0, 1, 2, 3])
    def test_a_ledger_that_was_removed_and_begun_anew_is_read_anew(
        self, ledger: Ledger, objects: Objects, again: int
    ) -> None:
        deploy(ledger, 1)
        deploy(ledger, 2)
        for name in objects.names(""):
            objects.delete(name)
        for number in range(again):
            deploy(Ledger(objects, "p"), 10 + number)

        assert versions(ledger) == [10 + number for number in range(again)]
        assert ledger.verify() == again

    def test_it_is_the_same_wherever_it_is_copied(self, ledger: Ledger, objects: Objects, tmp_path: Path) -> None:
        deploy(ledger, 1)
        deploy(ledger, 2)
        copied = copy(objects, Folder(tmp_path / "elsewhere"))

        assert Ledger(copied, "p").entries() == ledger.entries()
        assert deploy(Ledger(copied, "p"), 3).number == 3

    @pytest.mark.parametrize("copied", range(5))
    def test_half_a_copy_is_not_taken_for_the_whole(
        self, ledger: Ledger, objects: Objects, tmp_path: Path, copied: int
    ) -> None:
        """Objects are copied in the order of their names, until something comes between."""
        for version in range(1, 6):
            deploy(ledger, version)
        half = copy(objects, Folder(tmp_path / "elsewhere"), count=1 + copied)

        with pytest.raises(LedgerBroken, match=f"entry {copied + 1} of the ledger of p .* was removed") as caught:
            Ledger(half, "p").champion()

        assert caught.value.number == copied + 1

    def test_a_listing_that_leaves_out_an_entry_that_is_there_is_no_gap(self, tmp_path: Path) -> None:
        """A folder may list an entry without the one before it, where both were written while it was being listed."""

        @dataclass(frozen=True)
        class Overlooking(Folder):
            def names(self, folder: str, after: str = "") -> list[str]:
                return [name for name in super().names(folder, after) if not name.endswith("000002.json")]

        for version in (1, 2, 3):
            deploy(Ledger(Folder(tmp_path), "p"), version)

        assert versions(Ledger(Overlooking(tmp_path), "p")) == [1, 2, 3]

    def test_what_is_no_entry_is_passed_over(self, ledger: Ledger, objects: Objects) -> None:
        deploy(ledger, 1)
        for name in ("README.md", "000001.json~", "1.json", "old/000002.json"):
            objects.put(f"ledger/p/{name}", b"")

        assert (versions(Ledger(objects, "p")), ledger.verify()) == ([1], 1)

    def test_a_copy_that_is_one_behind_is_made_up_for(self, ledger: Ledger, objects: Objects) -> None:
        """As a process leaves it that was killed right after it wrote an entry."""
        deploy(ledger, 1)
        behind = objects.get("ledger/p.json") or b""
        deploy(ledger, 2)
        objects.put("ledger/p.json", behind)

        assert versions(Ledger(objects, "p")) == [1, 2]
        deploy(ledger, 3)
        assert objects.get("ledger/p.json") == objects.get("ledger/p/000003.json")


def a_long_ledger(objects: Objects) -> Ledger:
    """Five entries, of each kind at least one."""
    ledger = Ledger(objects, "p")
    deploy(ledger, 1)
    deploy(ledger, 2, days=7)
    ledger.flag_for_rework(2, MONDAY + timedelta(days=14), "12 % moved")
    ledger.clear_rework(MONDAY + timedelta(days=20))
    at = MONDAY + timedelta(days=21)
    ledger.deploy(1, "2013-04-22", at, reason="worse", by="ana", after=4, kind=Kind.ROLLED_BACK)
    return ledger


def entry(number: int) -> str:
    return f"ledger/p/{number:06d}.json"


def sealed(document: dict[str, Any]) -> bytes:
    """An entry as any program can write it: the hash is that of the text without it."""
    text = json.dumps({**document, "sha256": ""})
    return text.replace('"sha256": ""', f'"sha256": "{sha256(text.encode()).hexdigest()}"').encode()


class TestTampering:
    """What was changed, removed or put elsewhere is named by `verify`, and by everything that reads."""

    def assert_broken(self, objects: Objects, number: int, what: str) -> None:
        place = r"the copy of the newest entry" if number == COPY else f"entry {number}"
        name = "ledger/p.json" if number == COPY else entry(number)
        said = rf"{place} of the ledger of p \(\S*{name}\) {what}.*, and run `mlops history p --verify`\.$"
        for use in (Ledger(objects, "p").verify, Ledger(objects, "p").champion, Ledger(objects, "p").open_flag):
            with pytest.raises(LedgerBroken, match=said) as caught:
                use()
            assert (caught.value.product, caught.value.number) == ("p", number)
        with pytest.raises(LedgerBroken):
            Ledger(objects, "p").deploy(9, "", MONDAY, reason="", by="", after=5)

    def test_any_changed_byte_is_found_and_named(self, objects: Objects) -> None:
        ledger = a_long_ledger(objects)
        places = {COPY: "ledger/p.json", **{number: entry(number) for number in range(1, 6)}}

        @given(st.sampled_from(sorted(places)), st.integers(0), st.integers(1, 255))
        @settings(any_objects, max_examples=200 if isinstance(objects, Folder) else 40)
        def change_a_byte(number: int, position: int, difference: int) -> None:
            original = objects.get(places[number])
            assert original is not None
            changed = bytearray(original)
            changed[position % len(original)] ^= difference
            objects.put(places[number], bytes(changed))
            try:
                with pytest.raises(LedgerBroken) as caught:
                    ledger.verify()
                assert caught.value.number == number
            finally:
                objects.put(places[number], original)

        change_a_byte()
        assert ledger.verify() == 5

    @pytest.mark.parametrize("number", range(1, 6))
    def test_a_changed_reason_is_found_and_named(self, objects: Objects, number: int) -> None:
        a_long_ledger(objects)
        document = json.loads(objects.get(entry(number)) or b"")

        objects.put(entry(number), json.dumps({**document, "reason": "asked for"}, indent=2).encode())

        self.assert_broken(objects, number, r"was changed after it was written\. Restore it from a copy")

    @pytest.mark.parametrize("number", range(1, 6))
    def test_a_removed_entry_is_found_and_named(self, objects: Objects, number: int) -> None:
        a_long_ledger(objects)

        objects.delete(entry(number))

        self.assert_broken(objects, number, r"was removed\. Restore it from a copy of the state")

    def test_of_several_the_first_is_named(self, objects: Objects) -> None:
        a_long_ledger(objects)
        objects.put(entry(2), b"{}")
        objects.delete(entry(4))

        self.assert_broken(objects, 2, "cannot be read")

    @pytest.mark.parametrize(("one", "other"), [(1, 2), (2, 5), (1, 5), (4, 5)])
    def test_swapped_entries_are_found_and_the_first_is_named(self, objects: Objects, one: int, other: int) -> None:
        a_long_ledger(objects)
        contents = objects.get(entry(one)) or b"", objects.get(entry(other)) or b""

        objects.put(entry(other), contents[0])
        objects.put(entry(one), contents[1])

        self.assert_broken(objects, one, f"was replaced by entry {other} of p")

    def test_an_entry_of_another_product_is_found(self, objects: Objects) -> None:
        a_long_ledger(objects)
        deploy(Ledger(objects, "q"), 7)

        objects.put(entry(1), objects.get("ledger/q/000001.json") or b"")

        self.assert_broken(objects, 1, "was replaced by entry 1 of q")

    @pytest.mark.parametrize(("number", "named"), [(1, 2), (4, 5), (5, 5)])
    def test_an_entry_that_was_written_anew_with_its_own_hash_does_not_fit_in(
        self, objects: Objects, number: int, named: int
    ) -> None:
        a_long_ledger(objects)
        document = json.loads(objects.get(entry(number)) or b"")

        objects.put(entry(number), sealed({**document, "version": 66}))

        what = {
            2: "does not follow the previous entry",
            5: "does not follow|is not the one that was written there first",
        }
        self.assert_broken(objects, named, f"({what[named]})")

    def test_an_entry_that_was_added_at_the_end_without_its_chain_is_found(self, objects: Objects) -> None:
        a_long_ledger(objects)
        document = json.loads(objects.get(entry(5)) or b"")

        objects.put(entry(6), sealed({**document, "number": 6, "version": 66}))

        self.assert_broken(objects, 6, "does not follow the previous entry")

    def test_a_gap_far_away_costs_no_more_than_a_near_one(self, objects: Objects) -> None:
        a_long_ledger(objects)
        objects.put(entry(999_999), b"{}")

        self.assert_broken(objects, 6, "was removed")

    @pytest.mark.parametrize("content", [b"", b"no JSON", b"\xff\xfe", b"[]", b'{"schema_version": 1}', b"null"])
    def test_a_file_that_is_no_entry_is_named_with_why(self, objects: Objects, content: bytes) -> None:
        a_long_ledger(objects)

        objects.put(entry(3), content)

        self.assert_broken(objects, 3, r"cannot be read \(.+\)")

    def test_an_entry_with_its_own_hash_that_lacks_a_field_is_named_with_it(self, objects: Objects) -> None:
        a_long_ledger(objects)
        document = json.loads(objects.get(entry(3)) or b"")
        del document["kind"]

        objects.put(entry(3), sealed(document))

        self.assert_broken(objects, 3, r"cannot be read \(.*`kind`\)")

    @pytest.mark.parametrize("number", [3, 5])
    def test_an_entry_of_a_newer_release_asks_for_that_release(self, objects: Objects, number: int) -> None:
        ledger = a_long_ledger(objects)
        document = json.loads(objects.get(entry(number)) or b"")

        objects.put(entry(number), sealed({**document, "schema_version": 2, "kind": "retired", "new": 1}))

        said = (
            rf"entry {number} of the ledger of p \(.*\) was written by a newer release, whose entries have schema version 2; "
            r"this one reads up to 1\. Install the newer release here as well\.$"
        )
        for use in (ledger.verify, Ledger(objects, "p").champion):
            with pytest.raises(LedgerBroken, match=said):
                use()

    def test_an_instance_that_read_the_newest_entry_sees_that_it_vanished(self, objects: Objects) -> None:
        ledger = a_long_ledger(objects)
        assert ledger.champion().version == 1

        objects.delete(entry(5))

        for _ in range(2):
            with pytest.raises(LedgerBroken, match=r"entry 5 .* was removed"):
                ledger.champion()

    def test_entries_that_were_removed_without_their_copy_are_missed(self, objects: Objects) -> None:
        a_long_ledger(objects)
        for name in objects.names("ledger/p"):
            objects.delete(name)

        self.assert_broken(objects, 1, "was removed")

    def test_a_ledger_that_was_mended_is_read_again_by_the_same_instance(self, objects: Objects) -> None:
        a_long_ledger(objects)
        ledger, content = Ledger(objects, "p"), objects.get(entry(5)) or b""
        objects.delete(entry(5))
        with pytest.raises(LedgerBroken):
            ledger.champion()

        objects.put(entry(5), content)

        assert (ledger.champion().version, ledger.verify()) == (1, 5)

    def test_a_removed_copy_is_made_anew_by_the_next_entry(self, objects: Objects) -> None:
        ledger = a_long_ledger(objects)
        objects.delete("ledger/p.json")

        assert Ledger(objects, "p").verify() == 5
        deploy(ledger, 3)
        assert objects.get("ledger/p.json") == objects.get(entry(6))


def test_fifty_changes_by_eight_processes_take_every_number_once(
    objects: Objects, capsys: pytest.CaptureFixture[str]
) -> None:
    shares = [7, 7, 6, 6, 6, 6, 6, 6]
    command = [sys.executable, "-m", "tests.unit.state.racing_ledger", objects.url]
    changers = [
        subprocess.Popen(
            [*command, str(share), f"process {number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for number, share in enumerate(shares)
    ]
    assert [_line(changer) for changer in changers] == ["ready"] * 8

    started = time.monotonic()
    for changer in changers:
        assert changer.stdin is not None
        changer.stdin.write("now\n")
        changer.stdin.flush()
    answers = [json.loads(changer.communicate()[0]) for changer in changers]
    seconds = time.monotonic() - started

    ledger = Ledger(objects, "p")
    entries, history = ledger.entries(), ledger.history()
    assert sorted(number for written, _ in answers for number in written) == list(range(1, 51))
    assert ledger.verify() == 50
    # no entry was lost or written by another than who says so
    for number, (written, _) in enumerate(answers):
        assert [entry.number for entry in entries if entry.by == f"process {number}"] == written
    # losers decided again: every change is the right one after those before it
    for number, item in enumerate(history):
        assert (item.kind, item.version) == next_change(history[:number])
    assert Counter(item.kind for item in history)[Kind.ROLLED_BACK] > 10
    with capsys.disabled():
        again = sum(again for _, again in answers)
        sys.stdout.write(
            f"\n50 changes by 8 processes on {objects.url[:5]}…: {seconds:.2f} s, {again} decisions taken again\n"
        )


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


class TestNetwork:
    def test_a_look_that_finds_nothing_new_costs_two_requests(
        self, bucket: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        a_long_ledger(Bucket(bucket))
        with a_faulty_proxy(s3_endpoint) as (proxy, address):
            speak_to(address, monkeypatch)
            ledger = Ledger(Bucket(bucket), "p")

            ledger.position()
            at_first, before = len(proxy.requests), len(proxy.requests)
            ledger.position()

            assert at_first == 1 + 1 + 5  # the copy, a list, and the entries
            assert len(proxy.requests) - before == 2
            assert "start-after=ledger%2Fp%2F000005.json" in proxy.requests[-1]

    def test_an_entry_whose_answer_is_lost_is_written_once(
        self, bucket: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with a_faulty_proxy(s3_endpoint) as (proxy, address):
            speak_to(address, monkeypatch)
            proxy.fail_next("PUT", Fault.LOST_ANSWER, times=4)

            deploy(Ledger(Bucket(bucket), "p"), 1)

            assert versions(Ledger(Bucket(bucket), "p")) == [1]

    def test_a_bucket_that_fails_is_reported_and_what_is_known_stays(
        self, bucket: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with a_faulty_proxy(s3_endpoint) as (proxy, address):
            speak_to(address, monkeypatch)
            ledger = a_long_ledger(Bucket(bucket))
            for method in ("GET", "PUT"):
                proxy.fail_next(method, Fault.SERVER_ERROR, times=100)

            for use in (ledger.champion, ledger.position, ledger.verify, lambda: deploy(ledger, 3)):
                with pytest.raises(StoreError, match="cannot be used"):
                    use()

            proxy.heal()
            assert (ledger.champion().version, ledger.verify()) == (1, 5)

    def test_a_copy_that_cannot_be_written_takes_nothing_back(
        self, bucket: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with a_faulty_proxy(s3_endpoint) as (proxy, address):
            speak_to(address, monkeypatch)
            ledger = Ledger(Bucket(bucket), "p")
            proxy.pass_next("PUT")
            proxy.fail_next("PUT", Fault.SERVER_ERROR, times=4)

            deploy(ledger, 1)

            assert versions(Ledger(Bucket(bucket), "p")) == [1]


def copy(source: Objects, target: Objects, count: int | None = None) -> Objects:
    for name in source.names("")[:count]:
        target.put(name, source.get(name) or b"")
    return target


def test_a_term_ends_when_the_next_deployment_begins_and_the_last_one_has_no_end():
    first, second, third = (a_deployment(version, number=version, days=version) for version in (1, 2, 3))

    assert terms([]) == []
    assert terms([first]) == [(first, None)]
    assert terms([first, second, third]) == [(first, second.deployed_at), (second, third.deployed_at), (third, None)]
