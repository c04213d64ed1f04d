"""Conversion: the ONNX model answers what the estimator answers, on ordinary rows and at the edges."""

import dataclasses
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

from mlops_assets.data.labels import LABEL
from mlops_assets.errors import NotConvertible
from mlops_assets.products.candidates import Candidate, dummy, gradient_boosting, lightgbm, linear
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.task import Task
from mlops_assets.state.encoding import encode
from mlops_assets.state.manifest import Input
from mlops_assets.training.candidates import make_estimator
from mlops_assets.training.conversion import TREES_IN_GROUP, largest_difference, to_onnx
from mlops_assets.training.fit import estimator_scores, fit
from tests.unit.training.builders import (
    AlwaysTheSame,
    a_multiclass,
    a_product,
    a_regression,
    a_training_set,
    shallow_tree,
)

TOLERANCE = 1e-5
FAMILIES = [linear(), gradient_boosting(max_iter=8), lightgbm(n_estimators=20)]
PRODUCTS = {"binary": a_product(), "multiclass": a_multiclass(), "regression": a_regression()}
EDGES = pl.DataFrame(
    [
        (None, None),  # everything is unknown
        ("EWR", None),
        (None, 3.0),
        ("SWF", 3.0),  # an origin that the training window never held
        ("JFK", 0.0),
        ("JFK", -1.0),
        ("LGA", 1e9),
        ("LGA", -1e9),
        ("EWR", 1e-30),
    ],
    schema={"origin": pl.String, "distance": pl.Float64},
    orient="row",
)


def onnx_scores(model: bytes, task: Task, matrix: np.ndarray) -> np.ndarray:
    (scores,) = onnxruntime.InferenceSession(model).run(["scores"], {"inputs": matrix})
    return scores[:, 1] if task is Task.BINARY else scores if task is Task.MULTICLASS else scores.reshape(-1)


def difference(estimator, task: Task, matrix: np.ndarray) -> float:
    """Largest difference between the estimator and its ONNX form."""
    converted = onnx_scores(to_onnx(estimator, task, matrix.shape[1]), task, matrix)
    return largest_difference(estimator_scores(estimator, task, matrix), converted, task)


@pytest.mark.parametrize("candidate", FAMILIES, ids=lambda candidate: candidate.name)
@pytest.mark.parametrize("name", PRODUCTS)
def test_the_converted_model_answers_like_the_estimator(name, candidate):
    product = PRODUCTS[name]
    rows = a_training_set(product)
    fitted = fit(product, candidate, rows)

    ordinary, edges = encode(rows, fitted.inputs), encode(EDGES, fitted.inputs)

    assert np.isnan(ordinary).any()  # the rows hold nulls
    assert (ordinary[:, 0] == -1).any()
    assert difference(fitted.estimator, product.task, ordinary) <= TOLERANCE
    for edge in range(len(edges)):  # one by one, as a prediction is compared with the largest of its rows
        assert difference(fitted.estimator, product.task, edges[edge : edge + 1]) <= TOLERANCE, EDGES.row(edge)


def test_scikit_learn_keeps_the_trees_of_a_boosted_estimator_where_conversion_reads_them():
    """Where this fails after an upgrade, mend `_with_float32_splits`, and then the upper bound in pyproject.toml."""
    matrix = np.arange(200, dtype=np.float32).reshape(-1, 1)
    fitted = HistGradientBoostingRegressor(max_iter=3).fit(matrix, matrix[:, 0])
    before = fitted.predict(matrix)

    trees = [tree for of_round in fitted._predictors for tree in of_round]
    for tree in trees:
        assert tree.nodes["num_threshold"].dtype == np.float64
        tree.nodes["num_threshold"] = np.inf

    assert len(trees) == 3
    assert np.unique(before).size > 1
    assert np.unique(fitted.predict(matrix)).size == 1  # every row goes to the left: these are what it answers by


@pytest.mark.parametrize(
    "family", [gradient_boosting(max_iter=3, min_samples_leaf=1), lightgbm(n_estimators=3, min_child_samples=1)]
)
@pytest.mark.parametrize("task", [Task.BINARY, Task.REGRESSION])
def test_a_threshold_between_two_adjacent_float32_values_still_tells_them_apart(family, task):
    """The threshold lies in the middle, which float32 cannot hold: rounded up, both values fall on the same side."""
    first = np.float32(1.5)
    values = [first]
    for _ in range(7):
        values.append(np.nextafter(values[-1], np.float32(2)))
    for lower, upper in pairwise(values):
        matrix = np.array([[lower], [upper]] * 100, dtype=np.float32)
        labels = np.array([0.0, 1.0] * 100)
        estimator = make_estimator(family, task, (Input("x", FeatureKind.NUMERIC),), seed=7).fit(matrix, labels)

        scores = estimator_scores(estimator, task, matrix)

        assert scores[1] - scores[0] > 0.1  # the estimator learned to tell them apart
        assert difference(estimator, task, matrix) <= TOLERANCE


