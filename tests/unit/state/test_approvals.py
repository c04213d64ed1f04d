"""Signed approvals: who has no key cannot approve, and an approval counts for what it was given on, until it ends."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.errors import ApprovalRefused
from mlops_assets.records.acceptance import AcceptanceState, Approval, Head, Verdict
from mlops_assets.state.approvals import HEAD, ApprovalBook, is_genuine, sign
from mlops_assets.state.objects import Folder, Objects
from mlops_assets.state.records import Records
from mlops_assets.state.workspace import Workspace
from tests.some_records import an_acceptance
from tests.unit.training.builders import a_product

NOW = datetime(2013, 7, 1, 12, tzinfo=UTC)
EVIDENCE = {"test_report": "a" * 64, "staging_report": "b" * 64, "bundle": "c" * 64}
ROOT = Path(__file__).parents[3]
KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def book(objects: Objects, tmp_path: Path) -> ApprovalBook:
    return ApprovalBook(Records(objects, "taxi"), tmp_path / "approval.key")


def answered(book: ApprovalBook, verdict: Verdict = Verdict.APPROVED, at: datetime = NOW, **changes) -> Approval:
    usual = {"version": 7, "partition": "2013-07-01", "by": "ana", "note": "slices look right"}
    usual |= {"through": "in a test"}
    return book.answer(
        **{**usual, "verdict": verdict, "at": at, "valid_for": timedelta(days=7), "evidence": EVIDENCE, **changes}
    )


def forged(book: ApprovalBook, answer: Approval, **changes) -> None:
    """Kept as if it had been given."""
    number = len(book.records.keys(Approval)) + 1
    made = msgspec.structs.replace(answer, **{"number": number, **changes})
    book.records.save(f"{number:06d}", made)


def test_an_approval_counts_for_its_version_from_when_it_was_given(book):
    given_answer = answered(book)

    assert book.newest(7, EVIDENCE, NOW) == given_answer
    assert book.newest(8, EVIDENCE, NOW) is None
    assert book.newest(7, EVIDENCE, NOW - timedelta(microseconds=1)) is None


def test_an_approval_ends_by_itself(book):
    answered(book)
    last = NOW + timedelta(days=7)

    assert book.newest(7, EVIDENCE, last - timedelta(microseconds=1)) is not None
    assert book.newest(7, EVIDENCE, last) is None
    assert book.why_not(7, EVIDENCE, last) == "the answer of ana at 2013-07-01 12:00 expired at 2013-07-08 12:00"


@pytest.mark.parametrize("changed", sorted(EVIDENCE))
def test_an_approval_does_not_count_for_other_evidence(book, changed):
    answered(book)
    other = {**EVIDENCE, changed: "d" * 64}

    assert book.newest(7, other, NOW) is None
    assert book.why_not(7, other, NOW).endswith(f"was given on another {changed}")


def test_a_record_without_a_signature_is_no_approval(book):
    forged(
        book, Approval("taxi", 7, "2013-07-01", Verdict.APPROVED, "mallory", "-", NOW, NOW + timedelta(9), EVIDENCE, "")
    )

    assert book.newest(7, EVIDENCE, NOW) is None
    assert "not signed with the key of this installation" in book.why_not(7, EVIDENCE, NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"by": "mallory"},
        {"note": "fine"},
        {"partition": "2013-07-08"},
        {"expires_at": NOW + timedelta(days=900)},
        {"at": NOW - timedelta(days=1)},
        {"verdict": Verdict.APPROVED},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_answer_that_was_changed_is_no_answer(book, change):
    genuine = answered(book, Verdict.REJECTED)
    empty = replace(book, records=Records(Folder(book.key_file.with_name("other")), "taxi"))
    forged(empty, genuine, **change)

    assert empty.newest(7, EVIDENCE, NOW) is None


def test_an_approval_of_another_version_under_this_ones_name_is_none(book):
    other = answered(book, version=6)
    forged(book, other, version=7)
    book.records.save("000003", other)

    assert book.newest(7, EVIDENCE, NOW) is None


def test_an_answer_of_another_installation_does_not_count(book):
    other = replace(book, environment_key=KEY)
    answered(other)

    assert other.newest(7, EVIDENCE, NOW) is not None
    assert book.newest(7, EVIDENCE, NOW) is None
    answered(book, version=9)  # makes the key of this one
    assert book.newest(7, EVIDENCE, NOW) is None
    assert book.newest(9, EVIDENCE, NOW) is not None


def test_the_newest_answer_is_the_one_that_counts(book):
    answered(book, Verdict.APPROVED)
    answered(book, Verdict.REJECTED, at=NOW + timedelta(hours=1), by="ben")

    found = book.newest(7, EVIDENCE, NOW + timedelta(days=300))

    assert found is not None
    assert (found.verdict, found.by) == (Verdict.REJECTED, "ben")  # a rejection has no end


def test_the_key_is_made_once_for_its_owner_alone(book):
    answered(book)
    key = book.key_file.read_bytes()
    answered(book, at=NOW + timedelta(hours=1))

    assert book.key_file.read_bytes() == key
    assert book.key_file.stat().st_mode & 0o777 == 0o600
    assert len(key) == 64


def test_looking_makes_no_key(book):
    assert book.newest(7, EVIDENCE, NOW) is None
    assert not book.key_file.exists()


def test_a_key_that_can_be_tried_out_is_refused(book):
    with pytest.raises(ApprovalRefused, match="has 5 bytes; it needs 16"):
        answered(replace(book, environment_key="12345"))


@pytest.mark.parametrize("nobody", [{"by": " "}, {"note": ""}])
def test_an_answer_needs_who_and_why(book, nobody):
    with pytest.raises(ApprovalRefused, match="needs a name and a reason"):
        answered(book, **nobody)


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=16, max_size=64), st.binary(min_size=16, max_size=64), st.text(min_size=1))
def test_only_the_key_that_signed_verifies(key: bytes, other: bytes, by: str):
    bare = Approval("taxi", 7, "2013-07-01", Verdict.APPROVED, by, "why", NOW, NOW, EVIDENCE, "")
    signed = msgspec.structs.replace(bare, signature=sign(bare, key))

    assert is_genuine(signed, key)
    assert is_genuine(signed, other) == (key.ljust(64, b"\0") == other.ljust(64, b"\0"))  # HMAC pads keys with zeros
    assert not is_genuine(signed, b"")


LATER = NOW + timedelta(hours=1)


def approved_then_rejected(book: ApprovalBook) -> None:
    """Answer 1 approves, answer 2 rejects."""
    answered(book)
    answered(book, Verdict.REJECTED, at=LATER, by="ben")


def test_a_removed_rejection_does_not_revive_the_approval_before_it(book):
    approved_then_rejected(book)

    book.records.remove(Approval, "000002")

    assert book.newest(7, EVIDENCE, LATER) is None
    assert book.why_not(7, EVIDENCE, LATER) == (
        "answer 2 of taxi is missing or was changed, so no answer before it is valid; "
        "the answer of ana at 2013-07-01 12:00 is no longer valid: answer again"
    )


def test_a_changed_rejection_does_not_revive_the_approval_before_it(book):
    approved_then_rejected(book)
    rejection = book.records.load(Approval, "000002")

    book.records.save("000002", msgspec.structs.replace(rejection, version=8))

    assert book.newest(7, EVIDENCE, LATER) is None


def test_an_approval_moved_behind_its_rejection_does_not_count(book):
    approved_then_rejected(book)
    approval = book.records.load(Approval, "000001")

    book.records.save("000002", approval)
    book.records.save("000003", approval)

    assert book.newest(7, EVIDENCE, LATER) is None


def test_the_head_cannot_be_removed_together_with_the_rejection(book):
    approved_then_rejected(book)
    book.records.remove(Approval, "000002")
    book.records.remove(Head, HEAD)

    assert book.newest(7, EVIDENCE, LATER) is None

    answered(book, version=8, at=LATER)  # the next answer brings a head again
    assert book.newest(8, EVIDENCE, LATER) is not None
    assert book.newest(7, EVIDENCE, LATER) is None


def test_an_older_head_does_not_hide_a_rejection_that_was_judged(book):
    answered(book)
    older = book.records.load(Head, HEAD)
    answered(book, Verdict.REJECTED, at=LATER, by="ben")
    rejected = an_acceptance("taxi", 7, AcceptanceState.REJECTED, EVIDENCE, answers=2)
    book.records.save("2013-07-01", rejected)

    book.records.remove(Approval, "000002")
    book.records.save(HEAD, older)

    assert book.newest(7, EVIDENCE, LATER) is None
    assert book.why_not(7, EVIDENCE, LATER).startswith("answer 2 of taxi is missing")


def test_after_a_gap_a_person_answers_again(book):
    approved_then_rejected(book)
    book.records.remove(Approval, "000002")

    again = answered(book, at=LATER, by="eva")

    assert (again.number, again.previous) == (3, "")
    assert book.newest(7, EVIDENCE, LATER) == again


def test_what_is_written_beside_the_answers_does_not_hide_them(book, objects):
    given_answer = answered(book)
    forged(book, given_answer, by="mallory")
    objects.put("records/taxi/approval/000900.json", b"no json")

    assert book.newest(7, EVIDENCE, NOW) == given_answer


def test_an_answer_of_before_there_was_a_chain_does_not_count(book):
    answered(book, version=6)
    former = Approval("taxi", 7, "2013-07-01", Verdict.APPROVED, "ana", "why", NOW, NOW + timedelta(7), EVIDENCE, "")
    book.records.save("000007-20130701T120000000000-0a1b2c3d", former)

    assert book.newest(7, EVIDENCE, NOW) is None
    assert book.why_not(7, EVIDENCE, NOW) == (
        "the answer of ana at 2013-07-01 12:00 was given before answers formed a chain: answer again"
    )


def test_answers_of_threads_in_the_same_moment_follow_each_other(book):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda version: answered(book, version=version), range(1, 25)))

    assert_that_all_follow_each_other(book, 24)


def test_processes_that_answer_in_the_same_moment_follow_each_other_and_none_is_lost(book, objects):
    """Each answers ten versions of its own, one after the other, as fast as it can."""
    program = [sys.executable, "-m", "tests.unit.state.answering", objects.url, KEY]
    firsts = [["1"], ["11"], ["21"]]
    started = [
        subprocess.Popen([*program, *first], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for first in firsts
    ]
    for process in started:
        assert process.stdout.readline() == "ready\n"

    for process in started:
        process.stdin.write("now\n")
        process.stdin.flush()

    assert [process.wait(120) for process in started] == [0, 0, 0]
    for process in started:
        process.stdin.close()
        process.stdout.close()
    assert_that_all_follow_each_other(replace(book, environment_key=KEY), 30)


def assert_that_all_follow_each_other(book: ApprovalBook, count: int) -> None:
    chain = book.chain()
    assert (chain.gap, [link.number for link in chain.links]) == ("", list(range(1, count + 1)))
    assert sorted(link.version for link in chain.links) == list(range(1, count + 1))
    assert book.records.load(Head, HEAD).number == count


def test_where_machines_share_the_state_the_key_has_to_come_from_the_environment(bucket, tmp_path):
    shared = Workspace(f"{bucket}/state", tmp_path)
    book = shared.of(a_product()).approvals

    with pytest.raises(
        ApprovalRefused,
        match=r"several machines share the state, so the key .* must come from MLOPS_APPROVAL_KEY\. Set it on each of them",
    ):
        answered(book)

    assert book.newest(7, EVIDENCE, NOW) is None
    assert shared.objects.names("") == []
    assert list(tmp_path.iterdir()) == []


def test_a_key_from_the_environment_counts_on_every_machine_that_has_it(bucket, tmp_path):
    def on_a_machine(key: str) -> ApprovalBook:
        return Workspace(f"{bucket}/state", tmp_path, approval_key=key).of(a_product()).approvals

    given_answer = answered(on_a_machine(KEY))

    assert on_a_machine(KEY).newest(7, EVIDENCE, NOW) == given_answer
    assert on_a_machine("").newest(7, EVIDENCE, NOW) is None
    assert on_a_machine(KEY[::-1]).newest(7, EVIDENCE, NOW) is None
