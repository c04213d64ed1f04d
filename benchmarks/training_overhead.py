"""What a training run costs beside the estimator: wall time of `training_set` and `model` over the time inside `fit`.

The run is the real one: Dagster assets, MLflow, ONNX, bundle, on a window of all the year's flights. Both fits of a training
count, that of the model and the one that measures how much the score varies by itself. They run beside each other, so that
their seconds may add up to more than the wall time; `ratio_to_one_after_the_other` divides by what both take alone, measured
by fitting them once more. The last line is one JSON object.
`--quick` trains on the first 32 weeks and ends within 50 s; without it the window is 50 weeks.
"""

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from examples.flights.flight_delay import flight_delay
from mlops_assets.products.periods import weeks
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.training import ModelRecord, Recipe
from mlops_assets.replay.runs import Replay, expect_success
from mlops_assets.state.workspace import ProductState, Workspace
from mlops_assets.training.recipe import recipe_key

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `mlops` sets it
FULL_WEEKS, QUICK_WEEKS = 50, 32
Fit = tuple[float, tuple[Any, ...]]  # seconds inside it, and what it was given


def main() -> None:
    count = QUICK_WEEKS if "--quick" in sys.argv else FULL_WEEKS
    product = replace(flight_delay, training_window=weeks(count))
    for name in ("mlops_assets", "mlflow", "alembic", "dagster"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder, replay_in(Path(folder), product) as replay:
        key = product.period.shift(product.period.first, count).key
        fill(replay.state, key, count)
        for number in range(2):  # the first run also pays what a process pays once: imports, MLflow's new store
            wall, fits, rows, steps = train_once(replay, key)
            inside = sum(seconds for seconds, _ in fits)
            name = "first run of a process" if number == 0 else "a run after it"
            print(f"{name:24} {wall:7.2f} s, inside fit {inside:7.2f} s, ratio {wall / inside:.2f} ({rows:,} rows)")
            for step, seconds in steps.items():
                print(f"    {step:20} {seconds:7.2f} s")
        alone = seconds_alone(fits)
        print(f"both fits, one after the other {alone:7.2f} s")
    print(
        json.dumps(
            {
                "overhead_ratio": wall / inside,
                "ratio_to_one_after_the_other": wall / alone,
                "wall_seconds": wall,
                "fit_seconds": inside,
                "rows": rows,
                "weeks": count,
            }
        )
    )


@contextmanager
def replay_in(folder: Path, product: ModelProduct) -> Iterator[Replay]:
    from importlib.resources import files

    import dagster as dg

    from mlops_assets.definitions import build_definitions
    from resources.environments import read_environment
    from resources.platform import Platform

    workspace = Workspace(folder / "home")
    environment = replace(read_environment(), workspace=workspace, mlflow_tracking=workspace.mlflow_store)
    (folder / "dagster").mkdir()
    (folder / "dagster" / "dagster.yaml").write_text((files("mlops_assets.servers") / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(folder / "dagster")) as instance:
        definitions = build_definitions(environment, [product])
        yield Replay(workspace.of(product), instance, definitions, Platform.of(environment))


def fill(state: ProductState, key: str, count: int) -> None:
    """Features and labels of the window by the pure functions (this is not what is measured), and a recipe."""
    from mlops_assets.data.labels import known_labels
    from mlops_assets.features.build import build_features

    product = state.product
    state.workspace.replay_clock.set(product.period.at(key).end)
    tables = (product.source.main, *product.source.side_tables)
    first = product.period.first
    for number in range(count):
        period = product.period.shift(first, number)
        back = product.period.containing(max(period.start - product.lookback, first.start))
        several = [back]
        while several[-1] != period:
            several.append(product.period.shift(several[-1], 1))
        held = {table.name: concat([product.source.read(table.name, item) for item in several]) for table in tables}
        rows = product.source.read(product.source.main.name, period)
        state.tables.write("features", period.key, build_features(product, rows, held))
        state.tables.write("labels", period.key, known_labels(product, rows, state.clock.now()))
    chosen = product.candidates[-1]
    recipe = Recipe(
        product.name, 1, chosen.name, chosen.estimator, dict(chosen.hyperparameters), "benchmark", "", state.clock.now()
    )
    state.records.save(recipe_key(1), recipe)


def concat(frames: list[Any]) -> Any:
    import polars as pl

    return pl.concat(frames)


def train_once(replay: Replay, key: str) -> tuple[float, list[Fit], int, dict[str, float]]:
    """Wall seconds of the run, what was fitted in it, rows fitted on, seconds of each step."""
    from resources.asset_parts import key_of

    product = replay.product
    started = time.perf_counter()
    with watched_fits() as fits:
        result = replay.materialize([key_of(product, name) for name in ("training_set", ModelRecord.asset)], key, {})
    wall = time.perf_counter() - started
    expect_success(result)
    steps = {
        str(event.step_key).removeprefix(f"{product.name}__"): event.step_success_data.duration_ms / 1_000
        for event in result.all_events
        if event.is_step_success
    }
    rows = int(result.asset_materializations_for_node(f"{product.name}__model")[0].metadata["rows"].value)  # type: ignore[arg-type]
    return wall, fits, rows, steps


def seconds_alone(fits: list[Fit]) -> float:
    """The same fits once more, one after the other; the better of two tries."""
    from mlops_assets.training.fit import fit

    return sum(min(fit(*given).seconds for _ in range(2)) for _, given in fits)


@contextmanager
def watched_fits() -> Iterator[list[Fit]]:
    """Every fit, with what it took by the platform's own stop watch (`Fitted.seconds`)."""
    from mlops_assets.training import build

    found: list[Fit] = []
    real = build.fit

    def watched(*given: Any) -> Any:
        fitted = real(*given)
        found.append((fitted.seconds, given))
        return fitted

    build.fit = watched
    try:
        yield found
    finally:
        build.fit = real


if __name__ == "__main__":
    main()
