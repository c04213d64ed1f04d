"""Which periods a sensor asks for next, at the boundaries of time, and of what is stored."""

from datetime import datetime, timedelta

import pytest

from mlops_assets.products.periods import Period, daily
from sensors.arrivals import periods_to_ingest, periods_to_label
from tests.unit.training.builders import InMemory, a_product, january, rides

A_MICROSECOND = timedelta(microseconds=1)
DAYS = ["2020-01-01", "2020-01-02", "2020-01-03"]


class LateSource(InMemory):
    """The second of January never arrives."""

    def has_arrived(self, period: Period, now: datetime) -> bool:
        return period.key != "2020-01-02"


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (january(2) - A_MICROSECOND, []),
        (january(2), DAYS[:1]),  # a day is over at midnight
        (january(4) - A_MICROSECOND, DAYS[:2]),
        (january(4), DAYS),
    ],
)
def test_a_period_is_asked_for_once_it_is_over_oldest_first(now, expected):
    assert periods_to_ingest(a_product(), now, stored=[]) == expected


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (["2020-01-02"], ["2020-01-01", "2020-01-03"]),  # one that is missing in between
        ([], DAYS),
        (DAYS, []),
        (["2020-01-03"], ["2020-01-01", "2020-01-02"]),  # the last one came first
    ],
)
def test_a_period_that_is_stored_is_not_asked_for_again(stored, expected):
    assert periods_to_ingest(a_product(), january(4), stored) == expected


def test_a_period_that_the_source_does_not_have_yet_is_not_asked_for():
    product = a_product(source=LateSource(rides()))

    assert periods_to_ingest(product, january(4), stored=[]) == ["2020-01-01", "2020-01-03"]


def test_nothing_is_asked_for_after_the_declared_end():
    product = a_product(period=daily(start="2020-01-01", end="2020-01-03"))

    assert periods_to_ingest(product, january(31), stored=[]) == DAYS[:2]
    assert periods_to_label(product, january(31), raw=DAYS, done=[]) == DAYS[:2]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (january(3) - A_MICROSECOND, []),
        (january(3), DAYS[:1]),  # the labels of the first day are due a day after it ended
        (january(5), DAYS),
    ],
)
def test_labels_are_due_once_their_delay_has_passed_after_the_end_of_the_period(now, expected):
    assert periods_to_label(a_product(), now, raw=DAYS, done=[]) == expected


@pytest.mark.parametrize(
    ("raw", "done", "expected"),
    [
        (DAYS[1:], [], DAYS[1:]),  # without rows there are no labels
        (DAYS, DAYS[:1], DAYS[1:]),
        (DAYS, DAYS[1:], DAYS[:1]),  # a period that was mended after later ones were measured
        ([], [], []),
    ],
)
def test_labels_are_asked_for_of_stored_periods_that_are_not_done(raw, done, expected):
    assert periods_to_label(a_product(), january(5), raw, done) == expected


def test_where_gaps_are_allowed_a_period_without_a_delivery_is_asked_for_once_a_later_one_is_there():
    product = a_product(source=LateSource(rides()), gaps="allow")

    assert periods_to_ingest(product, january(3), stored=[]) == DAYS[:1]  # the second of January may still come
    assert periods_to_ingest(product, january(4), stored=[]) == DAYS
    assert periods_to_ingest(a_product(source=LateSource(rides())), january(4), stored=[]) == [DAYS[0], DAYS[2]]
