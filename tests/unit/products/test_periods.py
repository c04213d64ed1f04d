"""Periods: half-open, adjacent, named by their start; months and schedules of any cron, as Dagster divides them."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.errors import DeclarationError
from mlops_assets.products.cron import Schedule
from mlops_assets.products.periods import Period, cron, daily, days, hourly, hours, monthly, months, weekly, weeks
from resources.asset_parts import partitions_of

WEEKS_OF_JULY = weekly(start="2013-07-01", end="2013-07-29")  # four of them
A_MICROSECOND = timedelta(microseconds=1)


def january(day: int, hour: int = 0) -> datetime:
    return datetime(2020, 1, day, hour, tzinfo=UTC)


def july(day: int, hour: int = 0) -> datetime:
    return datetime(2013, 7, day, hour, tzinfo=UTC)


def keys(periods) -> list[str]:
    return [period.key for period in periods]


def test_the_key_of_a_period_is_its_first_day():
    assert WEEKS_OF_JULY.at("2013-07-08") == Period(july(8), july(15))
    assert WEEKS_OF_JULY.at("2013-07-08").key == "2013-07-08"


@pytest.mark.parametrize(
    ("moment", "key"),
    [
        (july(8), "2013-07-08"),
        (july(8) - A_MICROSECOND, "2013-07-01"),
        (july(15) - A_MICROSECOND, "2013-07-08"),
        (july(15), "2013-07-15"),
    ],
)
def test_a_period_holds_its_start_and_not_its_end(moment, key):
    assert WEEKS_OF_JULY.containing(moment).key == key


@given(st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)))
def test_every_moment_lies_in_exactly_the_period_that_contains_it(moment):
    period = WEEKS_OF_JULY.containing(moment)

    assert period.start <= moment < period.end
    assert WEEKS_OF_JULY.at(period.key) == period


def test_shifting_counts_periods_in_both_directions():
    period = WEEKS_OF_JULY.at("2013-07-15")

    assert WEEKS_OF_JULY.shift(period, 1).key == "2013-07-22"
    assert WEEKS_OF_JULY.shift(period, -2).key == "2013-07-01"
    assert WEEKS_OF_JULY.shift(period, 0) == period


def test_the_window_before_a_key_ends_where_the_key_begins():
    assert keys(WEEKS_OF_JULY.window_before("2013-07-22", weeks(2))) == ["2013-07-08", "2013-07-15"]


def test_the_window_before_a_key_leaves_out_what_lies_before_the_first_period():
    assert keys(WEEKS_OF_JULY.window_before("2013-07-15", weeks(9))) == ["2013-07-01", "2013-07-08"]
    assert keys(WEEKS_OF_JULY.window_before("2013-07-01", weeks(9))) == []


@pytest.mark.parametrize(
    ("now", "over"),
    [
        (july(8) - A_MICROSECOND, []),
        (july(8), ["2013-07-01"]),
        (july(15), ["2013-07-01", "2013-07-08"]),
        (july(15) - A_MICROSECOND, ["2013-07-01"]),
    ],
)
def test_a_period_is_over_at_its_very_end(now, over):
    assert keys(WEEKS_OF_JULY.ended_by(now)) == over


def test_no_period_ends_after_the_declared_end():
    assert keys(WEEKS_OF_JULY.ended_by(datetime(2020, 1, 1, tzinfo=UTC)))[-1] == "2013-07-22"
    assert not WEEKS_OF_JULY.has(Period(july(29), july(29) + weeks(1)))


def test_periods_without_an_end_go_on():
    assert keys(daily(start="2013-07-01").ended_by(july(4))) == ["2013-07-01", "2013-07-02", "2013-07-03"]


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("2013-07-09", "no period begins on 2013-07-09. The nearest one is 2013-07-08"),
        ("2012-01-01", "no period begins on 2012-01-01. The nearest one is 2013-07-01"),
        ("july", "'july' is not a period key. Write its first day, as in 2013-07-01"),
        ("", "'' is not a period key"),
    ],
)
def test_a_wrong_key_is_refused_with_the_right_one(key, sentence):
    with pytest.raises(DeclarationError, match=sentence):
        WEEKS_OF_JULY.at(key)


@pytest.mark.parametrize("end", ["2013-07-30", "2013-07-01", "2013-06-24"])
def test_an_end_that_is_not_whole_periods_after_the_start_is_refused(end):
    with pytest.raises(DeclarationError, match=f"periods end {end}.*Move the end"):
        weekly(start="2013-07-01", end=end)


def test_a_start_that_is_not_a_day_is_refused():
    with pytest.raises(DeclarationError, match=r"'the first' is not a day. Write it as 2013-01-07"):
        weekly(start="the first")


def test_lengths_are_written_in_words():
    assert (hours(6), days(2), weeks(1)) == (timedelta(hours=6), timedelta(days=2), timedelta(days=7))


SCHEDULES = [
    "0 * * * *",
    "30 * * * *",
    "0 0 1 * *",
    "0 6 * * 1-5",
    "0 6,18 * * *",
    "*/20 8-10 * * MON",
    "0 0 15 * FRI",
    "0 0 1 */3 *",
]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_periods_of_a_cron_schedule_are_the_partitions_that_dagster_makes_of_it(schedule):
    first = Schedule(schedule).at_or_after(datetime(2019, 12, 30, tzinfo=UTC))
    periods = cron(schedule, start=f"{first:%Y-%m-%dT%H:%M}")

    partitions = partitions_of(periods)
    theirs = partitions.get_partition_keys(current_time=datetime(2020, 8, 17, 13, 5, tzinfo=UTC))

    ours = [*periods.ended_by(datetime(2020, 8, 17, 13, 5, tzinfo=UTC))]
    assert [*keys(ours), periods.shift(ours[-1], 1).key] == theirs  # the running period is one of them
    assert all(periods.at(period.key) == period for period in ours)
    windows = [partitions.time_window_for_partition_key(period.key) for period in ours[:50]]
    assert [(window.start, window.end) for window in windows] == [(period.start, period.end) for period in ours[:50]]
    assert periods.count(ours[0].key, ours[-1].key) == len(ours)
    assert periods.shift(ours[-1], 1 - len(ours)) == ours[0]


@pytest.mark.parametrize("schedule", ["0 * * * *", "0 0 1 * *", "0 6 * * 1-5", "0 6,18 * * *"])
@given(moment=st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)))
def test_every_moment_lies_in_exactly_one_period_of_any_schedule(schedule, moment):
    periods = cron(schedule, start=f"{Schedule(schedule).at_or_after(datetime(2000, 1, 1, tzinfo=UTC)):%Y-%m-%dT%H:%M}")

    period = periods.containing(moment)

    assert period.start <= moment < period.end
    assert periods.at(period.key) == period
    assert periods.shift(periods.shift(period, 1), -1) == period


def test_keys_are_days_and_where_several_periods_begin_on_one_day_minutes():
    assert keys(hourly("2020-02-29").ended_by(datetime(2020, 2, 29, 2, tzinfo=UTC))) == [
        "2020-02-29T0000",
        "2020-02-29T0100",
    ]
    assert keys(monthly("2020-01-01").ended_by(datetime(2020, 3, 1, tzinfo=UTC))) == ["2020-01-01", "2020-02-01"]
    assert cron("0 6 * * 1-5", "2020-01-03").first == Period(january(3, 6), january(6, 6))  # from Friday to Monday
    assert cron("0 6 * * 1-5", "2020-01-03").first.key == "2020-01-03"


@pytest.mark.parametrize(
    ("before", "window", "first"),
    [
        ("2021-03-01", days(365), "2020-03-01"),  # 2020-03-01 is 365 days before
        (
            "2020-03-01",
            days(365),
            "2019-03-01",
        ),  # 2019-03-02 is 365 days before: of March all but a day lies in the window
        ("2021-03-01", months(1), "2021-02-01"),
        ("2021-03-01", months(12), "2020-03-01"),
        ("2021-03-01", days(15), "2021-02-01"),  # half of 28 days is 14
        ("2021-03-01", days(43), "2021-02-01"),  # and 15 days of January, less than half
        ("2021-03-01", days(44), "2021-01-01"),
    ],
)
def test_a_window_of_months_holds_those_of_which_half_or_more_lies_in_it(before, window, first):
    periods = monthly("2010-01-01")

    window_before = periods.window_before(before, window)

    assert window_before[0].key == first
    assert window_before[-1].end == periods.at(before).start
    assert periods.window_start(before, window) == window_before[0].start


def test_a_lookback_of_months_is_covered_whole_and_counts_the_most_that_it_can_reach():
    periods = monthly("2020-01-01")

    # 2020-03-02 less 30 days would do without February, 2020-03-01 less 30 days reaches into January
    assert keys(periods.with_lookback("2020-03-01", days(30))) == ["2020-01-01", "2020-02-01", "2020-03-01"]
    assert keys(periods.with_lookback("2020-04-01", days(30))) == ["2020-03-01", "2020-04-01"]
    assert periods.covering(days(30)) == 2
    assert periods.in_window(days(365)) == 12
    assert keys(WEEKS_OF_JULY.with_lookback("2013-07-22", days(8))) == ["2013-07-08", "2013-07-15", "2013-07-22"]


def test_hours_make_a_day_and_everything_longer_counts_as_it_is():
    assert (hourly("2020-01-01").a_day, daily("2020-01-01").a_day, monthly("2020-01-01").a_day) == (24, 1, 1)


def test_partitions_are_counted_up_to_the_end_or_to_now():
    now = datetime(2020, 1, 3, 5, 30, tzinfo=UTC)

    assert hourly("2020-01-01").partitions_by(now) == 2 * 24 + 6
    assert hourly("2020-01-01", end="2020-01-02").partitions_by(now) == 24
    assert daily("2020-01-10").partitions_by(now) == 1


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: monthly("2020-01-15"),
            "periods start 2020-01-15, when '0 0 1 * *' does not fire. Start them 2020-02-01",
        ),
        (lambda: cron("0 6 * *", "2020-01-01"), "'0 6 * *' is not a cron schedule of five fields"),
        (lambda: cron("0 25 * * *", "2020-01-01"), "has '25' as hour. Give numbers from 0 to 23"),
        (lambda: cron("0 6 * * 5-1", "2020-01-01"), "has '5-1' as day of week. Give numbers from 0 to 7 or names"),
        (lambda: cron("0 0 30 2 *", "2020-01-01"), "'0 0 30 2 *' names a day that never comes"),
        (lambda: hourly("2020-01-01T06:30"), "periods start 2020-01-01T06:30, .*Start them 2020-01-01T07:00"),
        (lambda: monthly("2020-01-01", end="2020-06-15"), "periods end 2020-06-15, .*Move the end"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(make, sentence):
    with pytest.raises(DeclarationError, match=re.escape(sentence).replace(r"\.\*", ".*")):
        make()
