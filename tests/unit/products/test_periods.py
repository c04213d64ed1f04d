"""Periods: half-open, adjacent, named by their first day."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.errors import DeclarationError
from mlops_assets.products.periods import Period, daily, days, hours, weekly, weeks

WEEKS_OF_JULY = weekly(start="2013-07-01", end="2013-07-29")  # four of them
A_MICROSECOND = timedelta(microseconds=1)


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
        ("2013-07-09", "no period begins on 2013-07-09. The one around it is 2013-07-08"),
        ("2012-01-01", "no period begins on 2012-01-01. The one around it is 2013-07-01"),
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
