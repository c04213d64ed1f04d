"""Parity is measured on the whole window and on the rows where converters go wrong."""

import dataclasses

import msgspec
import numpy as np
import polars as pl
import pytest

from mlops_assets.errors import DeclarationError, NotConvertible
from mlops_assets.products.candidates import Candidate, gradient_boosting, lightgbm, linear, own
from mlops_assets.products.task import Task
from mlops_assets.state.bundle import Bundle
from mlops_assets.state.manifest import ESTIMATOR, MODEL, REFERENCE
from mlops_assets.state.workspace import ProductState, Workspace
from mlops_assets.testing.parity import EXTREMES, UNKNOWN_CATEGORIES, edge_rows, measure_parity
from mlops_assets.training.build import train
from mlops_assets.training.conversion import to_onnx
from mlops_assets.training.fit import estimator_scores, fit
from mlops_assets.training.serialization import loads
from tests.tiny_bundle import tiny_manifest
from tests.unit.testing.builders import a_bundle
from tests.unit.training.builders import FarFromTheAirport, a_multiclass, a_product, a_regression, a_training_set

EDGES = (
    len(UNKNOWN_CATEGORIES) + len(EXTREMES) + max(len(UNKNOWN_CATEGORIES), len(EXTREMES))
)  # of one category and one number


@pytest.fixture
def state(workspace: Workspace) -> ProductState:
    return workspace.of(a_product())


def rides(distances: list[float]) -> pl.DataFrame:
    return pl.DataFrame({"origin": "EWR", "distance": distances})


def sigmoid(bundle: Bundle):
    """What the tiny bundle was made of."""
    return lambda matrix: bundle.score(matrix).astype(np.float64)


def test_every_row_of_the_window_and_every_edge_is_compared(state):
    bundle = a_bundle(state, weight=1.0)

    parity = measure_parity(bundle, sigmoid(bundle), rides([1.0] * 12_000))

    assert (parity.rows, parity.difference, parity.flipped) == (12_000 + EDGES, 0, 0)


def test_one_row_that_differs_is_found_and_its_flipped_label_counted(state):
    bundle = a_bundle(state, weight=1.0)  # origin EWR is 0: the sigmoid of the distance

    def wrong_at_two(matrix):
        return np.where(matrix[:, 1] == 2, 0.25, sigmoid(bundle)(matrix))

    parity = measure_parity(bundle, wrong_at_two, rides([1.0, 2.0, 1.0]))

    assert parity.difference == pytest.approx(1 / (1 + np.exp(-2)) - 0.25)
    assert parity.flipped == 1


def test_a_difference_at_an_edge_alone_is_found(state):
    bundle = a_bundle(state, weight=1e-12)

    def wrong_for_strangers(matrix):
        return sigmoid(bundle)(matrix) - 0.125 * (matrix[:, 0] == -1)

    assert measure_parity(bundle, wrong_for_strangers, rides([1.0])).difference == pytest.approx(0.125)


def test_a_score_that_is_no_number_is_a_difference(state):
    bundle = a_bundle(state, weight=1.0)

    parity = measure_parity(bundle, lambda matrix: np.full(len(matrix), np.nan), rides([1.0]))

    assert np.isnan(parity.difference)


def test_edges_are_null_nan_empty_unknown_and_extreme(state):
    bundle = a_bundle(state)

    edges = edge_rows(bundle.manifest.inputs, rides([3.0, 5.0]))

    assert edges.height == EDGES
    assert set(UNKNOWN_CATEGORIES) <= set(edges["origin"])
    assert {1e9, -1e9, 0.0, None} <= set(edges["distance"])
    assert edges["distance"].is_nan().any()
    assert 4.0 in edges["distance"]  # the usual row has the middle of the window


