"""The clock of the platform: the wall clock, or the one a replay has set."""

import time
from datetime import UTC, datetime
from pathlib import Path

from mlops_assets.stores.clock import LOOK_SECONDS, ReplayClock, WatchedClock, clock_of
from mlops_assets.stores.dtypes import microseconds
from mlops_assets.stores.home import Home


def test_a_replayed_clock_stands_where_it_was_set_for_every_reader(tmp_path: Path):
    home = Home(tmp_path)
    moment = datetime(2013, 7, 1, 12, 30, tzinfo=UTC)

    ReplayClock(home.clock_file).set(moment)

    assert home.clock.now() == moment
    assert clock_of(home.clock_file).now() == moment


def test_without_a_replay_it_is_now_in_utc(tmp_path: Path):
    before = datetime.now(UTC)

    now = Home(tmp_path).clock.now()

    assert before <= now <= datetime.now(UTC)
    assert now.tzinfo is UTC


def test_a_watched_clock_takes_up_a_replay_and_its_end(tmp_path: Path):
    home = Home(tmp_path)
    moment = datetime(2013, 7, 1, 12, 30, tzinfo=UTC)
    clock = WatchedClock(home.clock_file)
    before = datetime.now(UTC)
    assert before <= clock.now() <= datetime.now(UTC)
    assert microseconds(before) <= clock.microseconds() <= microseconds(datetime.now(UTC))

    ReplayClock(home.clock_file).set(moment)
    time.sleep(2 * LOOK_SECONDS)

    assert clock.microseconds() == microseconds(moment)
    assert clock.now() == moment

    home.clock_file.unlink()
    time.sleep(2 * LOOK_SECONDS)

    assert clock.now() >= before
