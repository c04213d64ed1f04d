"""Public data sets that nobody made for the platform, as they are, through `mlops new --yes`."""

import io
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.cli.app import app
from mlops_assets.data.contract import check_contract, conform
from mlops_assets.features.validation import validate_features
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from tests.unit.drafting.public_tables import new_york, ways_of_carbon_dioxide


def flights(place: Path) -> list[str]:
    """Flights out of New York in the first quarter of 2013, and whether they were late: the clock is a wall clock."""
    rows = new_york("flights").filter(pl.col("month") <= 3)
    scheduled = pl.datetime("year", "month", "day", pl.col("sched_dep_time") // 100, pl.col("sched_dep_time") % 100)
    known = ["carrier", "flight", "origin", "dest", "tailnum", "distance", "sched_dep_time", "sched_arr_time"]
    rows.select(*known, scheduled=scheduled, late=pl.col("arr_delay") > 15).write_parquet(place / "flights.parquet")
    return ["late", "flights.parquet", "--time", "scheduled", "--label", "late"]


def weather(place: Path) -> list[str]:
    """A year of weather at three airports, every hour, with semicolons."""
    new_york("weather").write_csv(place / "weather.csv", separator=";")
    return ["temperature", "weather.csv", "--label", "temp"]


def carbon_dioxide(place: Path) -> list[str]:
    """44 years of carbon dioxide on Mauna Loa, every week, and which way it went since the week before."""
    ways_of_carbon_dioxide().write_csv(place / "co2.csv")
    return ["direction", "co2.csv", "--label", "direction"]


@pytest.mark.parametrize(
    ("table", "task", "period", "key"),
    [
        (flights, Task.BINARY, "ml.daily(", ("carrier", "flight", "scheduled")),
        (carbon_dioxide, Task.MULTICLASS, "ml.monthly(", ("date",)),
        (weather, Task.REGRESSION, "ml.weekly(", ("origin", "time_hour")),
    ],
)
def test_a_public_table_becomes_a_product_that_reads_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    table: Callable[[Path], list[str]],
    task: Task,
    period: str,
    key: tuple[str, ...],
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO())  # nobody is there to be asked
    arguments = table(tmp_path)

    app(["new", *arguments, "--yes"], exit_on_error=False, result_action="return_value")

    file = tmp_path / "products" / f"{arguments[0]}.py"
    product = runpy.run_path(str(file))[arguments[0]]
    assert isinstance(product, ModelProduct)
    assert (product.task, product.entity_key) == (task, key)
    text = file.read_text()
    assert period in text
    assert len(text.splitlines()) <= 40
    assert text.count("import ") == 1
    validate_features(product)
    assert every_row_is_kept(product)


def every_row_is_kept(product: ModelProduct) -> bool:
    """In the second period, in the last one that a first training sees, and in the one after it."""
    main, first = product.source.main, product.period.first
    count = product.training_periods
    periods = [product.period.shift(first, number) for number in (1, count - 1, count)]
    results = [check_contract(main, each, conform(main, product.source.read(main.name, each))) for each in periods]
    return all(result.kept and result.rows > 0 for result in results)
