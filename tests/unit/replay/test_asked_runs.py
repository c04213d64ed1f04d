"""Which periods and assets a command runs: exactly those that were named."""

from dataclasses import replace

import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import DeclarationError
from mlops_assets.replay.asked_runs import keys_of_range


@pytest.mark.parametrize(
    ("partition", "keys"),
    [
        ("", ()),
        ("2013-01-07", ("2013-01-07",)),
        ("2013-01-07..2013-01-07", ("2013-01-07",)),
        ("2013-01-07..2013-01-21", ("2013-01-07", "2013-01-14", "2013-01-21")),
    ],
)
def test_a_range_holds_both_its_ends(partition: str, keys: tuple[str, ...]):
    assert keys_of_range(flight_delay, partition) == keys


@pytest.mark.parametrize(
    ("partition", "said"),
    [
        ("2013-01-14..2013-01-07", "ends before it begins"),
        ("2013-01-08", r"no period begins on 2013-01-08. The nearest one is 2013-01-07"),
        ("2013-01-07..", "'' is not a period key"),
        ("2013-12-23..2014-01-06", "flight_delay has no period 2013-12-30. Its first is 2012-12-31"),
        ("2012-12-24", "flight_delay has no period 2012-12-24"),
    ],
)
def test_a_range_that_is_none_says_why(partition: str, said: str):
    with pytest.raises(DeclarationError, match=said):
        keys_of_range(flight_delay, partition)


def test_a_product_without_an_end_has_every_later_period():
    running = replace(flight_delay, period=replace(flight_delay.period, end=None))

    assert keys_of_range(running, "2013-12-23..2013-12-30") == ("2013-12-23", "2013-12-30")
