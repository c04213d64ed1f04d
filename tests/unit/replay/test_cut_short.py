"""A demo that is cut short keeps what it made, says how to go on, and goes on from the last decided period."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from examples.flights.flight_delay import flight_delay
from mlops_assets.errors import PlatformError
from mlops_assets.products.policy import Action
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.replay.demo import interrupted_workspace
from mlops_assets.replay.periods import deployed_after, unfinished
from mlops_assets.replay.telling import summary_when_interrupted
from mlops_assets.state.workspace import ProductState, Workspace
from tests.unit.training.builders import january

WEEKS = [flight_delay.period.at(key) for key in ("2013-04-22", "2013-04-29", "2013-05-06", "2013-05-13")]


@pytest.fixture
def state(workspace: Workspace) -> ProductState:
    return workspace.of(flight_delay)


def decide(state: ProductState, *keys: str) -> None:
    for key in keys:
        decision = DriftDecision(key, Action.NONE, 1.0, 0.5, 1.5, (), "nothing moved", Action.NONE, 1.0, (), 1)
        state.records.save(key, decision)


@pytest.mark.parametrize("fault", [PlatformError("webserver did not answer within 900 s"), KeyboardInterrupt()])
def test_whatever_cuts_a_demo_short_it_says_how_to_go_on(state, tmp_path: Path, fault):
    written = io.StringIO()

    with (
        pytest.raises(type(fault)),
        summary_when_interrupted(state, Console(file=written, width=200), f"mlops demo --go-on --home {tmp_path}"),
    ):
        raise fault

    assert f"The results so far are in {tmp_path}. To continue:" in written.getvalue()
    assert f"  mlops demo --go-on --home {tmp_path}\n" in written.getvalue()


def test_what_was_made_is_kept_by_a_demo_that_goes_on(state, tmp_path: Path):
    (tmp_path / "dagster").mkdir()
    decide(state, "2013-04-22")

    kept = interrupted_workspace(tmp_path).of(flight_delay)

    assert kept.records.keys(DriftDecision) == ["2013-04-22"]


def test_a_demo_that_never_began_cannot_go_on(tmp_path: Path):
    with pytest.raises(PlatformError, match=r"no demo was started in .* Leave --go-on out"):
        interrupted_workspace(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_the_last_decided_period_is_done_again_since_what_follows_its_decision_may_be_missing(state):
    every = unfinished(state, WEEKS)
    decide(state, "2013-04-22", "2013-04-29")

    left = unfinished(state, WEEKS)

    assert every == WEEKS
    assert [period.key for period in left] == ["2013-04-29", "2013-05-06", "2013-05-13"]


def test_champions_so_far_are_told_by_the_period_before_them(state):
    for version, partition in ((1, "2013-04-22"), (2, "2013-05-06"), (3, "2013-06-03")):
        state.ledger.deploy(version, partition, january(9), reason="", by="", after=version - 1)

    assert deployed_after(state) == {"2013-04-29": 2, "2013-05-27": 3}
