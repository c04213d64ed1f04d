"""Parity: the bundle predicts what the estimator predicts, on the test window and on edge rows where converters go wrong."""

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

UNKNOWN_CATEGORIES = (None, "", "never seen in training")
EXTREMES = (None, float("nan"), 0.0, -1.0, 1e-30, 1e9, -1e9)


@dataclass(frozen=True)
class Parity:
    """difference: the largest, absolute for probabilities and relative for predictions. flipped: rows whose label differs."""

    rows: int
    difference: float
    flipped: int


def measure_parity(bundle: Bundle, estimate: Callable[[NDArray[np.float32]], Array], rows: pl.DataFrame) -> Parity:
    """rows: the test window. estimate: scores of a matrix (n, inputs) by the estimator that the bundle was converted from."""
    task = bundle.manifest.task
    window, edges = bundle.encode(rows), bundle.encode(edge_rows(bundle.manifest.inputs, rows))
    # a difference is relative to the largest prediction of its part: edge rows of a regression may differ by orders of
    # magnitude, so each is a part of its own
    each = 1 if task is Task.REGRESSION else len(edges)
    parts = [window, *(edges[start : start + each] for start in range(0, len(edges), each))]
    # a part whose predictions are near 0 is relative to the largest prediction of the window
    usual = float(np.max(np.abs(estimate(window)), initial=0.0)) or 1.0
    differences, flipped = [], 0
    for matrix in parts:
        estimated, converted = estimate(matrix), bundle.score(matrix).astype(np.float64)
        differences.append(largest_difference(estimated, converted, task, usual))
        flipped += _flipped(estimated, converted, task)
    # NaN, if one of the two has no score, is a difference too, and max keeps it
    return Parity(len(window) + len(edges), float(np.max(differences)), flipped)


def edge_rows(inputs: tuple[Input, ...], rows: pl.DataFrame) -> pl.DataFrame:
    """A baseline row with one input at an edge value, for every input and edge value, and rows with all inputs at one."""
    baseline = {
        item.name: item.categories[0]
        if item.categories
        else None
        if item.kind is FeatureKind.CATEGORICAL
        else rows[item.name].cast(pl.Float64).median()
        for item in inputs
    }
    edges = {item.name: UNKNOWN_CATEGORIES if item.kind is FeatureKind.CATEGORICAL else EXTREMES for item in inputs}
    edge_values = [{**baseline, name: edge} for name, values in edges.items() for edge in values]
    for number in range(max(len(UNKNOWN_CATEGORIES), len(EXTREMES))):
        edge_values.append({name: values[number % len(values)] for name, values in edges.items()})
    kinds = {item.name: pl.String if item.kind is FeatureKind.CATEGORICAL else pl.Float64 for item in inputs}
    return pl.DataFrame(edge_values, schema=kinds, orient="row")


def _flipped(estimated: Array, converted: Array, task: Task) -> int:
    """Number of labels that differ. Scores are compared as float32, the precision of the model's inputs."""
    estimated, converted = estimated.astype(np.float32), converted.astype(np.float32)
    match task:
        case Task.BINARY:
            return int(np.sum((estimated >= OPERATING_THRESHOLD) != (converted >= OPERATING_THRESHOLD)))
        case Task.MULTICLASS:
            return int(np.sum(estimated.argmax(axis=1) != converted.argmax(axis=1)))
        case Task.REGRESSION:
            return 0
