"""The clock of the platform: the wall clock, or the one a replay has set."""

from datetime import UTC, datetime

import pytest

from mlops_assets.errors import StoreError
from mlops_assets.state.clock import CLOCK, ReplayClock, WatchedClock, clock_of
from mlops_assets.state.dtypes import microseconds
from mlops_assets.state.objects import Objects, objects_at

MOMENT = datetime(2013, 7, 1, 12, 30, tzinfo=UTC)


def test_a_replayed_clock_stands_where_it_was_set_for_every_reader(objects: Objects):
    ReplayClock(objects).set(MOMENT)

    assert ReplayClock(objects).now() == MOMENT
    assert clock_of(objects_at(objects.url)).now() == MOMENT


def test_without_a_replay_it_is_now_in_utc(objects: Objects):
    before = datetime.now(UTC)

    now = clock_of(objects).now()

    assert before <= now <= datetime.now(UTC)
    assert now.tzinfo is UTC


def test_a_replay_clock_that_was_never_set_says_so(objects: Objects):
    with pytest.raises(StoreError, match=r"the replay clock of .* was never set"):
        ReplayClock(objects).now()


def test_a_watched_clock_takes_up_a_replay_and_its_end(objects: Objects):
    clock = WatchedClock(objects, look_seconds=0)
    before = datetime.now(UTC)
    assert before <= clock.now() <= datetime.now(UTC)
    assert microseconds(before) <= clock.microseconds() <= microseconds(datetime.now(UTC))

    ReplayClock(objects).set(MOMENT)

    assert clock.microseconds() == microseconds(MOMENT)
    assert clock.now() == MOMENT

    objects.delete(CLOCK)

    assert clock.now() >= before


def test_a_watched_clock_looks_no_more_often_than_it_is_told(objects: Objects):
    clock = WatchedClock(objects, look_seconds=3_600)
    before = clock.now()

    ReplayClock(objects).set(MOMENT)

    assert clock.now() >= before


def test_a_state_that_cannot_be_read_for_a_moment_moves_no_clock(workspace):
    workspace.replay_clock.set(MOMENT)
    clock = WatchedClock(workspace.objects, look_seconds=0)
    assert clock.now() == MOMENT

    workspace.objects.delete(CLOCK)
    (workspace.home / CLOCK).symlink_to(CLOCK)  # to itself, which nobody can read

    assert clock.now() == MOMENT
