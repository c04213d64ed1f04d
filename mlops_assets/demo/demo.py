"""The demo: a year of a product, replayed in this process, its last weeks through the real sensors."""

import logging
import os
import shutil
import time
from datetime import timedelta
from pathlib import Path

import dagster as dg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mlops_assets.demo.platform import (
    Ports,
    free_ports,
    interruptible,
    prepare,
    server_environment,
    start_servers,
    wait_for_interrupt,
)
from mlops_assets.demo.processes import Servers
from mlops_assets.demo.replay import Replay, expect_success, failure_of
from mlops_assets.demo.story import actions_in_words, one_line, week_of, weeks_of, year_table
from mlops_assets.errors import PlatformError
from mlops_assets.products.periods import Period
from mlops_assets.products.product import ModelProduct
from mlops_assets.stores.home import Home

LIVE_PERIODS = 3
LIVE_SECONDS = 240.0  # one live step may take this long before the demo says what hangs


def run_demo(product: ModelProduct, folder: Path, console: Console, *, leave: bool) -> None:
    """Replay, go live, tell the story; with `leave` end by itself, else stay up until Ctrl-C."""
    started = time.monotonic()
    # the demo says itself what happens; what the servers say is in the home's logs
    logging.getLogger("mlops_assets").addHandler(logging.NullHandler())
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    with interruptible():
        home = fresh_home(folder, console)
        ports = free_ports(console)
        environment = server_environment(home, ports, product.name)
        # what is set for another installation (its registry, its webhook) is not the demo's
        for name in [name for name in os.environ if name.startswith("MLOPS_")]:
            del os.environ[name]
        os.environ.update(environment)
        with dg.DagsterInstance.from_config(str(home.root / "dagster")) as instance:
            replay = _replay(product, home, instance)
            deployed = _early_periods(replay, console)
            console.print(f"replayed in {time.monotonic() - started:.0f} s\n")
            went_live = time.monotonic()
            with Servers(home.root / "logs", environment) as servers:
                start_servers(servers, ports, home, console)
                _live_periods(replay, deployed, console)
                _tell(replay, deployed, ports, console)
                console.print(
                    f"live part {time.monotonic() - went_live:.0f} s, all in all {time.monotonic() - started:.0f} s"
                )
                if not leave:
                    console.print("\n[bold]Ctrl-C ends everything.[/bold]")
                    wait_for_interrupt()
    console.print(f"every process has ended; {home.root} keeps what was made until the next demo")


def fresh_home(folder: Path, console: Console) -> Home:
    """An empty data home; what the last demo left there is removed, unless that demo still runs."""
    running = folder / "demo.pid"
    if running.exists() and _is_alive(int(running.read_text())):
        raise PlatformError(f"a demo (process {running.read_text()}) still runs in {folder}. End it with Ctrl-C first.")
    if folder.exists():
        if any(folder.iterdir()) and not (folder / "dagster").exists():
            raise PlatformError(
                f"{folder} was not made by a demo, so it is left alone. Name another folder with --home."
            )
        console.print(f"starting clean: removing what the last demo left in {folder}")
        shutil.rmtree(folder)
    home = Home(folder.absolute())
    prepare(home)
    running.write_text(str(os.getpid()))
    return home


def _replay(product: ModelProduct, home: Home, instance: dg.DagsterInstance) -> Replay:
    # only now: the definitions read the environment that was just set
    from mlops_assets.definitions import build_definitions
    from resources.environments import read_environment
    from resources.platform import Platform

    environment = read_environment()
    return Replay(product, home, instance, build_definitions(environment), Platform.of(environment))


def _early_periods(replay: Replay, console: Console) -> dict[str, int]:
    """Everything before the live periods; returns which version became champion after which period."""
    product, periods = replay.product, replay.product.period
    length = product.training_window // periods.length
    every = _all_periods(product)
    training, replayed = every[:length], every[length:-LIVE_PERIODS]
    deployed: dict[str, int] = {}
    with _progress(console) as progress:
        bar = progress.add_task(f"{len(training)} periods of history arrive", total=2 + len(replayed))
        replay.at(training[-1].end)
        for result in [*replay.tick("new_data")]:
            expect_success(result)
        replay.at(training[-1].end + product.label.delay)
        for result in replay.tick("labels"):
            expect_success(result)
        progress.update(bar, advance=1, description="development: experiment, recipe, first champion")
        first = replayed[0].key
        for result in replay.develop(first, "first"):
            expect_success(result)
        champion = replay.home.ledger.champion(product.name)
        progress.console.print(f"{first}: first champion is version {champion.version}: {champion.reason}")
        progress.advance(bar)
        for period in replayed:
            progress.update(bar, description=f"{period.key}: arrives")
            replay.at(period.end)
            _run(replay, "new_data")
            replay.at(period.end + product.label.delay)
            _run(replay, "labels")
            carried_out = replay.tick("drift")
            week = week_of(product, replay.home, period.key)
            progress.console.print(one_line(week))
            _follow(replay, period, carried_out, deployed, progress.console)
            progress.advance(bar)
    return deployed


