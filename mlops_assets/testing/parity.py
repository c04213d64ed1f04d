"""Parity: the bundle answers what the estimator answers, on every row of the test window and where converters go wrong."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.task import OPERATING_THRESHOLD, Task
from mlops_assets.state.bundle import Bundle
from mlops_assets.state.manifest import Input
from mlops_assets.training.conversion import largest_difference
from mlops_assets.training.metrics import Array

STRANGERS = (None, "", "never seen in training")
EXTREMES = (None, float("nan"), 0.0, -1.0, 1e-30, 1e9, -1e9)


@dataclass(frozen=True)
class Parity:
    """difference: the largest, of probabilities absolute, of predictions relative. flipped: rows with another label."""

    rows: int
    difference: float
    flipped: int


def measure_parity(bundle: Bundle, estimate: Callable[[NDArray[np.float32]], Array], rows: pl.DataFrame) -> Parity:
    """rows: the test window. estimate: matrix (n, inputs) to scores, by the estimator the bundle was made from."""
    task = bundle.manifest.task
    window, edges = bundle.encode(rows), bundle.encode(edge_rows(bundle.manifest.inputs, rows))
    # predictions at edges one by one: each is compared with the largest of its rows, and one of them is out of all proportion
    each = 1 if task is Task.REGRESSION else len(edges)
    parts = [window, *(edges[start : start + each] for start in range(0, len(edges), each))]
    # what predictions are relative to: one may be much smaller than 1
    usual = float(np.max(np.abs(estimate(window)), initial=0.0)) or 1.0
    differences, flipped = [], 0
    for matrix in parts:
        estimated, converted = estimate(matrix), bundle.score(matrix).astype(np.float64)
        differences.append(largest_difference(estimated, converted, task, usual))
        flipped += _flipped(estimated, converted, task)
    # NaN, where one of the two has no score, is a difference too and comes through
    return Parity(len(window) + len(edges), float(np.max(differences)), flipped)


def edge_rows(inputs: tuple[Input, ...], rows: pl.DataFrame) -> pl.DataFrame:
    """A usual row with one input at an edge, for every input and edge; and rows with every input there."""
    usual = {
        item.name: item.categories[0]
        if item.categories
        else None
        if item.kind is FeatureKind.CATEGORICAL
        else rows[item.name].cast(pl.Float64).median()
        for item in inputs
    }
    edges = {item.name: STRANGERS if item.kind is FeatureKind.CATEGORICAL else EXTREMES for item in inputs}
    found = [{**usual, name: edge} for name, values in edges.items() for edge in values]
    for number in range(max(len(STRANGERS), len(EXTREMES))):
        found.append({name: values[number % len(values)] for name, values in edges.items()})
    kinds = {item.name: pl.String if item.kind is FeatureKind.CATEGORICAL else pl.Float64 for item in inputs}
    return pl.DataFrame(found, schema=kinds, orient="row")


def _flipped(estimated: Array, converted: Array, task: Task) -> int:
    """Labels that differ. Scores are compared as float32, which is what both are made of."""
    ours, theirs = estimated.astype(np.float32), converted.astype(np.float32)
    match task:
        case Task.BINARY:
            return int(np.sum((ours >= OPERATING_THRESHOLD) != (theirs >= OPERATING_THRESHOLD)))
        case Task.MULTICLASS:
            return int(np.sum(ours.argmax(axis=1) != theirs.argmax(axis=1)))
        case Task.REGRESSION:
            return 0
