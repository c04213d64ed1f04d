"""`mlops up` lets those products go on by themselves that its state holds, and says how far each has come."""

from dataclasses import replace

import pytest

from examples.flights.flight_delay import flight_delay
from mlops_assets.cli.starting import next_steps, sensors_to_run
from mlops_assets.errors import UnknownProduct
from mlops_assets.state.workspace import Workspace
from tests.dagster.builders import serve_from, store
from tests.unit.training.builders import january

OTHER = replace(flight_delay, name="air_time")
CATALOG = (flight_delay, OTHER)


def test_products_of_which_the_state_holds_something_go_on_by_themselves(workspace: Workspace):
    store(workspace.of(OTHER), "raw", "2013-01-07")

    assert sensors_to_run(workspace, "", CATALOG) == "air_time"


def test_an_empty_state_starts_nothing_that_nobody_asked_for(workspace: Workspace):
    assert sensors_to_run(workspace, "", CATALOG) == ""


def test_the_only_product_goes_on_by_itself_on_an_empty_state_too(workspace: Workspace):
    assert sensors_to_run(workspace, "", (flight_delay,)) == "flight_delay"


@pytest.mark.parametrize(
    ("asked", "running"),
    [("all", "all"), ("none", ""), ("air_time", "air_time"), ("air_time, flight_delay", "air_time,flight_delay")],
)
def test_what_a_person_asks_for_comes_first(workspace: Workspace, asked: str, running: str):
    store(workspace.of(flight_delay), "raw", "2013-01-07")

    assert sensors_to_run(workspace, asked, CATALOG) == running


def test_a_product_that_does_not_exist_is_named_with_those_that_do(workspace: Workspace):
    with pytest.raises(UnknownProduct, match="Did you mean 'flight_delay'"):
        sensors_to_run(workspace, "flight_dely", CATALOG)


def test_without_a_champion_it_says_how_many_periods_are_missing(workspace: Workspace):
    state = workspace.of(flight_delay)
    store(state, "features", "2012-12-31", "2013-01-07", "2013-01-14")
    store(state, "labels", "2012-12-31", "2013-01-07")

    assert next_steps(workspace, "flight_delay", CATALOG) == [
        "flight_delay: 3 periods are stored, 2 of them with labels; the first champion needs 16, 14 more.",
        "  its sensors store new periods and train the first champion; `mlops replay flight_delay` is quicker",
    ]


def test_with_a_champion_it_says_which_version_serves(workspace: Workspace):
    serve_from(workspace.of(flight_delay), january(9))

    assert next_steps(workspace, "flight_delay", CATALOG) == [
        "flight_delay: 0 periods are stored, 0 of them with labels; version 1 serves since 2020-01-09."
    ]


def test_a_version_that_is_flagged_for_rework_is_said_with_the_commands_that_answer_it(workspace: Workspace):
    state = workspace.of(flight_delay)
    serve_from(state, january(9))
    state.ledger.flag_for_rework(1, january(31), "12 % of rows moved")

    (sentence,) = next_steps(workspace, "flight_delay", CATALOG)

    assert sentence.endswith(
        "version 1 serves since 2020-01-09. Version 1 is flagged for rework since 2020-01-31: 12 % of rows moved. Automatic retraining "
        "is off. Change the product's features, windows or candidates, then run `mlops experiment flight_delay --finalise` and "
        "`mlops train flight_delay`."
    )


def test_without_sensors_it_says_how_to_start_some(workspace: Workspace):
    (said,) = next_steps(workspace, "", CATALOG)

    assert said.startswith("no sensors run, so the loop is off: name products with --sensors (flight_delay")


def test_a_clock_that_a_replay_left_is_said(workspace: Workspace):
    workspace.replay_clock.set(january(9))

    sentence = next_steps(workspace, "all", ())[-1]
    assert "the clock of this state stands at 2020-01-09 00:00" in sentence
    # `mlops replay` is refused as long as `mlops up` runs
    assert "End this with Ctrl-C and run `mlops replay` again" in sentence
    assert "`mlops clock MOMENT`" in sentence
