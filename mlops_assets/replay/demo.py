"""The demo: a year of a product, replayed in this process, its last weeks through the real sensors."""

import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import dagster as dg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from mlops_assets.errors import Inconclusive, PlatformError
from mlops_assets.products.periods import Period
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.replay.runs import Replay, expect_success, failure_of
from mlops_assets.replay.story import actions_in_words, one_line, week_of, weeks_of, year_table
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
from mlops_assets.state.workspace import ProductState, Workspace

LIVE_PERIODS = 3
LIVE_SECONDS = 1_800.0  # one live step may take this long before the demo says what hangs: the machine may be busy


def run_demo(product: ModelProduct, folder: Path, console: Console, *, leave: bool, goes_on: bool = False) -> None:
    """Replay, go live, tell the story; with `leave` end by itself, else stay up until Ctrl-C.

    goes_on: with what a demo that was cut short left in the folder. Whatever cuts this one short, what it made is kept, and
    the console says how to go on."""
    started = time.monotonic()
    # the demo says itself what happens; what the servers say is in the home's logs
    logging.getLogger("mlops_assets").addHandler(logging.NullHandler())
    logging.getLogger("mlflow").setLevel(logging.WARNING)
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
        with _instance(workspace.dagster_home) as instance:
            replay = _replay(state, instance)
            with told_when_cut_short(state, console):
                with held((ports.dagster, ports.mlflow, ports.api)):
                    deployed = _early_periods(replay, console)
                console.print(f"replayed in {time.monotonic() - started:.0f} s\n")
                went_live = time.monotonic()
                with Servers(workspace.home / "logs", environment) as servers:
                    start_servers(servers, ports, workspace, console)
                    _live_periods(replay, deployed, console)
                    _tell(replay, deployed, ports, console)
                    console.print(
                        f"live part {time.monotonic() - went_live:.0f} s, all in all {time.monotonic() - started:.0f} s"
                    )
                    if not leave:
                        console.print("\n[bold]Ctrl-C ends everything.[/bold]")
                        wait_for_interrupt()
    console.print(f"every process has ended; {workspace.home} keeps what was made until the next demo")


def _instance(folder: Path) -> dg.DagsterInstance:
    """The instance of the demo's servers, without capturing what steps print.

    The processes that capture it hear Ctrl-C before they are told to end, and answer it with tracebacks."""
    settings = (folder / "dagster.yaml").read_text()
    quiet = "compute_logs: {module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}"
    (folder / "replay.yaml").write_text(f"{settings}\n{quiet}\n")
    return dg.DagsterInstance.from_config(str(folder), "replay.yaml")


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


@contextmanager
def told_when_cut_short(state: ProductState, console: Console) -> Iterator[None]:
    """Whatever goes wrong in the block, the story so far is told, and how it goes on."""
    product = state.product
    try:
        yield
    except (Exception, KeyboardInterrupt):
        if weeks := weeks_of(state):
            console.print()
            console.print(year_table(product, weeks, deployed_after(state)))
        console.print(f"cut short. What was made is kept in {state.workspace.home}. To go on with it:", soft_wrap=True)
        other = "" if product.name == "flight_delay" else f" --product {product.name}"
        console.print(f"  mlops demo --go-on --home {state.workspace.home}{other}", soft_wrap=True, highlight=False)
        raise


def deployed_after(state: ProductState) -> dict[str, int]:
    """Which version became champion after which period: from the ledger, without the first one."""
    product = state.product
    periods = product.period
    return {
        periods.shift(periods.at(item.partition), -1).key: item.version for item in reversed(state.ledger.history()[1:])
    }


def unfinished(state: ProductState, periods: Sequence[Period]) -> list[Period]:
    """Without those before the last decided one, which may have been cut short in what follows a decision."""
    decided = state.records.keys(DriftDecision)
    return [period for period in periods if not decided or period.key >= decided[-1]]


def _replay(state: ProductState, instance: dg.DagsterInstance) -> Replay:
    # only now: the definitions read the environment that was just set
    from mlops_assets.definitions import build_definitions
    from resources.environments import read_environment
    from resources.platform import Platform

    environment = read_environment()
    return Replay(state, instance, build_definitions(environment), Platform.of(environment))


def _early_periods(replay: Replay, console: Console) -> dict[str, int]:
    """Everything before the live periods; returns which version became champion after which period."""
    product, periods = replay.product, replay.product.period
    length = product.training_window // periods.length
    every = _all_periods(product)
    training, replayed = every[:length], every[length:-LIVE_PERIODS]
    deployed = deployed_after(replay.state)
    left = unfinished(replay.state, replayed)
    with _progress(console) as progress:
        bar = progress.add_task(f"{len(training)} periods of history arrive", total=2 + len(left))
        if not replay.state.ledger.history():
            _first_champion(replay, training, replayed[0].key, progress, bar)
        progress.update(bar, completed=2)
        for period in left:
            progress.update(bar, description=f"{period.key}: arrives")
            replay.at(period.end)
            _run(replay, "new_data")
            replay.at(period.end + product.label.delay)
            _run(replay, "labels")
            carried_out = replay.tick("drift")
            week = week_of(replay.state, period.key)
            progress.console.print(one_line(week))
            _follow(replay, period, carried_out, deployed, progress.console)
            progress.advance(bar)
    return deployed


