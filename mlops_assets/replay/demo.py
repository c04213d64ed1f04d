"""The demo: a product's year is replayed in this process, and its last weeks arrive through the sensors of a running Dagster."""

import os
import shutil
import time
from pathlib import Path

from rich.console import Console

from mlops_assets.data.arrived import arrived_periods
from mlops_assets.errors import PlatformError
from mlops_assets.products.product import ModelProduct
from mlops_assets.replay.live import live_periods
from mlops_assets.replay.opening import opened_replay, quieten
from mlops_assets.replay.periods import deployed_after, split_history
from mlops_assets.replay.runs import Replay
from mlops_assets.replay.telling import tell, told_when_cut_short
from mlops_assets.replay.walk import decide_periods, store_history, train_first_champion
from mlops_assets.servers.platform import (
    Ports,
    free_ports,
    interruptible,
    prepare,
    server_environment,
    start_servers,
    wait_for_interrupt,
)
from mlops_assets.servers.processes import Servers, held
from mlops_assets.servers.supervisor import LOCK, only_one
from mlops_assets.state.clock import SystemClock
from mlops_assets.state.workspace import Workspace

LIVE_PERIODS = 3


def run_demo(product: ModelProduct, folder: Path, console: Console, *, leave: bool, goes_on: bool = False) -> None:
    """Replay, go live, tell the story; with `leave` end by itself, else stay up until Ctrl-C.

    goes_on: with what a demo that was cut short left in the folder. Whatever cuts this one short, what it made is kept, and
    the console says how to go on."""
    started = time.monotonic()
    quieten()
    if not goes_on:
        _refuse_what_no_demo_made(folder)
    with interruptible(), only_one(folder):
        workspace = kept_workspace(folder) if goes_on else fresh_workspace(folder, console)
        state = workspace.of(product)
        ports = free_ports(console)
        # what is set for another installation (its registry, its webhook) is not the demo's
        for name in [name for name in os.environ if name.startswith("MLOPS_")]:
            del os.environ[name]
        environment = server_environment(workspace, ports, product.name)
        os.environ.update(environment)
        # only now: it reads the environment that was just set
        from resources.environments import read_environment

        history, replayed = split_history(product, arrived_periods(product, SystemClock().now()))
        with opened_replay(state, read_environment()) as replay, told_when_cut_short(state, console, _again(replay)):
            with held((ports.dagster, ports.mlflow, ports.api)):
                store_history(replay, history, console)
                train_first_champion(replay, replayed[0].key, console)
                console.print(f"first champion after {time.monotonic() - started:.0f} s")
                deployed = deployed_after(state)
                decide_periods(replay, replayed[:-LIVE_PERIODS], deployed, console)
            console.print(f"replayed in {time.monotonic() - started:.0f} s\n")
            went_live = time.monotonic()
            with Servers(workspace.home / "logs", environment) as servers:
                start_servers(servers, ports, workspace, console)
                live_periods(replay, replayed[-LIVE_PERIODS:], deployed, console)
                tell(state, deployed, console)
                _show_around(replay, ports, console)
                console.print(
                    f"live part {time.monotonic() - went_live:.0f} s, all in all {time.monotonic() - started:.0f} s"
                )
                if not leave:
                    console.print("\n[bold]Ctrl-C ends everything.[/bold]")
                    wait_for_interrupt()
    console.print(f"every process has ended; {workspace.home} keeps what was made until the next demo")


def _refuse_what_no_demo_made(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / "dagster").exists():
        raise PlatformError(f"{folder} was not made by a demo, so it is left alone. Name another folder with --home.")


def fresh_workspace(folder: Path, console: Console) -> Workspace:
    """An empty one; what the last demo left there is removed."""
    left = [path for path in folder.iterdir() if path.name != LOCK]
    if left:
        console.print(f"starting clean: removing what the last demo left in {folder}")
    for path in left:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    workspace = Workspace(folder.absolute())
    prepare(workspace)
    return workspace


def kept_workspace(folder: Path) -> Workspace:
    """What a demo that was cut short left. Raises PlatformError: there is none."""
    if not (folder / "dagster").exists():
        raise PlatformError(
            f"no demo has begun in {folder}. Leave --go-on out to begin one, or name its folder with --home."
        )
    return Workspace(folder.absolute())


def _again(replay: Replay) -> str:
    other = "" if replay.product.name == "flight_delay" else f" --product {replay.product.name}"
    return f"mlops demo --go-on --home {replay.state.workspace.home}{other}"


def _show_around(replay: Replay, ports: Ports, console: Console) -> None:
    from mlops_assets.replay.example import curl_of, next_row

    product, home = replay.product, replay.state.workspace.home
    api = f"http://127.0.0.1:{ports.api}"
    command, answer = curl_of(product, api, next_row(replay.state))
    console.print("\n[bold]A prediction[/bold]")
    console.print(command, soft_wrap=True, highlight=False, markup=False)
    console.print(answer, soft_wrap=True, highlight=False, markup=False)
    console.print("\n[bold]Look around[/bold]")
    console.print(
        f"  Dagster     http://127.0.0.1:{ports.dagster}/asset-groups~key%3A%22{product.name}%2F*%22", soft_wrap=True
    )
    console.print(f"  MLflow      http://127.0.0.1:{ports.mlflow}", soft_wrap=True)
    console.print(f"  API         {api}/schema", soft_wrap=True)
    console.print(f"  mlops history {product.name} --home {home}", soft_wrap=True)
    console.print(f"  mlops backtest {product.name} --home {home}", soft_wrap=True)
