"""The live part of the demo: the clock moves, and the daemon's sensors launch the runs."""

import time
from collections.abc import Sequence

import dagster as dg
from rich.console import Console

from mlops_assets.errors import PlatformError
from mlops_assets.products.periods import Period
from mlops_assets.replay.periods import unfinished
from mlops_assets.replay.runs import Replay
from mlops_assets.replay.story import one_line, week_of
from mlops_assets.replay.walk import answer_rework, has_next, note_champion, progress_on
from sensors.runs import CAUSE

LIVE_SECONDS = 1_800.0  # a live step may take this long on a busy machine before the demo fails


def live_periods(replay: Replay, periods: Sequence[Period], deployed: dict[str, int], console: Console) -> None:
    """Move the clock and wait for the runs that the sensors launch."""
    product = replay.product
    with progress_on(console) as progress:
        live = unfinished(replay.state, periods)
        bar = progress.add_task("live", total=2 * len(live))
        for period in live:
            key = period.key
            progress.update(bar, description=f"{key}: arrives, waiting for the new_data sensor")
            replay.at(period.end)
            wait_for_run(replay, f"{product.name}:{key}:arrival")
            progress.update(bar, advance=1, description=f"{key}: labels are due, waiting for the labels sensor")
            replay.at(period.end + product.label.delay)
            wait_for_run(replay, f"{product.name}:{key}:labels")
            week = week_of(replay.state, key, is_scored=False)
            progress.console.print(f"{one_line(week)} (by the daemon)")
            if week.decision.action == "retrain" and not has_next(replay, period):
                progress.console.print("    the year ends here, so there is no partition to retrain")
            elif week.decision.action in ("retrain", "rework"):
                progress.update(bar, description=f"{key}: the drift sensor carries out {week.decision.action}")
                wait_for_run(replay, f"{product.name}:{key}:{week.decision.action}", may_fail=True)
                note_champion(replay, period, deployed, progress.console)
                answer_rework(replay, period, deployed, progress.console)
            progress.advance(bar)


def wait_for_run(replay: Replay, cause: str, *, may_fail: bool = False) -> None:
    """Wait until the run that a sensor launched for this cause has ended."""
    deadline = time.monotonic() + LIVE_SECONDS
    while time.monotonic() < deadline:
        runs = replay.instance.get_runs(dg.RunsFilter(tags={CAUSE: cause}), limit=1)
        # the sensor requests a failed run again
        if runs and (runs[0].is_success or (may_fail and runs[0].is_finished)):
            return
        time.sleep(0.5)
    raise PlatformError(
        f"no run for {cause} succeeded within {LIVE_SECONDS:.0f} s: see {replay.state.workspace.home / 'logs'}."
    )
