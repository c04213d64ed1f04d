"""The story of the year: one line a period, a table, and which actions never occurred."""

import io
from dataclasses import replace

import msgspec
import pytest
from rich.console import Console
from rich.table import Table

from mlops_assets.products.policy import Action, DriftPolicy
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.replay.story import (
    Week,
    actions_in_words,
    decisions_table,
    one_line,
    what_inconclusive_needs,
    year_table,
)
from tests.unit.training.builders import a_product


def a_week(action: str = "watch", period: str = "2013-04-29", **changes) -> Week:
    decision = DriftDecision(period, Action(action), 3.1, 2.6, 3.6, (), "", Action(action), 3.1, (), 1)
    usual = {"rows": 6_412, "drift": 3.1, "performance": 0.7, "never_retrained": 0.6}
    return Week(period=period, decision=decision, **{**usual, **changes})


def test_a_week_is_told_in_one_line():
    assert one_line(a_week()) == "2013-04-29: 6,412 rows, data drift 3.1 %, watch"


def test_a_week_with_too_few_rows_says_so():
    week = a_week("inconclusive", rows=12, drift=None)

    assert one_line(week) == "2013-04-29: 12 rows, data drift inconclusive, inconclusive"


@pytest.mark.parametrize(
    ("actions", "sentence"),
    [
        (
            ["none", "none", "watch"],
            "Decisions: none 2x, watch 1x. Never decided: retrain, rework.",
        ),
        (["none", "watch", "retrain", "rework"], "Decisions: none 1x, watch 1x, retrain 1x, rework 1x."),
        (["inconclusive", "watch"], "Decisions: watch 1x. Never decided: none, retrain, rework."),
        (["inconclusive", "inconclusive"], "Nothing was decided: no reading was conclusive."),
    ],
)
def test_actions_that_never_occurred_are_named_and_none_is_staged(actions, sentence):
    assert actions_in_words(a_week(action) for action in actions) == sentence


def shown(weeks: list[Week], deployed: dict[str, int]) -> list[list[str]]:
    return cells(year_table(a_product(), weeks, deployed))


def cells(table: Table) -> list[list[str]]:
    """The rows of the table as cells, without its frame."""
    console = Console(file=io.StringIO(), width=160, no_color=True)
    console.print(table)
    lines = console.file.getvalue().splitlines()
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]


def test_the_table_names_the_version_that_served_and_the_one_that_followed():
    weeks = [a_week("retrain"), a_week("none", "2013-05-06", performance=None, never_retrained=0.5)]

    assert shown(weeks, {"2013-04-29": 2}) == [
        ["2013-04-29", "6,412", "3.1", "retrain", "1 -> 2", "0.7000", "0.6000"],
        ["2013-05-06", "6,412", "3.1", "none", "1", "-", "0.5000"],
        ["mean", "", "", "", "", "0.7000", "0.5500"],
    ]


def test_a_table_of_no_weeks_has_no_mean():
    assert shown([], {}) == [["mean", "", "", "", "", "-", "-"]]


def test_why_tells_the_reading_and_the_features_of_every_period_that_asked_for_something():
    retrain = a_week("retrain", "2013-05-06")
    because = msgspec.structs.replace(
        retrain.decision, features=("distance", "seats"), reason="7.0 % of rows moved in distance (6.0 to 8.0)"
    )
    weeks = [a_week("none"), replace(retrain, decision=because)]

    assert cells(decisions_table(weeks)) == [
        ["2013-05-06", "retrain", "distance, seats", "7.0 % of rows moved in distance (6.0 to 8.0)"]
    ]


def with_rows(rows: int) -> Week:
    return a_week("inconclusive", rows=rows, drift=None)


def test_periods_that_said_something_need_nothing():
    assert what_inconclusive_needs(a_product(), [a_week()]) == []


def test_too_few_rows_are_told_with_what_would_be_enough():
    product = replace(a_product(), drift=DriftPolicy(min_rows=1_000))

    said = what_inconclusive_needs(product, [with_rows(300), with_rows(400), with_rows(450), a_week()])

    assert said == [
        "3 of 4 readings of data drift are inconclusive.",
        # the typical period, of 400 rows, lacks 600; 1,000 rows take 2.5 of them
        "3 of them have 300 to 450 rows, and the policy needs min_rows=1,000: give about 600 more rows in a period, periods "
        "3 times as long, or DriftPolicy(min_rows=300) if less precise readings are enough.",
    ]


def test_periods_that_are_inconclusive_for_another_reason_say_which():
    week = with_rows(5_000)
    because = msgspec.structs.replace(week.decision, reason="inconclusive: the reference is a single window")
    product = replace(a_product(), drift=DriftPolicy(min_rows=1_000))

    assert what_inconclusive_needs(product, [replace(week, decision=because)]) == [
        "1 of 1 readings of data drift are inconclusive.",
        "The reason: the reference is a single window.",
    ]
