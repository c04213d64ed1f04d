"""`mlops replay`: replays the history of any product, period by period, with its champions and decisions."""

import time
from datetime import UTC, datetime

from rich.console import Console

from mlops_assets.data.arrived import whole_periods
from mlops_assets.errors import PlatformError
from mlops_assets.products.periods import Period
from mlops_assets.products.product import ModelProduct
from mlops_assets.replay.opening import opened_replay, quieten
from mlops_assets.replay.periods import deployed_after, split_history
from mlops_assets.replay.telling import summary_when_interrupted, tell
from mlops_assets.replay.walk import decide_periods, store_history, train_first_champion
from mlops_assets.servers.platform import interruptible, prepare
from mlops_assets.servers.supervisor import only_one
from mlops_assets.state.workspace import ProductState
from resources.environments import Environment


def run_replay(
    product: ModelProduct,
    environment: Environment,
    console: Console,
    *,
    start: str = "",
    end: str = "",
    until_champion: bool = False,
    command: str,
) -> None:
    """Continue the replay of this state. start, end: keys of the first and the last period with a champion; "": the first that
    is possible, the newest that has arrived. command: the command line that continues the replay."""
    started = time.monotonic()
    quieten()
    state = environment.workspace.of(product)
    arrived, incomplete = whole_periods(product, datetime.now(UTC))
    history, replayed = split_history(product, arrived, start, end)
    with interruptible(), only_one(state.workspace.home):
        prepare(state.workspace)
        _refuse_a_live_state(state, history)
        with opened_replay(state, environment) as opened, summary_when_interrupted(state, console, command):
            store_history(opened, history, console)
            train_first_champion(opened, product.period.shift(history[-1], 1).key, console)
            deployed = deployed_after(state)
            if not until_champion:
                decide_periods(opened, replayed, deployed, console)
                tell(state, deployed, console)
        stopped_early = until_champion or bool(end and end != arrived[-1].key)
        if not stopped_early:
            state.workspace.replay_clock.end()
    console.print(f"replayed in {time.monotonic() - started:.0f} s; the results are in {_home(state)}", soft_wrap=True)
    if incomplete and not stopped_early:
        console.print(f"The replay ends with {arrived[-1].key}. {incomplete}", soft_wrap=True)
    _print_next_steps(state, console, stopped_early)


def _refuse_a_live_state(state: ProductState, history: list[Period]) -> None:
    """A state with deployments by the wall clock cannot go back to earlier periods."""
    from mlops_assets.state.clock import SystemClock

    deployments = state.ledger.history()
    start = history[-1].end + state.product.label.delay
    if deployments and isinstance(state.clock, SystemClock) and deployments[0].deployed_at > start:
        first = deployments[0]
        raise PlatformError(
            f"version {first.version} of {state.product.name} has served since {first.deployed_at:%Y-%m-%d}, which is after the "
            "periods of the replay. Replay into another home with --home."
        )


def _print_next_steps(state: ProductState, console: Console, stopped_early: bool) -> None:
    name, home = state.product.name, _home(state)
    console.print("\n[bold]Next[/bold]")
    if stopped_early:
        now = state.clock.now()
        console.print(f"  mlops replay {name} --home {home}    continues from {now:%Y-%m-%d}", soft_wrap=True)
    else:
        console.print(f"  mlops up --home {home}    runs the loop from now on", soft_wrap=True)
    console.print(f"  mlops history {name} --home {home}    which versions served, and why", soft_wrap=True)
    console.print(
        f"  mlops backtest {name} --home {home}    other drift policies over the same periods", soft_wrap=True
    )


def _home(state: ProductState) -> str:
    workspace = state.workspace
    return str(workspace.url) if workspace.is_shared else str(workspace.home)
