"""What a replayed period costs: seconds and processor seconds, beside an earlier commit on the same machine.

    python benchmarks/replayed_period.py [--before FOLDER] [--home HOME] [--quick]

A home with a first champion is made once (or named), and copied for each process; every process replays the same periods of
`flight_delay` in turn with the others, so that a busy machine slows all alike. Counted are the periods after the first one of a
process, which loads libraries, and without those in which a fresh model is fitted (`staleness_every`). FOLDER: a checkout of
an earlier commit, whose demo replays the same. The last line is one JSON object.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path

HERE = Path(__file__).parents[1]
PRODUCT = "flight_delay"
PERIODS, ROUNDS = 4, 3


def main() -> None:
    options = ArgumentParser(description=__doc__)
    options.add_argument("--before", type=Path, help="checkout of an earlier commit")
    options.add_argument("--home", type=Path, help="home of a replay with a champion, which is copied")
    options.add_argument("--quick", action="store_true", help="one round of two periods")
    options.add_argument("--worker", nargs=2, metavar=("HOME", "PERIODS"), help="used by the benchmark itself")
    given = options.parse_args()
    if given.worker:
        replay_some(Path(given.worker[0]), int(given.worker[1]))
        return
    checkouts = {"now": HERE, **({"before": given.before.absolute()} if given.before else {})}
    periods, rounds = (2, 1) if given.quick else (PERIODS, ROUNDS)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in checkouts}
    with tempfile.TemporaryDirectory(prefix="replayed-") as folder:
        home = given.home or made_home(Path(folder) / "made")
        for number in range(rounds):
            for name in checkouts if number % 2 else reversed(checkouts):
                copy = Path(folder) / f"{name}{number}"
                shutil.copytree(home, copy)
                found[name] += measured(checkouts[name], copy, periods)
                shutil.rmtree(copy)
    result = {}
    for name, pairs in found.items():
        seconds, processor = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{name:8}{seconds:7.2f} s a period, {processor:.2f} s of the processor, median of {len(pairs)}")
        result[name] = {"seconds_per_period": seconds, "processor_seconds_per_period": processor, "periods": len(pairs)}
    print(json.dumps(result))


def made_home(home: Path) -> Path:
    command = ["-m", "mlops_assets.cli.command", "replay", PRODUCT, "--until-champion", "--home", str(home)]
    subprocess.run([sys.executable, *command], env=environment_with(HERE), check=True, stdout=sys.stderr)
    return home


def environment_with(checkout: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(checkout), "DO_NOT_TRACK": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def measured(checkout: Path, home: Path, periods: int) -> list[tuple[float, float]]:
    """Seconds and processor seconds of each period but the first."""
    command = [sys.executable, str(Path(__file__).absolute()), "--worker", str(home), str(periods + 1)]
    environment = {**environment_with(checkout), "MLOPS_HOME": str(home)}
    finished = subprocess.run(command, env=environment, cwd=checkout, stdout=subprocess.PIPE, text=True, check=True)
    pairs = [(seconds, processor) for seconds, processor in json.loads(finished.stdout.splitlines()[-1])]
    return pairs[1:]


def replay_some(home: Path, periods: int) -> None:
    """In a process of its own, with the code of the checkout in PYTHONPATH."""
    sys.path[:] = [os.environ["PYTHONPATH"], *(path for path in sys.path if path != str(Path(__file__).parent))]
    import logging

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    from mlops_assets.products.catalog import product_named
    from mlops_assets.records.decisions import DriftDecision
    from mlops_assets.records.readings import StalenessRecord, StalenessState
    from mlops_assets.state.workspace import Workspace

    product = product_named(PRODUCT)
    state = Workspace(home).of(product)
    pairs = []
    for live_through in ways(state):
        while len(pairs) < periods:
            decided = state.records.keys(DriftDecision)
            newest = decided[-1] if decided else state.ledger.history()[0].partition
            period = product.period.at(newest)
            period = product.period.shift(period, 1) if decided else period
            started, computed = time.perf_counter(), time.process_time()
            live_through(period)
            pair = (time.perf_counter() - started, time.process_time() - computed)
            if state.records.load(StalenessRecord, period.key).reading.state is StalenessState.NOT_DUE or not pairs:
                pairs.append(pair)
    print(json.dumps(pairs))


def ways(state):  # type: ignore[no-untyped-def] # the types differ from commit to commit
    """What this checkout does for a period."""
    try:
        from mlops_assets.replay.opening import opened_replay
    except ModuleNotFoundError:
        from mlops_assets.demo import demo

        from mlops_assets.servers.platform import prepare

        prepare(state.workspace)
        with demo._instance(state.workspace.dagster_home) as instance:
            replay = demo._replay(state, instance)

            def in_two_runs(period):  # type: ignore[no-untyped-def]
                replay.at(period.end)
                demo._run(replay, "new_data")
                replay.at(period.end + state.product.label.delay)
                demo._run(replay, "labels")
                demo.week_of(state, period.key)

            yield in_two_runs
        return
    from io import StringIO

    from rich.console import Console

    from mlops_assets.replay.walk import decide_periods
    from resources.environments import read_environment

    with opened_replay(state, read_environment()) as replay:
        yield lambda period: decide_periods(replay, [period], {}, Console(file=StringIO()))


if __name__ == "__main__":
    main()
