"""A period without rows is a dead end where gaps are not declared, and a period like any other where they are."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from mlops_assets.products.product import ModelProduct
from mlops_assets.replay.runs import Replay, expect_success, failure_of
from mlops_assets.sources.file_source import Files
from mlops_assets.training.window import load_training_set
from tests.dagster.builders import a_replay, materialize
from tests.unit.training.builders import RIDES, InMemory, a_product, a_ride, january, rides

GAP, AFTER = "2020-01-04", "2020-01-05"


def nine_days_without_one() -> pl.DataFrame:
    """Eighty rides on each of the first nine days of January, and none on the fourth."""
    moments = [
        january(day, minute // 60, minute % 60) for day in range(1, 10) if day != 4 for minute in range(0, 1440, 18)
    ]
    return rides(*(a_ride(number, at, waited=float(number % 9)) for number, at in enumerate(moments)))


def arrive(replay: Replay) -> list[str]:
    """Everything until the ninth of January, through the sensors; what failed."""
    replay.at(january(12))
    results = [*replay.tick("new_data"), *replay.tick("labels")]
    return [failure_of(result) for result in results if not result.success]


def a_product_of(frame: pl.DataFrame, **changes: object) -> ModelProduct:
    product = a_product(source=InMemory(frame), **changes)
    once = replace(product.retries, attempts=1)
    return replace(product, retries=once, period=replace(product.period, end=datetime(2020, 1, 10, tzinfo=UTC)))


def test_a_day_without_rows_stops_at_itself_and_says_how_to_go_on(tmp_path: Path):
    with a_replay(a_product_of(nine_days_without_one()), tmp_path) as replay:
        (failed,) = arrive(replay)

    assert "rides: rows: 0 rows break 'at least 1 in 2020-01-04'" in failed
    assert (
        "If nothing happened in 2020-01-04, declare gaps='allow', or go on without it: `mlops skip taxi 2020-01-04"
        in failed
    )


def test_where_gaps_are_allowed_it_is_stored_without_rows_and_everything_goes_on(tmp_path: Path):
    with a_replay(a_product_of(nine_days_without_one(), gaps="allow"), tmp_path) as replay:
        assert arrive(replay) == []

        state = replay.state
        assert [state.tables.contents("raw", key).rows for key in ("2020-01-03", GAP, AFTER)] == [80, 0, 80]
        assert state.skipped.load(GAP).reason == "the source has no row of rides in it"
        window = load_training_set(state, "2020-01-10")
        assert GAP not in set(window["period"])
        assert AFTER in set(window["period"])


def test_a_gap_of_which_rows_come_after_all_is_none_any_more(tmp_path: Path):
    frame = nine_days_without_one()
    with a_replay(a_product_of(frame, gaps="allow"), tmp_path) as replay:
        replay.at(january(5))
        expect_success(materialize(replay, "raw", key=GAP))
        assert replay.state.skipped.has(GAP)

    late = rides(*(a_ride(9_000 + hour, january(4, hour)) for hour in range(24)))
    with a_replay(a_product_of(pl.concat([frame, late]), gaps="allow"), tmp_path) as replay:
        expect_success(materialize(replay, "raw", key=GAP))

        assert replay.state.tables.contents("raw", GAP).rows == 24
        assert not replay.state.skipped.has(GAP)


def test_a_file_that_was_never_delivered_is_a_gap_once_a_later_one_was(tmp_path: Path):
    for day in (1, 3):
        rides(*(a_ride(hour, january(day, hour)) for hour in range(24))).write_parquet(
            tmp_path / f"2020-01-0{day}.parquet"
        )
    source = Files(RIDES, {"rides": f"{tmp_path}/{{period}}.parquet"})
    product = replace(a_product_of(rides(), gaps="allow"), source=source)
    with a_replay(product, tmp_path / "home") as replay:
        replay.at(january(3))
        early = materialize(replay, "raw", key="2020-01-02")
        replay.at(january(4))
        later = materialize(replay, "raw", key="2020-01-02")

        assert "NotArrived: taxi: the period 2020-01-02 is over and nothing of it was delivered" in failure_of(early)
        expect_success(later)
        assert replay.state.tables.contents("raw", "2020-01-02").rows == 0


def test_a_delivery_that_was_cut_off_before_later_rows_is_stored_and_its_check_says_how_far_it_reaches(tmp_path: Path):
    half = rides(*(a_ride(number, january(1) + timedelta(minutes=10 * number)) for number in range(60)))
    later = rides(a_ride(9_000, january(2)))
    with a_replay(a_product_of(pl.concat([half, later])), tmp_path) as replay:
        replay.at(january(2))
        result = materialize(replay, "raw", key="2020-01-01")

        expect_success(result)
        (check,) = [item for item in result.get_asset_check_evaluations() if item.check_name == "reaches_the_end"]
        assert not check.passed
        assert check.severity.value == "WARN"
        assert str(check.description).startswith(
            "the newest row of rides is of 2020-01-01 09:50, 41% of the period, and no two rows are more than 10 minutes apart. "
        )
