"""Batch predictions: every row by the champion that served when its event happened."""

import math
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.errors import NoChampion
from mlops_assets.inference.batch import SCORE, VERSION, predict_period
from mlops_assets.stores.deployment_ledger import Deployment
from mlops_assets.stores.home import Home
from tests.unit.testing.builders import a_bundle
from tests.unit.training.builders import a_product, a_regression, january

A_MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def deployed(home: Home, product, version: int, at: datetime, bias: float) -> Deployment:
    """A version that answers the same to every row."""
    a_bundle(home, product, version, bias=bias)
    return Deployment("taxi", version, "2020-01-09", at, str(home.bundle("taxi", version)), "", "", "")


def rides_at(*moments: datetime) -> pl.DataFrame:
    return pl.DataFrame(
        {"ride": range(len(moments)), "asked_at": moments, "origin": "EWR", "distance": 2.0},
        schema_overrides={"asked_at": pl.Datetime("us", "UTC")},
    )


def test_rows_are_split_by_the_champion_that_served(home):
    product = a_product()
    first = deployed(home, product, 1, january(2), bias=0.0)
    second = deployed(home, product, 2, january(5), bias=math.log(3))  # its sigmoid is 3/4

    predictions = predict_period(
        product, rides_at(january(5), january(2), january(5) - A_MICROSECOND, january(9)), [first, second]
    )

    assert predictions.columns == ["ride", "asked_at", SCORE, VERSION]
    assert predictions.select("ride", VERSION).rows() == [(1, 1), (2, 1), (0, 2), (3, 2)]
    assert predictions[SCORE].to_list() == pytest.approx([0.5, 0.5, 0.75, 0.75])


def test_rows_before_the_first_deployment_are_left_out(home):
    first = deployed(home, a_product(), 1, january(2), bias=0.0)

    predictions = predict_period(a_product(), rides_at(january(2) - A_MICROSECOND, january(3)), [first])

    assert predictions["ride"].to_list() == [1]


def test_a_version_that_served_no_row_is_not_even_opened(home):
    first = deployed(home, a_product(), 1, january(2), bias=0.0)
    gone = Deployment("taxi", 2, "", january(5), str(home.bundle("taxi", 2)), "", "", "")

    assert predict_period(a_product(), rides_at(january(4)), [first, gone])[VERSION].to_list() == [1]


def test_predictions_of_a_regression_are_numbers(home):
    product = a_regression()
    served = deployed(home, product, 1, january(2), bias=12.5)

    predictions = predict_period(product, rides_at(january(3)), [served])

    assert predictions.schema[SCORE] == pl.Float64
    assert predictions[SCORE].to_list() == [12.5]


def test_nothing_deployed_is_no_champion(home):
    with pytest.raises(NoChampion, match=r"nothing is deployed for 'taxi' yet. Materialise taxi/deployment"):
        predict_period(a_product(), rides_at(january(3)), [])


def test_a_period_that_ended_before_the_first_deployment_has_no_champion(home):
    first = deployed(home, a_product(), 1, january(5), bias=0.0)

    with pytest.raises(NoChampion):
        predict_period(a_product(), rides_at(january(3)), [first])
