"""`mlops check` reads one period and says what is well, or what is not, in one sentence; it stores nothing."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import narwhals as nw
import polars as pl
import pytest

from examples.flights.flight_delay import flight_delay
from examples.flights.nyc_flights import FLIGHTS, WEATHER, NycFlights
from mlops_assets.data.checking import check_product
from mlops_assets.errors import ContractBroken, DataError, DeclarationError, NotArrived
from mlops_assets.products.periods import Period
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Table
from mlops_assets.products.task import Task

NOW = datetime(2014, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Damaged:
    """The real flights, changed."""

    damage: Callable[[pl.LazyFrame], pl.LazyFrame]
    main: Table = FLIGHTS
    side_tables: tuple[Table, ...] = (WEATHER,)

    def read(self, table: str, period: Period) -> pl.LazyFrame:
        rows = NycFlights().read(table, period)
        return self.damage(rows) if table == FLIGHTS.name else rows

    def has_arrived(self, period: Period, now: datetime) -> bool:
        return period.end <= now


def checked(product: ModelProduct, key: str = "") -> dict[str, str]:
    return {finding.what: finding.seen for finding in check_product(product, NOW, key)}


def test_a_product_that_is_well_is_told_part_by_part():
    seen = checked(flight_delay, "2013-07-01")

    assert list(seen) == ["declaration", "source", "contract", "features", "label", "request"]
    assert seen["source"].startswith(
        "52 periods have arrived, 2012-12-31 to 2013-12-23; the first champion learns from 16"
    )
    assert seen["contract"].startswith("2013-07-01: ")
    assert re.fullmatch(r"late is known of .* rows of .*; false: [\d.]+ %, true: [\d.]+ %", seen["label"])


def test_the_newest_period_is_tried_where_none_is_named():
    assert checked(flight_delay)["contract"].startswith("2013-12-23: ")


def test_a_broken_contract_is_one_sentence_with_the_column():
    product = replace(flight_delay, source=Damaged(lambda rows: rows.with_columns(distance=pl.lit(-5, pl.Int64))))

    with pytest.raises(ContractBroken, match=r"2013-07-01 breaks its contract: flights: .*distance: [\d,]+ rows break"):
        checked(product, "2013-07-01")


def test_a_label_that_nobody_has_is_said():
    unknown = replace(flight_delay.label, expression=nw.lit(None).cast(nw.Float64))

    with pytest.raises(DataError, match=r"no row has a label: late is null in all [\d,]+"):
        checked(replace(flight_delay, label=unknown), "2013-07-01")


def test_a_label_of_one_class_is_said():
    always = replace(flight_delay.label, expression=nw.lit(1.0))

    with pytest.raises(DataError, match=r"late is 1.0 in every row, so there is nothing to tell apart"):
        checked(replace(flight_delay, label=always), "2013-07-01")


def test_a_misspelt_column_of_the_label_is_said_with_the_one_that_was_meant():
    misspelt = replace(flight_delay.label, expression=nw.col("arr_dela") > 15)

    with pytest.raises(
        DeclarationError, match=r"the label 'late' cannot be computed from flights: .*did you mean 'arr_delay'"
    ):
        checked(replace(flight_delay, label=misspelt), "2013-07-01")


def test_a_feature_that_is_the_label_under_another_name_is_said():
    copied = replace(flight_delay.label, expression=nw.col("distance"))

    with pytest.raises(DataError, match=r"the feature distance is the label late in each of [\d,]+ rows"):
        checked(
            replace(flight_delay, label=copied, task=Task.REGRESSION, metric="mae", gates=(), calibrate=False),
            "2013-07-01",
        )


@pytest.mark.parametrize(
    ("gaps", "error", "said"),
    [
        ("fail", ContractBroken, "If nothing happened in 2013-07-01, declare gaps='allow'"),
        ("allow", NotArrived, "the source has no row of 2013-07-01, which gaps='allow' lets it be stored without"),
    ],
)
def test_a_period_without_rows_is_said_with_what_to_do(gaps, error, said):
    july = pl.col("scheduled_departure").is_between(
        datetime(2013, 7, 1, tzinfo=UTC), datetime(2013, 7, 7, 23, 59, 59, tzinfo=UTC)
    )
    product = replace(flight_delay, gaps=gaps, source=Damaged(lambda rows: rows.filter(~july)))

    with pytest.raises(error, match=said):
        checked(product, "2013-07-01")


def test_a_period_that_has_not_arrived_is_named_with_what_has():
    with pytest.raises(NotArrived, match=r"2014-01-06 has not arrived. The source holds 2012-12-31 to 2013-12-23"):
        checked(flight_delay, "2014-01-06")
