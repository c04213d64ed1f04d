"""Why a period has not arrived: it is not over, its delivery is not due, or a table of it was not found."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mlops_assets.data.arrived import arrived_periods, why_not_arrived
from mlops_assets.errors import NotArrived, SourceError
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Column, Kind, Table
from mlops_assets.sources.file_source import Files
from tests.unit.training.builders import RIDES, a_product, january, rides

ZONES = Table("zones", (Column("zone", Kind.STRING), Column("at", Kind.TIMESTAMP)), ("zone",), "at")


@pytest.fixture
def product(tmp_path: Path) -> ModelProduct:
    """Daily files of two tables, complete six hours after the day; none is there."""
    paths = {"rides": f"{tmp_path}/{{period}}.parquet", "zones": f"{tmp_path}/zones/{{period}}.parquet"}
    return replace(a_product(), source=Files(RIDES, paths, (ZONES,), arrives_after=timedelta(hours=6)))


def test_a_day_that_is_not_over_is_said_with_its_end(product: ModelProduct):
    said = why_not_arrived(product, product.period.first, january(1, 23, 59))

    assert (
        said == "the period 2020-01-01 has not wholly arrived at 2020-01-01 23:59: its delivery is due 2020-01-02 06:00"
    )


def test_before_a_delivery_is_due_nothing_is_said_to_be_missing(product: ModelProduct):
    said = why_not_arrived(product, product.period.first, january(2, 5, 59))

    assert said == (
        "the period 2020-01-01 has not wholly arrived at 2020-01-02 05:59: its delivery is due 2020-01-02 06:00"
    )


def test_once_it_is_due_the_file_that_is_missing_is_named(product: ModelProduct, tmp_path: Path):
    nothing = why_not_arrived(product, product.period.first, january(2, 6))
    rides().write_parquet(tmp_path / "2020-01-01.parquet")
    without_zones = why_not_arrived(product, product.period.first, january(2, 6))

    assert nothing.startswith(
        f"the period 2020-01-01 is over and nothing of it was delivered: rides: no file matches {tmp_path}/2020-01-01.parquet"
    )
    assert without_zones.startswith(
        "the period 2020-01-01 is over and zones was not delivered: zones: no file matches "
    )


def test_a_source_of_which_no_file_was_found_is_said_with_the_path(product: ModelProduct, tmp_path: Path):
    with pytest.raises(
        NotArrived, match=rf"no period of taxi has arrived: .*no file matches {tmp_path}/2020-01-01.parquet"
    ):
        arrived_periods(product, january(9))


def test_a_source_that_cannot_be_read_in_any_period_says_why(tmp_path: Path):
    file = tmp_path / "rides.csv"
    file.write_text("ride;origin\n1;EWR\n")
    product = replace(a_product(), source=Files(RIDES, {"rides": str(file)}))

    with pytest.raises(SourceError, match="is separated by semicolons, and commas are declared"):
        arrived_periods(product, january(9))
