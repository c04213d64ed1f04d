"""Whether a run is asked for again: growing distance, a declared number, and no end in between."""

from datetime import UTC, datetime, timedelta

import pytest

from mlops_assets.errors import DeclarationError
from mlops_assets.products.policy import Retries
from sensors.attempts import Attempt, Standing, State, standing_of

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RETRIES = Retries(attempts=3, first_wait=MINUTE, longest_wait=timedelta(hours=1))


def failed(at: datetime = NOON, *, is_final: bool = False, is_retry: bool = False) -> Attempt:
    return Attempt(ended_at=at, is_final=is_final, is_retry=is_retry)


def test_what_was_never_asked_for_is_due():
    assert standing_of([], NOON, RETRIES) == Standing(State.DUE)


def test_a_run_that_has_not_ended_is_waited_for_whatever_ended_before_it():
    assert standing_of([failed(), Attempt(ended_at=None)], NOON, RETRIES) == Standing(State.UNDER_WAY, 2)


def test_a_success_is_the_end():
    assert standing_of([failed(), Attempt(NOON, succeeded=True)], NOON, RETRIES).state is State.DONE


@pytest.mark.parametrize(
    ("failures", "waits"),
    [(1, MINUTE), (2, 2 * MINUTE)],
)
def test_the_wait_doubles_and_ends_on_its_limit(failures: int, waits: timedelta):
    attempts = [failed()] * failures

    assert standing_of(attempts, NOON + waits - timedelta(seconds=1), RETRIES) == Standing(
        State.WAITS, failures, NOON + waits
    )
    assert standing_of(attempts, NOON + waits, RETRIES) == Standing(State.DUE, failures, NOON + waits)


def test_after_the_declared_number_of_failures_a_person_is_needed():
    found = standing_of([failed()] * 3, NOON + timedelta(days=30), RETRIES)

    assert (found.state, found.attempts, found.is_open) == (State.GIVEN_UP, 3, False)


def test_a_run_with_its_retries_by_dagster_is_one_attempt():
    found = standing_of([failed(), failed(is_retry=True), failed(is_retry=True)], NOON, RETRIES)

    assert (found.state, found.attempts) == (State.WAITS, 1)


def test_a_final_failure_is_not_tried_again():
    assert standing_of([failed(is_final=True)], NOON + timedelta(days=1), RETRIES).state is State.REFUSED


def test_waits_grow_up_to_the_longest():
    hour = timedelta(hours=1)

    # by hand: 1, 2, 4, 8, 16, 32 minutes, then an hour each
    assert [Retries().wait_after(number) // MINUTE for number in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert Retries().wait_after(10_000) == hour


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"attempts": 0}, r"retries: attempts \(0\) must be at least 1."),
        ({"first_wait": timedelta(0)}, "first_wait \\(0:00:00\\) must be above 0 and at most longest_wait"),
        ({"first_wait": timedelta(hours=2)}, "first_wait \\(2:00:00\\) must be above 0 and at most longest_wait"),
        ({"missing": "ignore"}, "retries: missing='ignore' does not exist. Known: fail, skip."),
    ],
)
def test_a_wrong_declaration_says_what_is_right(wrong: dict[str, object], sentence: str):
    with pytest.raises(DeclarationError, match=sentence):
        Retries(**wrong)  # type: ignore[arg-type]
