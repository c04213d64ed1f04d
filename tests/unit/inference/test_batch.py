"""Batch predictions: every row by the champion that served when its event happened."""

import math
from datetime import datetime, timedelta

import polars as pl
import pytest

from mlops_assets.errors import NoChampion
from mlops_assets.inference.batch import SCORE, VERSION, predict_period
from mlops_assets.state.ledger import Deployment
from mlops_assets.state.workspace import ProductState, Workspace
from tests.unit.testing.builders import a_bundle
from tests.unit.training.builders import a_product, a_regression, january

A_MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def state(workspace: Workspace) -> ProductState:
    return workspace.of(a_product())


def deployed(state: ProductState, version: int, at: datetime, bias: float) -> Deployment:
    """A version that answers the same to every row."""
    a_bundle(state, version, bias=bias)
    return Deployment(version, version, "2020-01-09", at, "", "")


def rides_at(*moments: datetime) -> pl.DataFrame:
    return pl.DataFrame(
        {"ride": range(len(moments)), "asked_at": moments, "origin": "EWR", "distance": 2.0},
        schema_overrides={"asked_at": pl.Datetime("us", "UTC")},
    )


def test_rows_are_split_by_the_champion_that_served(state):
    first = deployed(state, 1, january(2), bias=0.0)
    second = deployed(state, 2, january(5), bias=math.log(3))  # its sigmoid is 3/4

    predictions = predict_period(
        state, rides_at(january(5), january(2), january(5) - A_MICROSECOND, january(9)), [first, second]
    )

    assert predictions.columns == ["ride", "asked_at", SCORE, VERSION]
    assert predictions.select("ride", VERSION).rows() == [(1, 1), (2, 1), (0, 2), (3, 2)]
    assert predictions[SCORE].to_list() == pytest.approx([0.5, 0.5, 0.75, 0.75])


def test_rows_before_the_first_deployment_are_left_out(state):
    first = deployed(state, 1, january(2), bias=0.0)

    predictions = predict_period(state, rides_at(january(2) - A_MICROSECOND, january(3)), [first])

    assert predictions["ride"].to_list() == [1]


def test_a_version_that_served_no_row_is_not_even_opened(state):
    first = deployed(state, 1, january(2), bias=0.0)
    gone = Deployment(2, 2, "", january(5), "", "")

    assert predict_period(state, rides_at(january(4)), [first, gone])[VERSION].to_list() == [1]


def test_predictions_of_a_regression_are_numbers(workspace):
    state = workspace.of(a_regression())
    served = deployed(state, 1, january(2), bias=12.5)

    predictions = predict_period(state, rides_at(january(3)), [served])

    assert predictions.schema[SCORE] == pl.Float64
    assert predictions[SCORE].to_list() == [12.5]


def test_nothing_deployed_is_no_champion(state):
    with pytest.raises(NoChampion, match=r"no champion of 'taxi' is deployed yet. Materialise taxi/deployment"):
        predict_period(state, rides_at(january(3)), [])


def test_a_period_that_ended_before_the_first_deployment_has_no_champion(state):
    first = deployed(state, 1, january(5), bias=0.0)

    with pytest.raises(NoChampion):
        predict_period(state, rides_at(january(3)), [first])
