"""What a week costs after many years: a state of 500 weeks, 500 deployments and 5 million logged predictions beside a young one.

Both states hold the same newest weeks, byte for byte; one begins four weeks earlier, the other years. The real assets of an
arrival and of labels are run for the newest week in both, in turn and in one process, so that a busy machine slows both: the
medians of the pairs are compared. The past is written by the platform's own writers (tables, records, bundles, ledger, sealed logs); of
old weeks fewer rows are stored, since nobody reads them. Afterwards Dagster's own storage is filled with the runs and
materialisations of these weeks as well, and the same is measured again.
The last line is one JSON object. `--quick` fills 100 weeks, 100 deployments and 500,000 predictions, leaves Dagster's storage as
it is, and ends within 50 s.
"""

import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `mlops` sets it

from benchmarks.growth_parts.parcels import LAST_WEEK, TRAINED_WEEKS, product_with_history
from mlops_assets.products.product import ModelProduct
from mlops_assets.replay.runs import Replay, expect_success
from mlops_assets.state.ledger import Ledger
from mlops_assets.state.workspace import Workspace

YOUNG_WEEKS = TRAINED_WEEKS + 2  # what is measured is the fifth
WEEKS, PREDICTIONS, RUNS = 500, 5_000_000, 7
QUICK_WEEKS, QUICK_PREDICTIONS, QUICK_RUNS = 100, 500_000, 3
WHOLE, COMPUTED = "whole week", "processor time of a week"
Seconds = dict[str, list[float]]  # by asset, and of whole weeks


