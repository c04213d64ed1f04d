"""A file that ends in mid-period: the period waits for its rows, through the sensors and by hand, and is then stored whole."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from mlops_assets.products.periods import days, weekly
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.data import IncompletePeriod
from mlops_assets.replay.runs import expect_success, failure_of
from mlops_assets.sources.file_source import Files
from tests.dagster.builders import a_replay, evaluate, materialize
from tests.unit.training.builders import RIDES, a_product, a_ride, january, rides

FIRST, SECOND = "2020-01-06", "2020-01-13"
STOPS = january(15, 22, 30)  # 142 of the 336 half-hours of the second week are delivered


def deliver(file: Path, until: datetime) -> None:
    """A ride every half an hour from the first week on, the last one at `until`."""
    step, first = timedelta(minutes=30), january(6)
    count = (until - first) // step + 1
    rides(*(a_ride(number, first + number * step) for number in range(count))).write_csv(file)


def a_weekly_product(file: Path) -> ModelProduct:
    product = a_product(period=weekly(start=FIRST), training_window=days(56), test_window=days(14))
    return replace(product, source=Files(RIDES, {"rides": str(file)}))


def test_the_sensor_waits_for_the_rest_of_the_week_and_then_stores_it_whole(tmp_path: Path):
    file = tmp_path / "rides.csv"
    deliver(file, STOPS)
    with a_replay(a_weekly_product(file), tmp_path / "home") as replay:
        replay.at(january(28))  # the third week is over as well
        (stored,) = replay.tick("new_data")
        tick = evaluate(replay, "taxi_new_data", None)

        assert stored.success
        assert tick.run_requests == []
        assert str(tick.skip_message).startswith(
            "taxi: the period 2020-01-13 has not wholly arrived: the newest row of rides is of 2020-01-15 22:30, 42% of the period"
        )
        assert replay.state.tables.keys("raw") == [FIRST]
        assert replay.state.records.keys(IncompletePeriod) == [SECOND]

        deliver(file, january(20, 1))
        replay.at(january(28, 0, 1))  # a minute later the source is asked again
        request = evaluate(replay, "taxi_new_data", None).run_requests[0]
        expect_success(replay.run(request))

        assert replay.state.tables.contents("raw", SECOND).rows == 336
        assert replay.state.records.keys(IncompletePeriod) == []


def test_a_run_by_hand_says_that_the_week_has_not_wholly_arrived(tmp_path: Path):
    file = tmp_path / "rides.csv"
    deliver(file, STOPS)
    with a_replay(a_weekly_product(file), tmp_path / "home") as replay:
        replay.at(january(20))
        result = materialize(replay, "raw", key=SECOND)

        assert "the period 2020-01-13 has not wholly arrived" in failure_of(result)
        assert not replay.state.tables.has("raw", SECOND)
        assert replay.state.records.keys(IncompletePeriod) == [SECOND]


def test_a_skipped_week_no_longer_waits(tmp_path: Path):
    file = tmp_path / "rides.csv"
    deliver(file, STOPS)
    with a_replay(a_weekly_product(file), tmp_path / "home") as replay:
        replay.at(january(20))
        replay.tick("new_data")
        replay.state.skipped.skip(SECOND, "the meter was replaced", "ana")
        (stored,) = replay.tick("new_data")

        expect_success(stored)
        assert replay.state.tables.contents("raw", SECOND).rows == 0
        assert replay.state.records.keys(IncompletePeriod) == []


def test_the_first_champion_does_not_wait_for_it(tmp_path: Path):
    file = tmp_path / "rides.csv"
    deliver(file, STOPS)
    with a_replay(a_weekly_product(file), tmp_path / "home") as replay:
        replay.at(january(28))
        replay.tick("new_data")
        replay.tick("labels")

        said = str(evaluate(replay, "taxi_first_champion", None).skip_message)

        assert said == "1 of 8 labelled periods are stored: 7 more are needed"