@pytest.mark.parametrize("trees", [1, TREES_IN_GROUP - 1, TREES_IN_GROUP, TREES_IN_GROUP + 1, 2 * TREES_IN_GROUP])
def test_a_lightgbm_regression_of_any_number_of_trees_is_convertible(trees):
    rows = a_training_set(a_regression())
    fitted = fit(a_regression(), lightgbm(n_estimators=trees), rows)

    assert fitted.estimator.booster_.num_trees() == trees
    assert difference(fitted.estimator, Task.REGRESSION, encode(rows, fitted.inputs)) <= TOLERANCE


def test_a_lightgbm_regression_that_found_nothing_to_split_is_convertible():
    rows = a_training_set(a_regression()).with_columns(pl.lit(7.0).alias(LABEL))
    fitted = fit(a_regression(), lightgbm(n_estimators=20), rows)

    assert difference(fitted.estimator, Task.REGRESSION, encode(rows, fitted.inputs)) <= TOLERANCE


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_scikit_learn_estimator_of_ones_own_is_convertible(name):
    tree = Candidate("tree", "tests.unit.training.builders:shallow_tree")
    product = dataclasses.replace(PRODUCTS[name], candidates=(tree,))
    rows = a_training_set(product)
    fitted = fit(product, tree, rows)

    assert difference(fitted.estimator, product.task, encode(rows, fitted.inputs)) <= TOLERANCE


def test_an_estimator_without_a_converter_is_refused_by_name():
    with pytest.raises(
        NotConvertible, match=r"(?s)AlwaysTheSame cannot become ONNX: .*Use an estimator of scikit-learn"
    ):
        to_onnx(AlwaysTheSame(), Task.BINARY, 2)


def test_an_estimator_that_was_never_fitted_is_refused():
    with pytest.raises(NotConvertible, match=r"Pipeline cannot become ONNX"):
        to_onnx(shallow_tree(Task.REGRESSION), Task.REGRESSION, 2)


def test_conversion_leaves_the_estimator_as_it_was():
    product = a_product()
    rows = a_training_set(product)
    fitted = fit(product, gradient_boosting(max_iter=20), rows)
    before = fitted.scores(rows)

    to_onnx(fitted.estimator, product.task, 2)

    assert fitted.scores(rows).tolist() == before.tolist()


@pytest.mark.parametrize("candidate", FAMILIES, ids=lambda candidate: candidate.name)
@pytest.mark.parametrize("name", PRODUCTS)
def test_the_same_estimator_becomes_the_same_bytes(name, candidate):
    product = PRODUCTS[name]
    fitted = fit(product, candidate, a_training_set(product))

    first, again = (to_onnx(fitted.estimator, product.task, 2) for _ in range(2))

    assert first == again


CONVERTED_ANEW = """
import hashlib
from tests.unit.training.builders import a_training_set
from tests.unit.training.test_conversion import FAMILIES, PRODUCTS
from mlops_assets.training.conversion import to_onnx
from mlops_assets.training.fit import fit
for product in PRODUCTS.values():
    for candidate in FAMILIES:
        model = to_onnx(fit(product, candidate, a_training_set(product)).estimator, product.task, 2)
        print("bytes of", product.task, candidate.name, hashlib.sha256(model).hexdigest())
"""


def test_the_same_estimator_becomes_the_same_bytes_in_another_process():
    """Sets of strings have another order in each process."""
    root = Path(__file__).parents[3]
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", CONVERTED_ANEW],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root), "PYTHONHASHSEED": str(seed)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in (1, 2, 3)
    ]
    said = [child.communicate(timeout=100)[0].splitlines() for child in children]

    # converters print lines of their own
    first, *others = ([line for line in lines if line.startswith("bytes of ")] for lines in said)
    assert len(first) == len(FAMILIES) * len(PRODUCTS)
    assert others == [first, first]


@pytest.mark.parametrize(
    ("estimated", "converted", "task", "expected"),
    [
        ([0.2, 0.7], [0.2, 0.4], Task.BINARY, 0.3),
        ([100.0, -400.0], [101.0, -400.0], Task.REGRESSION, 1 / 400),
        ([0.1, 0.2], [0.1, 0.3], Task.REGRESSION, 0.1),  # predictions below 1 are compared absolutely
        ([], [], Task.BINARY, 0),
    ],
)
def test_probabilities_differ_absolutely_and_predictions_relative_to_the_largest(estimated, converted, task, expected):
    assert largest_difference(np.array(estimated), np.array(converted), task) == pytest.approx(expected)


def test_a_nan_is_no_small_difference():
    assert not largest_difference(np.array([0.5]), np.array([np.nan]), Task.BINARY) <= TOLERANCE


@pytest.mark.parametrize("name", PRODUCTS)
def test_the_constant_baseline_answers_the_same_for_every_row_in_both_forms(name):
    product = PRODUCTS[name]
    fitted = fit(product, dummy(), a_training_set(product))

    matrix = encode(EDGES, fitted.inputs)

    expected = estimator_scores(fitted.estimator, product.task, matrix)
    assert len(np.unique(expected, axis=0)) == 1
    assert difference(fitted.estimator, product.task, matrix) <= 1e-7