@pytest.mark.parametrize("value", [1e-3, 1.0, 300.0, 1e6])
@pytest.mark.parametrize("wrong_by", [1e-7, 1e-2])
def test_predictions_are_compared_relative_to_their_size(workspace, value, wrong_by):
    bundle = a_bundle(workspace.of(a_regression()), bias=value)

    parity = measure_parity(bundle, lambda matrix: sigmoid(bundle)(matrix) * (1 + wrong_by), rides([1.0, 2.0]))

    assert parity.difference == pytest.approx(wrong_by, rel=0.02)


RULES = "tests.unit.training.builders:FarFromTheAirport"


@pytest.mark.parametrize(
    ("maker", "keeps"), [("rules_as_onnx", True), ("rules_gone_wrong", False)], ids=["the same rules", "other rules"]
)
def test_an_estimator_that_brings_its_own_onnx_is_judged_by_parity_as_any_other(workspace, maker, keeps):
    candidate = own(RULES, to_onnx=f"tests.unit.training.builders:{maker}", far=5.0)
    product = a_product(candidates=(candidate,))
    rows = a_training_set(product, rows=100)

    trained = train(product, own(RULES, far=5.0), rows)  # as a recipe names it, without code of its own

    manifest = msgspec.structs.replace(tiny_manifest(product), inputs=trained.fitted.inputs, classes=("false", "true"))
    state = workspace.of(product)
    state.bundles.write(manifest, trained.files)
    stored = loads(trained.files[ESTIMATOR], product)  # what `mlops reproduce` opens
    parity = measure_parity(state.bundles.open(1), lambda matrix: estimator_scores(stored, product.task, matrix), rows)
    assert (parity.difference <= 1e-5) is keeps
    assert (parity.flipped == 0) is keeps


@pytest.mark.parametrize(
    ("maker", "task", "said"),
    [
        (
            "nowhere",
            Task.BINARY,
            "nowhere does not convert FarFromTheAirport to ONNX: module .* has no attribute 'nowhere'",
        ),
        ("two_columns", Task.REGRESSION, r"it answers \(2, 2\) to two rows of 2 inputs, not \(2, 1\)"),
    ],
)
def test_a_function_that_makes_no_onnx_which_can_serve_is_named_with_what_is_wrong(maker, task, said):
    estimator = FarFromTheAirport().fit(np.zeros((2, 2)), np.array([0.0, 1.0]))

    with pytest.raises(NotConvertible, match=said):
        to_onnx(estimator, task, 2, f"tests.unit.training.builders:{maker}")


def test_only_an_estimator_of_ones_own_brings_its_onnx():
    with pytest.raises(DeclarationError, match=r"candidate 'linear': to_onnx must be .* estimator of your own"):
        Candidate("linear", "linear", to_onnx="a.b:c")


FOREST = Candidate("forest", "tests.unit.training.builders:small_forest")


@pytest.mark.parametrize(
    "candidate", [linear(), gradient_boosting(max_iter=8), lightgbm(n_estimators=20), FOREST], ids=lambda c: c.name
)
@pytest.mark.parametrize("product", [a_product(), a_multiclass(), a_regression()], ids=lambda p: str(p.task))
def test_every_family_keeps_parity_on_a_long_window_and_at_the_edges(workspace, product, candidate):
    product = dataclasses.replace(product, candidates=(candidate,))
    rows = a_training_set(product, rows=1_300)  # 10,400 rides
    fitted = fit(product, candidate, rows.head(2_000))
    manifest = msgspec.structs.replace(tiny_manifest(product), inputs=fitted.inputs, classes=fitted.classes)
    files = {MODEL: to_onnx(fitted.estimator, product.task, len(fitted.inputs)), REFERENCE: b"{}"}
    state = workspace.of(product)
    state.bundles.write(manifest, files)

    parity = measure_parity(
        state.bundles.open(1), lambda matrix: estimator_scores(fitted.estimator, product.task, matrix), rows
    )

    assert parity.rows > 10_000
    assert parity.difference <= 1e-5
    assert parity.flipped == 0 or product.task is Task.REGRESSION