def _run(replay: Replay, sensor: str) -> None:
    for result in replay.tick(sensor):
        expect_success(result)


def _follow(
    replay: Replay, period: Period, runs: list[dg.ExecuteInProcessResult], deployed: dict[str, int], console: Console
) -> None:
    """Say what became of a retraining; answer a brief the way a team would."""
    for result in runs:
        if not result.success:
            console.print(f"    challenger refused: {failure_of(result)}")
    _note_champion(replay, period, deployed, console)
    _answer_rework(replay, period, deployed, console)


def _answer_rework(replay: Replay, period: Period, deployed: dict[str, int], console: Console) -> None:
    """Where the model was flagged: run the experiment again, let a recipe leave, test and deploy it."""
    flag = replay.home.ledger.open_flag(replay.product.name)
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
    champion = replay.home.ledger.champion(replay.product.name)
    if champion.partition == replay.product.period.shift(period, 1).key and period.key not in deployed:
        deployed[period.key] = champion.version
        console.print(f"    version {champion.version} is the new champion: {champion.reason}")


def _live_periods(replay: Replay, deployed: dict[str, int], console: Console) -> None:
    """Move the clock and wait: the daemon's sensors do the rest."""
    product = replay.product
    with _progress(console) as progress:
        live = _all_periods(product)[-LIVE_PERIODS:]
        bar = progress.add_task("live", total=2 * len(live))
        for period in live:
            key = period.key
            progress.update(bar, description=f"{key}: arrives, the new_data sensor is asked")
            replay.at(period.end)
            _wait_for_run(replay, f"{product.name}:{key}:arrival")
            progress.update(bar, advance=1, description=f"{key}: labels are due, the labels sensor is asked")
            replay.at(period.end + product.label.delay)
            _wait_for_run(replay, f"{product.name}:{key}:labels")
            week = week_of(product, replay.home, key)
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
    from sensors.selections import CAUSE

    deadline = time.monotonic() + LIVE_SECONDS
    while time.monotonic() < deadline:
        runs = replay.instance.get_runs(dg.RunsFilter(tags={CAUSE: cause}), limit=1)
        if runs and runs[0].is_finished:
            if runs[0].is_success or may_fail:
                return
            raise PlatformError(
                f"the run for {cause} ended as {runs[0].status.value}: see run {runs[0].run_id} in the UI."
            )
        time.sleep(0.5)
    raise PlatformError(
        f"no run for {cause} ended within {LIVE_SECONDS:.0f} s: see {replay.home.root / 'logs' / 'dagster.log'}."
    )


def _tell(replay: Replay, deployed: dict[str, int], ports: Ports, console: Console) -> None:
    from mlops_assets.demo.example import curl_of, next_row

    product = replay.product
    weeks = weeks_of(product, replay.home)
    console.print()
    console.print(year_table(product, weeks, deployed))
    console.print(actions_in_words(weeks))
    api = f"http://127.0.0.1:{ports.api}"
    command, answer = curl_of(product, api, next_row(product, replay.home))
    console.print("\n[bold]A prediction[/bold]")
    console.print(command, soft_wrap=True, highlight=False, markup=False)
    console.print(answer, soft_wrap=True, highlight=False, markup=False)
    console.print("\n[bold]Look around[/bold]")
    console.print(
        f"  Dagster     http://127.0.0.1:{ports.dagster}/asset-groups~key%3A%22{product.name}%2F*%22", soft_wrap=True
    )
    console.print(f"  MLflow      http://127.0.0.1:{ports.mlflow}", soft_wrap=True)
    console.print(f"  API         {api}/schema", soft_wrap=True)
    console.print(f"  mlops history {product.name} --home {replay.home.root}", soft_wrap=True)
    console.print(f"  mlops backtest {product.name} --home {replay.home.root}", soft_wrap=True)


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


def _is_alive(pid: int) -> bool:
    import psutil

    try:
        return pid != os.getpid() and "demo" in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
