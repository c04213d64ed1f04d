"""The leaderboard of every product's first experiment: intervals, which differences are noise, cost, size.

Data by the pure functions, as in `training_overhead.py`. The last line is one JSON object. `--quick` takes twelve weeks in place
of the product's own window and tries what is declared only.
"""

import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from training_overhead import fill

from examples.flights.catalog import CATALOG
from mlops_assets.products.periods import weeks
from mlops_assets.products.search import Search
from mlops_assets.state.workspace import Workspace
from mlops_assets.training.search import run_experiment
from mlops_assets.training.window import load_training_set

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `mlops` sets it


def main() -> None:
    quick = "--quick" in sys.argv
    figures: dict[str, object] = {}
    for shipped in CATALOG:
        product = replace(shipped, training_window=weeks(12), search=Search()) if quick else shipped
        count = product.training_periods
        key = product.period.shift(product.period.first, count).key
        with tempfile.TemporaryDirectory(prefix="leaderboards-") as folder:
            state = Workspace(Path(folder)).of(product)
            fill(state, key, count)
            started = time.perf_counter()
            board = run_experiment(product, key, load_training_set(state, key))
        seconds = time.perf_counter() - started
        print(
            f"\n{product.name}, {board.rows:,} rows before {key}, {len(board.searched)} trials, ended by {board.ended_by}"
        )
        print(
            f"{'candidate':18} {board.metric:>8} {'interval':>18} {'behind best':>28} {'fit s':>7} {'µs/row':>7} {'kB':>7} noise?"
        )
        for trial in board.trials:
            behind = f"{trial.behind_best:.4f} ({trial.behind_low:.4f} to {trial.behind_high:.4f})"
            size = "-" if trial.bundle_bytes is None else f"{trial.bundle_bytes / 1e3:.0f}"
            print(
                f"{trial.candidate:18} {trial.score:8.4f} {trial.low:8.4f} to {trial.high:.4f} {behind:>28} "
                f"{trial.fit_seconds:7.1f} {trial.microseconds_per_row:7.1f} {size:>7} "
                f"{'noise' if trial.is_tied_with_best else 'told apart'}"
            )
        figures |= {
            f"{product.name}_best": board.best.candidate,
            f"{product.name}_score": board.best.score,
            f"{product.name}_tied": sum(trial.is_tied_with_best for trial in board.trials),
            f"{product.name}_seconds": seconds,
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
