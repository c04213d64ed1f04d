"""Signed approvals: who has no key cannot approve, and an approval counts for what it was given on, until it ends."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.errors import ApprovalRefused
from mlops_assets.stores.approvals import APPROVAL, Approval, ApprovalBook, Verdict, is_genuine, sign
from mlops_assets.stores.documents import Documents

NOW = datetime(2013, 7, 1, 12, tzinfo=UTC)
EVIDENCE = {"test_report": "a" * 64, "staging_report": "b" * 64, "bundle": "c" * 64}
KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def book(tmp_path: Path) -> ApprovalBook:
    return ApprovalBook(Documents(tmp_path / "documents"), tmp_path / "approval.key")


def answered(book: ApprovalBook, verdict: Verdict = Verdict.APPROVED, at: datetime = NOW, **changes) -> Approval:
    usual = {"product": "taxi", "version": 7, "partition": "2013-07-01", "by": "ana", "note": "slices look right"}
    return book.answer(
        **{**usual, "verdict": verdict, "at": at, "valid_for": timedelta(days=7), "evidence": EVIDENCE, **changes}
    )


def forged(book: ApprovalBook, answer: Approval, **changes) -> None:
    """Kept as if it had been given."""
    book.documents.save("taxi", APPROVAL, f"{answer.version:06d}-forged", msgspec.structs.replace(answer, **changes))


def test_an_approval_counts_for_its_version_from_when_it_was_given(book):
    given_answer = answered(book)

    assert book.newest("taxi", 7, EVIDENCE, NOW) == given_answer
    assert book.newest("taxi", 8, EVIDENCE, NOW) is None
    assert book.newest("taxi", 7, EVIDENCE, NOW - timedelta(microseconds=1)) is None


def test_an_approval_ends_by_itself(book):
    answered(book)
    last = NOW + timedelta(days=7)

    assert book.newest("taxi", 7, EVIDENCE, last - timedelta(microseconds=1)) is not None
    assert book.newest("taxi", 7, EVIDENCE, last) is None
    assert book.why_not("taxi", 7, EVIDENCE, last) == "the answer of ana at 2013-07-01 12:00 ended at 2013-07-08 12:00"


@pytest.mark.parametrize("changed", sorted(EVIDENCE))
def test_an_approval_does_not_count_for_other_evidence(book, changed):
    answered(book)
    other = {**EVIDENCE, changed: "d" * 64}

    assert book.newest("taxi", 7, other, NOW) is None
    assert book.why_not("taxi", 7, other, NOW).endswith(f"was given on another {changed}")


def test_a_record_without_a_signature_is_no_approval(book):
    forged(book, Approval("taxi", 7, "2013-07-01", Verdict.APPROVED, "mallory", "-", NOW, NOW + timedelta(9), EVIDENCE))

    assert book.newest("taxi", 7, EVIDENCE, NOW) is None
    assert "not signed with the key of this installation" in book.why_not("taxi", 7, EVIDENCE, NOW)


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
def test_an_answer_that_was_changed_is_no_answer(book, tmp_path, change):
    genuine = answered(book, Verdict.REJECTED)
    empty = ApprovalBook(Documents(tmp_path / "other"), book.key_file)
    forged(empty, genuine, **change)

    assert empty.newest("taxi", 7, EVIDENCE, NOW) is None


def test_an_approval_of_another_version_under_this_ones_name_is_none(book):
    other = answered(book, version=6)
    book.documents.save("taxi", APPROVAL, "000007-copied", other)

    assert book.newest("taxi", 7, EVIDENCE, NOW) is None


def test_an_answer_of_another_installation_does_not_count(book):
    answered(ApprovalBook(book.documents, book.key_file, given_key=KEY))
    answered(book, version=9)  # makes the key of this one

    assert book.newest("taxi", 7, EVIDENCE, NOW) is None
    assert ApprovalBook(book.documents, book.key_file, given_key=KEY).newest("taxi", 7, EVIDENCE, NOW) is not None


def test_the_newest_answer_is_the_one_that_counts(book):
    answered(book, Verdict.APPROVED)
    answered(book, Verdict.REJECTED, at=NOW + timedelta(hours=1), by="ben")

    found = book.newest("taxi", 7, EVIDENCE, NOW + timedelta(days=300))

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
    assert book.newest("taxi", 7, EVIDENCE, NOW) is None
    assert not book.key_file.exists()


def test_a_key_that_can_be_tried_out_is_refused(book):
    with pytest.raises(ApprovalRefused, match="has 5 bytes, 16 are needed"):
        answered(ApprovalBook(book.documents, book.key_file, given_key="12345"))


@pytest.mark.parametrize("nobody", [{"by": " "}, {"note": ""}])
def test_an_answer_needs_who_and_why(book, nobody):
    with pytest.raises(ApprovalRefused, match="needs who gives it and why"):
        answered(book, **nobody)


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=16, max_size=64), st.binary(min_size=16, max_size=64), st.text(min_size=1))
def test_only_the_key_that_signed_verifies(key: bytes, other: bytes, by: str):
    bare = Approval("taxi", 7, "2013-07-01", Verdict.APPROVED, by, "why", NOW, NOW, EVIDENCE)
    signed = msgspec.structs.replace(bare, signature=sign(bare, key))

    assert is_genuine(signed, key)
    assert is_genuine(signed, other) == (key.ljust(64, b"\0") == other.ljust(64, b"\0"))  # HMAC pads keys with zeros
    assert not is_genuine(signed, b"")