def main() -> None:
    is_quick = "--quick" in sys.argv
    weeks, predictions, runs = (QUICK_WEEKS, QUICK_PREDICTIONS, QUICK_RUNS) if is_quick else (WEEKS, PREDICTIONS, RUNS)
    for name in ("mlops_assets", "mlflow", "alembic", "dagster"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="growth-") as folder, ExitStack() as stack:
        young, old = (
            stack.enter_context(a_replay(Path(folder) / name, product_with_history(count)))
            for name, count in (("young", YOUNG_WEEKS), ("old", weeks))
        )
        fill_both(young, old, predictions // weeks)
        found = compare(young, old, runs)
        result = {**shown("with years of state", found), **look_at(young, old)}
        if not is_quick:
            from benchmarks.growth_parts.history import fill_dagster

            fill_dagster(old.instance, old.state, LAST_WEEK, assets(), say)
            found = compare(young, old, runs)
            again = shown("with years of state and of Dagster's storage", found) | ticks(young, old)
            result |= {f"{name}_with_dagster": value for name, value in again.items()}
    print(json.dumps({**result, "periods": weeks, "predictions": predictions // weeks * weeks}))


@contextmanager
def a_replay(folder: Path, product: ModelProduct) -> Iterator[Replay]:
    from importlib.resources import files

    import dagster as dg

    from mlops_assets.definitions import build_definitions
    from resources.environments import read_environment
    from resources.platform import Platform

    workspace = Workspace(folder / "home")
    environment = replace(read_environment(), workspace=workspace, mlflow_tracking=workspace.mlflow_store)
    (folder / "dagster").mkdir(parents=True)
    (folder / "dagster" / "dagster.yaml").write_text((files("mlops_assets.servers") / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(folder / "dagster")) as instance:
        definitions = build_definitions(environment, [product])
        yield Replay(workspace.of(product), instance, definitions, Platform.of(environment))


def fill_both(young: Replay, old: Replay, rows_of_a_week: int) -> None:
    """The model is trained once, on the rows that both states hold."""
    from benchmarks.growth_parts import history

    history.fill_tables(young.state, LAST_WEEK, quietly)
    trained = history.train_once(young.state, LAST_WEEK)
    for replay, told in ((young, quietly), (old, say)):
        state = replay.state
        if replay is old:
            history.fill_tables(state, LAST_WEEK, told)
        history.fill_versions(state, LAST_WEEK, trained, told)
        history.fill_predictions(state, LAST_WEEK)
        logged = history.fill_logs(state, LAST_WEEK, rows_of_a_week, told)
        told(f"{logged:,} predictions are logged")
        live(replay)  # the readings of the newest week, and what a process pays once
        history.fill_records(state, LAST_WEEK, told)


def live(replay: Replay) -> dict[str, float]:
    """The newest week arrives and is labelled; seconds of each asset, of all, and of the processor."""
    from sensors.selections import arrival, labelled

    product = replay.product
    period = product.period.at(LAST_WEEK)
    seconds = {}
    started, computed = time.perf_counter(), time.process_time()
    for moment, selection in ((period.end, arrival(product)), (period.end + product.label.delay, labelled(product))):
        replay.at(moment)
        result = replay.materialize(selection, LAST_WEEK, {})
        expect_success(result)
        for event in result.all_events:
            if event.is_step_success:
                name = str(event.step_key).removeprefix(f"{product.name}__")
                seconds[name] = event.step_success_data.duration_ms / 1_000
    return {**seconds, WHOLE: time.perf_counter() - started, COMPUTED: time.process_time() - computed}


def compare(young: Replay, old: Replay, runs: int) -> tuple[Seconds, Seconds]:
    """Both in turn, and which is first in turn as well."""
    found: dict[int, Seconds] = {id(young): defaultdict(list), id(old): defaultdict(list)}
    for number in range(runs):
        for replay in (young, old) if number % 2 else (old, young):
            for name, seconds in live(replay).items():
                found[id(replay)][name].append(seconds)
    return found[id(young)], found[id(old)]


def shown(title: str, found: tuple[Seconds, Seconds]) -> dict[str, float]:
    """Print medians; returns how many times what the young week costs the old one does, by the clock and by the processor.

    Of each pair of runs by itself, as the machine may be busier later."""
    young, old = found
    print(f"\n{title:50} {'5th week':>9} {'newest':>9} {'times':>6}")
    times = {}
    for name in young:
        times[name] = statistics.median(last / first for first, last in zip(young[name], old[name], strict=True))
        medians = statistics.median(young[name]), statistics.median(old[name])
        print(f"{name:50} {medians[0]:7.3f} s {medians[1]:7.3f} s {times[name]:6.2f}", flush=True)
    return {"period_cost_growth": times[WHOLE], "period_processor_growth": times[COMPUTED]}


def look_at(young: Replay, old: Replay) -> dict[str, float]:
    """What is asked all the time beside a week: the log, the ledger, the sensors."""
    period = old.product.period.at(LAST_WEEK)
    log = [
        median_seconds(
            lambda replay=replay: replay.state.predictions.read(replay.product.name, period.start, period.end), 5
        )
        for replay in (young, old)
    ]
    polled = [median_seconds(replay.state.ledger.position, 200) for replay in (young, old)]
    first = [
        median_seconds(lambda replay=replay: Ledger(replay.state.workspace.objects, replay.product.name).entries(), 5)
        for replay in (young, old)
    ]
    print(
        f"\none week of the log: {log[0]:.3f} s and {log[1]:.3f} s; a poll of the ledger {1e3 * polled[0]:.2f} ms and ",
        end="",
    )
    print(
        f"{1e3 * polled[1]:.2f} ms; its first reading by a process {1e3 * first[0]:.1f} ms and {1e3 * first[1]:.1f} ms"
    )
    return {
        "seconds_to_read_one_period_of_log": log[1],
        "ledger_poll_ms": 1e3 * polled[1],
        "ledger_first_read_ms": 1e3 * first[1],
        **ticks(young, old),
    }


def ticks(young: Replay, old: Replay) -> dict[str, float]:
    """Milliseconds of a tick of each sensor that finds nothing to do in the old state."""
    found = {}
    for sensor in ("new_data", "labels", "drift", "approvals"):
        seconds = [median_seconds(partial(tick, replay, sensor), 5) for replay in (young, old)]
        print(f"a tick of {sensor}: {1e3 * seconds[0]:.1f} ms and {1e3 * seconds[1]:.1f} ms", flush=True)
        found[f"{sensor}_tick_ms"] = 1e3 * seconds[1]
    return found


def tick(replay: Replay, sensor: str) -> None:
    """Evaluate it; what it asks for is not run."""
    import dagster as dg

    name, repository = f"{replay.product.name}_{sensor}", replay.definitions.get_repository_def()
    resources = {"platform": replay.platform}
    with dg.build_sensor_context(
        instance=replay.instance, sensor_name=name, repository_def=repository, resources=resources
    ) as context:
        repository.get_sensor_def(name).evaluate_tick(context)


def median_seconds(ask: Callable[[], object], times: int) -> float:
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def assets() -> dict[str, list[str]]:
    """Names of what a week materialises, by what a sensor asks for."""
    from sensors.selections import arrival, labelled

    product = product_with_history(YOUNG_WEEKS)
    return {
        "arrival": [key.path[-1] for key in arrival(product)],
        "labels": [key.path[-1] for key in labelled(product)],
    }


def say(what: str) -> None:
    print(f"{time.process_time():6.1f} s of the processor: {what}", flush=True)


def quietly(_: str) -> None:
    """The young state is filled in a moment."""


if __name__ == "__main__":
    main()
