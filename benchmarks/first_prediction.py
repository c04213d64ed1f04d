"""From a table to the first served prediction: seconds, lines, and the score beside plain scikit-learn on the same split.

    python benchmarks/first_prediction.py [--quick]

A folder holds nothing but a Parquet file of 50,000 customers. Counted is what a new user waits for: `mlops new --yes`, `mlops
check`, `mlops replay --until-champion`, and the start of `mlops serve` until it answers a prediction. Then twelve more periods are
replayed for their price, which includes the start of the command and a fresh model every fourth period. The package comes from the
environment that runs this script; `--environment` makes a new one from the lock first and says how long that took, which is not
counted. `--quick` takes 10,000 rows and eight periods. The last line is one JSON object.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import polars as pl

from mlops_assets.products.catalog import find_products
from mlops_assets.servers.processes import free_port
from mlops_assets.state.workspace import ProductState, Workspace

HERE = Path(__file__).parents[1]
ROWS, QUICK_ROWS = 50_000, 10_000
PERIODS, QUICK_PERIODS = 12, 8
NAME, TIME, LABEL = "churn", "signed_up_at", "churned"
MOST_SECONDS = 120.0  # that the API may take to answer
NUMBERS = ("age", "visits", "spend")


def main() -> None:
    options = ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="10,000 rows, eight periods")
    options.add_argument("--environment", action="store_true", help="in a new environment, made from the lock")
    given = options.parse_args()
    rows, periods = (QUICK_ROWS, QUICK_PERIODS) if given.quick else (ROWS, PERIODS)
    with tempfile.TemporaryDirectory(prefix="first-prediction-") as name:
        folder = Path(name)
        python = new_environment(folder) if given.environment else Path(sys.executable)
        customers(rows).write_parquet(folder / "customers.parquet")
        seconds = {
            step: timed(lambda command=command: mlops(python, folder, *command))
            for step, command in {
                "new": ("new", NAME, "customers.parquet", "--time", TIME, "--label", LABEL, "--yes"),
                "check": ("check", NAME),
                "replay": ("replay", NAME, "--until-champion"),
            }.items()
        }
        state = state_of(folder)
        seconds["serve"] = timed(lambda: first_answer(python, folder, state))
        first = state.product.period.at(state.ledger.champion().partition)
        last = state.product.period.shift(first, periods - 1)
        per_period = timed(lambda: mlops(python, folder, "replay", NAME, "--to", last.key)) / periods
        ours, plain = scores(state)
        for step, taken in seconds.items():
            print(f"{step:8}{taken:7.1f} s")
        print(f"{per_period:.1f} s a period; {state.product.metric} {ours:.4f}, plain scikit-learn {plain:.4f}")
        result = {
            "seconds_to_first_prediction": round(sum(seconds.values()), 1),
            "seconds_per_period": round(per_period, 2),
            "product_lines": len((folder / "products" / f"{NAME}.py").read_text().splitlines()),
            "score_vs_plain": round(ours / plain, 4),
        }
    print(json.dumps(result))


def customers(rows: int) -> pl.DataFrame:
    """36 weeks of customers, some of whom leave: by their plan, their age and how often they came."""
    draw = np.random.default_rng(3)
    plan, age, visits = draw.choice(["basic", "plus", "pro"], rows), draw.integers(18, 80, rows), draw.poisson(4, rows)
    leaves = 1 / (1 + np.exp(1 - 1.5 * (plan == "basic") + 0.3 * visits - 0.02 * (age - 40)))
    step = timedelta(days=36 * 7) / rows
    times = [datetime(2024, 1, 1) + number * step for number in range(rows)]
    columns = {TIME: times, "plan": plan, "age": age, "visits": visits, "spend": draw.gamma(2, 30, rows).round(2)}
    return pl.DataFrame({**columns, LABEL: draw.random(rows) < leaves})


def new_environment(folder: Path) -> Path:
    python, uv = folder / "environment" / "bin" / "python", Path(sys.executable).with_name("uv")

    def make() -> None:
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, python.parents[1]], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", python]
        subprocess.run([*install, "--require-hashes", "-r", HERE / "requirements" / "runtime.lock"], check=True)
        subprocess.run([*install, "--no-deps", HERE], check=True)

    print(f"a new environment takes {timed(make):.0f} s, which is not counted")
    return python


def mlops(python: Path, folder: Path, *command: str) -> None:
    done = subprocess.run(
        [python, "-m", "mlops_assets.cli.command", *command],
        cwd=folder,
        env=environment_of(folder),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(
            f"mlops {' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2_000:]}{done.stderr[-2_000:]}"
        )


def environment_of(folder: Path) -> dict[str, str]:
    others = {name: value for name, value in os.environ.items() if not name.startswith("MLOPS_")}
    return {**others, "MLOPS_HOME": str(folder / "home"), "DO_NOT_TRACK": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def state_of(folder: Path) -> ProductState:
    (product,) = find_products({"MLOPS_PRODUCTS_DIR": "products"}, folder).products
    os.chdir(folder)  # where the product's paths begin
    return Workspace(folder / "home").of(product)


def first_answer(python: Path, folder: Path, state: ProductState) -> None:
    url = f"http://127.0.0.1:{free_port(18_000, lambda _: None)}"
    row = {TIME: "2024-09-10T10:00:00Z", "plan": "basic", "age": 30, "visits": 2, "spend": 50.0}
    with serving(python, folder, url.rpartition(":")[-1]):
        deadline = time.monotonic() + MOST_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = httpx.post(f"{url}/v1/models/{NAME}/predict", json={"rows": [row]}, timeout=10)
                if answer.status_code == 200:
                    return
            except httpx.HTTPError:
                pass  # it is starting
            time.sleep(0.05)
    sys.exit(f"the API gave no prediction within {MOST_SECONDS:.0f} s")


@contextmanager
def serving(python: Path, folder: Path, port: str) -> Iterator[None]:
    environment = {**environment_of(folder), "MLOPS_PORT": port}
    process = subprocess.Popen(
        [python, "-m", "mlops_assets.cli.command", "serve"],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def scores(state: ProductState) -> tuple[float, float]:
    """The champion's ROC AUC in its test, and that of the better of two usual pipelines on the same rows."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    champion = state.ledger.champion()
    manifest = state.bundles.manifest(champion.version)
    split = state.tables.read("training_set", [champion.partition])
    inputs = [item.name for item in manifest.inputs]
    known, unseen = split.filter(pl.col("split") == "fit"), split.filter(pl.col("split") == "test")
    texts = [name for name in inputs if name not in NUMBERS and split[name].dtype == pl.String]
    numbers = [name for name in inputs if name not in texts]
    found = []
    for estimator in (LogisticRegression(max_iter=1_000), HistGradientBoostingClassifier(random_state=7)):
        encoded = make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts), (StandardScaler(), numbers)
        )
        pipeline = make_pipeline(encoded, estimator)
        pipeline.fit(known.select(inputs).to_pandas(), known["label"].to_numpy())
        probability = pipeline.predict_proba(unseen.select(inputs).to_pandas())[:, 1]
        found.append(float(roc_auc_score(unseen["label"].to_numpy(), probability)))
    return manifest.metrics[state.product.metric], max(found)


def timed(act: Callable[[], None]) -> float:
    started = time.monotonic()
    act()
    return time.monotonic() - started


if __name__ == "__main__":
    main()
