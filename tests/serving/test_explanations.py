"""What an explanation says: contributions that add up, worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from examples.flights.air_time import air_time
from examples.flights.flight_delay import flight_delay
from mlops_assets.state.workspace import Workspace
from serving.explaining import contributions
from tests.serving.running_api import Json, a_client
from tests.tiny_bundle import deploy_tiny

Matrix = NDArray[np.float32]


def matrix(*rows: list[float]) -> Matrix:
    return np.array(rows, np.float32)


def test_a_sum_gives_each_feature_its_own_part() -> None:
    def score(rows: Matrix) -> Matrix:
        return rows @ np.array([2.0, -1.0, 0.0], np.float32)

    baselines, parts = contributions(score, matrix([3, 4, 5], [1, 1, 1]), np.ones(3, np.float32))

    assert baselines.tolist() == [1, 1]
    assert parts.tolist() == [[4, -3, 0], [0, 0, 0]]


def test_a_product_of_two_features_is_shared_as_shapley_says() -> None:
    def score(rows: Matrix) -> Matrix:
        return rows[:, 0] * rows[:, 1]

    # from (1, 2) to (3, 6): first x gives 2*2, then y 4*3; or first y 4*1, then x 2*6; means 8 and 8
    _, parts = contributions(score, matrix([3, 6]), np.array([1, 2], np.float32))

    assert parts.tolist() == [[8, 8]]


def test_of_several_classes_the_most_likely_one_is_explained() -> None:
    def score(rows: Matrix) -> Matrix:
        return np.stack([1 - rows[:, 0], rows[:, 0]], axis=1)

    baselines, parts = contributions(score, matrix([0.75], [0.25]), np.array([0.5], np.float32))

    assert baselines.tolist() == [0.5, 0.5]
    assert parts.tolist() == [[0.25], [0.25]]


@settings(max_examples=50, deadline=None)
@given(
    row=st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=8),
    seed=st.integers(0, 100),
)
def test_contributions_add_up_to_score_less_baseline_for_any_model(row: list[float], seed: int) -> None:
    weights = np.random.default_rng(seed).normal(size=(len(row), 5)).astype(np.float32)

    def score(rows: Matrix) -> Matrix:
        return np.tanh(rows @ weights).prod(axis=1)

    baselines, parts = contributions(score, matrix(row), np.zeros(len(row), np.float32))

    assert baselines[0] + parts[0].sum() == pytest.approx(score(matrix(row))[0], abs=1e-5)


def test_the_route_explains_a_row_when_asked(workspace: Workspace, row: Json) -> None:
    baseline_row = tuple(float(value) for value in range(len(air_time.inputs)))
    deploy_tiny(workspace.of(air_time), weight=1e-2, bias=30, baseline_row=baseline_row)
    place = air_time.feature_names.index("distance")

    with a_client(workspace) as client:
        answer = client.post("/v1/models/air_time/predict?explain=true", json={"rows": [row, row]}).json()
        silent = client.post("/v1/models/air_time/predict", json={"rows": [row]}).json()

    (first, _) = answer["predictions"]
    explanation = first["explanation"]
    assert explanation["baseline"] == pytest.approx(30 + 0.01 * sum(baseline_row), rel=1e-6)
    assert explanation["contributions"]["distance"] == pytest.approx(0.01 * (1400 - baseline_row[place]), rel=1e-4)
    total = explanation["baseline"] + sum(explanation["contributions"].values())
    assert total == pytest.approx(first["value"], rel=1e-6)
    assert "explanation" not in silent["predictions"][0]


def test_a_version_without_a_typical_row_says_so(workspace: Workspace, row: Json) -> None:
    deploy_tiny(workspace.of(flight_delay))

    with a_client(workspace) as client:
        answer = client.post("/v1/models/flight_delay/predict?explain=true", json={"rows": [row]})

    assert answer.status_code == 409
    assert "Retrain to have explanations" in answer.json()["detail"]


def test_too_many_rows_to_explain_are_refused(workspace: Workspace, row: Json) -> None:
    deploy_tiny(workspace.of(air_time), baseline_row=(0.0,) * len(air_time.inputs))

    with a_client(workspace) as client:
        answer = client.post("/v1/models/air_time/predict?explain=true", json={"rows": [row] * 101})

    assert answer.status_code == 413
    assert "at most 100" in answer.json()["detail"]