def _first_champion(replay: Replay, training: Sequence[Period], key: str, progress: Progress, bar: TaskID) -> None:
    product = replay.product
    replay.at(training[-1].end)
    _run(replay, "new_data")
    replay.at(training[-1].end + product.label.delay)
    _run(replay, "labels")
    progress.update(bar, advance=1, description="development: experiment, recipe, first champion")
    for result in replay.develop(key, "first"):
        expect_success(result)
    champion = replay.state.ledger.champion()
    progress.console.print(f"{key}: first champion is version {champion.version}: {champion.reason}")


def _run(replay: Replay, sensor: str) -> None:
    for result in replay.tick(sensor):
        expect_success(result)


def _follow(
    replay: Replay, period: Period, runs: list[dg.ExecuteInProcessResult], deployed: dict[str, int], console: Console
) -> None:
    """Say what became of a retraining; answer a brief the way a team would."""
    for result in runs:
        if not result.success:
            said = failure_of(result)
            verdict = "could not be judged" if Inconclusive.__name__ in said else "refused"
            console.print(f"    challenger {verdict}: {said}")
    _note_champion(replay, period, deployed, console)
    _answer_rework(replay, period, deployed, console)


def _answer_rework(replay: Replay, period: Period, deployed: dict[str, int], console: Console) -> None:
    """Where the model was flagged: run the experiment again, let a recipe leave, test and deploy it."""
    flag = replay.state.ledger.open_flag()
    if flag is None:
        return
    console.print(f"    version {flag.version} is flagged for rework: {flag.reason}")
    if not _has_next(replay, period):
        console.print("    the year ends here, so nobody answers it")
        return
    for result in replay.develop(replay.product.period.shift(period, 1).key, "rework"):
        if not result.success:
            console.print(f"    the answer was refused: {failure_of(result)}")
    _note_champion(replay, period, deployed, console)


def _has_next(replay: Replay, period: Period) -> bool:
    return replay.product.period.has(replay.product.period.shift(period, 1))


def _note_champion(replay: Replay, period: Period, deployed: dict[str, int], console: Console) -> None:
    champion = replay.state.ledger.champion()
    if champion.partition == replay.product.period.shift(period, 1).key and period.key not in deployed:
        deployed[period.key] = champion.version
        console.print(f"    version {champion.version} is the new champion: {champion.reason}")


def _live_periods(replay: Replay, deployed: dict[str, int], console: Console) -> None:
    """Move the clock and wait: the daemon's sensors do the rest."""
    product = replay.product
    with _progress(console) as progress:
        live = unfinished(replay.state, _all_periods(product)[-LIVE_PERIODS:])
        bar = progress.add_task("live", total=2 * len(live))
        for period in live:
            key = period.key
            progress.update(bar, description=f"{key}: arrives, the new_data sensor is asked")
            replay.at(period.end)
            _wait_for_run(replay, f"{product.name}:{key}:arrival")
            progress.update(bar, advance=1, description=f"{key}: labels are due, the labels sensor is asked")
            replay.at(period.end + product.label.delay)
            _wait_for_run(replay, f"{product.name}:{key}:labels")
            week = week_of(replay.state, key)
            progress.console.print(f"{one_line(week)} (by the daemon)")
            if week.decision.action == "retrain" and not _has_next(replay, period):
                progress.console.print("    the year ends here, so there is no partition to retrain")
            elif week.decision.action in ("retrain", "rework"):
                progress.update(bar, description=f"{key}: the drift sensor carries out {week.decision.action}")
                _wait_for_run(replay, f"{product.name}:{key}:{week.decision.action}", may_fail=True)
                _note_champion(replay, period, deployed, progress.console)
                _answer_rework(replay, period, deployed, progress.console)
            progress.advance(bar)


def _wait_for_run(replay: Replay, cause: str, *, may_fail: bool = False) -> None:
    """Until the run a sensor launched for this cause has ended."""
    from sensors.runs import CAUSE

    deadline = time.monotonic() + LIVE_SECONDS
    while time.monotonic() < deadline:
        runs = replay.instance.get_runs(dg.RunsFilter(tags={CAUSE: cause}), limit=1)
        # one that failed is asked for again by its sensor
        if runs and (runs[0].is_success or (may_fail and runs[0].is_finished)):
            return
        time.sleep(0.5)
    raise PlatformError(
        f"no run for {cause} succeeded within {LIVE_SECONDS:.0f} s: see {replay.state.workspace.home / 'logs'}."
    )


def _tell(replay: Replay, deployed: dict[str, int], ports: Ports, console: Console) -> None:
    from mlops_assets.replay.example import curl_of, next_row

    product = replay.product
    weeks = weeks_of(replay.state)
    console.print()
    console.print(year_table(product, weeks, deployed))
    console.print(actions_in_words(weeks))
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
    console.print(f"  mlops history {product.name} --home {replay.state.workspace.home}", soft_wrap=True)
    console.print(f"  mlops backtest {product.name} --home {replay.state.workspace.home}", soft_wrap=True)


def _all_periods(product: ModelProduct) -> list[Period]:
    if product.period.end is None:
        raise PlatformError(f"{product.name} has no last period, so it cannot be replayed. Give its periods an end.")
    return list(product.period.ended_by(product.period.end + timedelta(seconds=1)))


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
