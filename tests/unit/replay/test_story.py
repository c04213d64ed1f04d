"""The story of the year: one line a period, a table, and which actions never occurred."""

import io

import pytest
from rich.console import Console

from mlops_assets.products.policy import Action
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.replay.story import Week, actions_in_words, one_line, year_table
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
            "Decisions: none 2x, watch 1x. The data of this year never caused: retrain, rework.",
        ),
        (["none", "watch", "retrain", "rework"], "Decisions: none 1x, watch 1x, retrain 1x, rework 1x."),
        (["inconclusive", "watch"], "Decisions: watch 1x. The data of this year never caused: none, retrain, rework."),
    ],
)
def test_actions_that_never_occurred_are_named_and_none_is_staged(actions, sentence):
    assert actions_in_words(a_week(action) for action in actions) == sentence


def shown(weeks: list[Week], deployed: dict[str, int]) -> list[list[str]]:
    """The rows of the table as cells, without its frame."""
    console = Console(file=io.StringIO(), width=160, no_color=True)
    console.print(year_table(a_product(), weeks, deployed))
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
