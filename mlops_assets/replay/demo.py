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
from mlops_assets.replay.telling import summary_when_interrupted, tell
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
from mlops_assets.servers.processes import Servers, reserved
from mlops_assets.servers.supervisor import LOCK, only_one
from mlops_assets.state.clock import SystemClock
from mlops_assets.state.workspace import ProductState, Workspace

LIVE_PERIODS = 2


def run_demo(product: ModelProduct, folder: Path, console: Console, *, leave: bool, resumes: bool = False) -> None:
    """Replay, go live, print a summary; with `leave` end then, else keep running until Ctrl-C.

    resumes: continue an interrupted demo in the folder. Results are kept when a demo is interrupted, and the console says how
    to continue it."""
    started = time.monotonic()
    quieten()
    if not resumes:
        _refuse_foreign_folder(folder)
    with interruptible(), only_one(folder):
        workspace = interrupted_workspace(folder) if resumes else fresh_workspace(folder, console)
        state = workspace.of(product)
        ports = free_ports(console)
        # variables of another installation (its registry, its webhook) do not apply to the demo
        for name in [name for name in os.environ if name.startswith("MLOPS_")]:
            del os.environ[name]
        environment = server_environment(workspace, ports, product.name)
        os.environ.update(environment)
        # imported late, because it reads the environment that was just set
        from resources.environments import read_environment

        history, replayed = split_history(product, arrived_periods(product, SystemClock().now()))
        interruption = summary_when_interrupted(state, console, _resume_command(state))
        with opened_replay(state, read_environment()) as replay, interruption:
            with reserved((ports.dagster, ports.mlflow, ports.api)):
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
                    f"live part {time.monotonic() - went_live:.0f} s, total {time.monotonic() - started:.0f} s"
                )
                if not leave:
                    console.print("\n[bold]Ctrl-C ends everything.[/bold]")
                    wait_for_interrupt()
    console.print(f"every process has ended; the results stay in {workspace.home} until the next demo")


def _refuse_foreign_folder(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / "dagster").exists():
        raise PlatformError(
            f"{folder} was not created by a demo, so the demo does not empty it. Name another folder with --home."
        )


def fresh_workspace(folder: Path, console: Console) -> Workspace:
    """An empty workspace; the results of the last demo are removed."""
    old = [path for path in folder.iterdir() if path.name != LOCK]
    if old:
        console.print(f"removing the results of the last demo in {folder}")
    for path in old:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    workspace = Workspace(folder.absolute())
    prepare(workspace)
    return workspace


def interrupted_workspace(folder: Path) -> Workspace:
    """The workspace of an interrupted demo. Raises PlatformError: there is none."""
    if not (folder / "dagster").exists():
        raise PlatformError(
            f"no demo was started in {folder}. Leave --go-on out to start one, or name its folder with --home."
        )
    return Workspace(folder.absolute())


def _resume_command(state: ProductState) -> str:
    other = "" if state.product.name == "flight_delay" else f" --product {state.product.name}"
    return f"mlops demo --go-on --home {state.workspace.home}{other}"


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
