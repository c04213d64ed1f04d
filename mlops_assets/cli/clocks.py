"""`mlops clock`: what time it is for the platform, and how the time of a replay goes on."""

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from mlops_assets.cli.workspaces import InHome, opened
from mlops_assets.errors import DeclarationError
from mlops_assets.state.clock import SystemClock


def clock(
    moment: Annotated[str, Parameter(help="2024-05-27, or 2024-05-27T06:00:00+00:00; UTC where no zone stands.")] = "",
    *,
    end: Annotated[bool, Parameter(negative="", help="The wall clock holds again.")] = False,
    home: InHome = "",
) -> None:
    """Say what time it is for the platform; with a moment, let the time of a replay go on to it.

    It never goes back, so a step of another orchestrator may be run again. Where the wall clock holds, nothing changes: the
    same steps run live and over the past."""
    workspace = opened(home)
    console, wall = Console(), SystemClock().now()
    replayed = workspace.replay_clock
    if isinstance(workspace.clock, SystemClock):
        console.print(f"the wall clock holds: {wall:%Y-%m-%d %H:%M} UTC", soft_wrap=True)
        return
    if end:
        replayed.end()
        console.print(f"the wall clock holds again: {wall:%Y-%m-%d %H:%M} UTC", soft_wrap=True)
        return
    if moment:
        target = _moment_of(moment)
        if target > wall:
            raise DeclarationError(
                f"{moment} has not come yet. Where a replay has caught up, `mlops clock --end` ends it."
            )
        if target < replayed.now():
            console.print(f"the replay is past {moment} already, and never goes back", soft_wrap=True)
        replayed.set(max(target, replayed.now()))
    console.print(f"the replay stands at {replayed.now():%Y-%m-%d %H:%M} UTC", soft_wrap=True)


def _moment_of(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise DeclarationError(f"{text!r} is no moment. Write it as 2024-05-27 or 2024-05-27T06:00:00+00:00.") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
