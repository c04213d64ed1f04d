"""`mlops clock`: the time of a replay goes on by hand, and the wall clock is left alone."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlops_assets.cli.clocks import clock
from mlops_assets.errors import DeclarationError
from mlops_assets.state.clock import SystemClock
from mlops_assets.state.workspace import Workspace


@pytest.fixture
def replayed(tmp_path: Path) -> Workspace:
    """A state whose replay stands at noon of 2024-05-21."""
    workspace = Workspace(tmp_path)
    workspace.replay_clock.set(datetime(2024, 5, 21, 12, tzinfo=UTC))
    return workspace


@pytest.mark.parametrize(
    ("moment", "then"),
    [
        ("", "2024-05-21 12:00"),
        ("2024-05-27", "2024-05-27 00:00"),
        ("2024-05-27T00:00:00+02:00", "2024-05-26 22:00"),
    ],
    ids=["only said", "a day", "a zone"],
)
def test_a_replay_goes_on(replayed: Workspace, moment: str, then: str, capsys: pytest.CaptureFixture[str]):
    clock(moment, home=str(replayed.home))

    assert capsys.readouterr().out == f"the replay stands at {then} UTC\n"
    assert replayed.clock.now() == datetime.fromisoformat(f"{then}+00:00")


def test_a_replay_never_goes_back(replayed: Workspace, capsys: pytest.CaptureFixture[str]):
    clock("2024-05-20", home=str(replayed.home))

    assert capsys.readouterr().out == (
        "the replay is past 2024-05-20 already, and never goes back\nthe replay stands at 2024-05-21 12:00 UTC\n"
    )
    assert replayed.clock.now() == datetime(2024, 5, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(("moment", "said"), [("2999-01-01", "has not come yet"), ("May", "'May' is no moment")])
def test_a_moment_that_cannot_be_is_refused(replayed: Workspace, moment: str, said: str):
    with pytest.raises(DeclarationError, match=said):
        clock(moment, home=str(replayed.home))

    assert replayed.clock.now() == datetime(2024, 5, 21, 12, tzinfo=UTC)


def test_the_wall_clock_holds_again_when_a_person_says_so(replayed: Workspace):
    clock(end=True, home=str(replayed.home))

    assert isinstance(replayed.clock, SystemClock)


def test_a_state_that_lives_by_the_wall_clock_goes_on_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    clock("2024-05-27", home=str(tmp_path))

    assert capsys.readouterr().out.startswith("the wall clock holds: ")
    assert isinstance(Workspace(tmp_path).clock, SystemClock)
