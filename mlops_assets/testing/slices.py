"""Slices of the test window: the declared ones, and the worst of a search over all inputs."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.gates import SliceGap
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import METRICS, Task
from mlops_assets.records.testing import Slice, WorstSlice
from mlops_assets.training.bootstrap import day_codes
from mlops_assets.training.metrics import COMPARING, Array, score

MIN_SLICE_ROWS = 100  # of both classes together; the score of a smaller slice is mostly noise
SHOWN = 5  # worst slices in the report
TESTED = 40  # slices with the largest gaps are tested; the correction counts every examined slice
PAIRED_INPUTS = 5  # the most important inputs are also sliced in pairs
QUARTILES = (0.25, 0.5, 0.75)
MAX_CATEGORIES = 20  # a feature with more categories is sliced by its most frequent ones

Mask = NDArray[np.bool_]


def declared_slices(
    product: ModelProduct, rows: pl.DataFrame, labels: Array, scores: Array, overall: float
) -> list[Slice]:
    """One slice per category of the features that a gate names, and of every categorical input with few categories."""
    declared = [(gate.feature, gate.metric) for gate in product.gates if isinstance(gate, SliceGap)]
    declared += [
        (feature.name, product.metric)
        for feature in product.inputs
        if feature.kind is FeatureKind.CATEGORICAL and rows[feature.name].n_unique() <= MAX_CATEGORIES
    ]
    slices = []
    for feature_name, metric in dict.fromkeys(declared):
        whole = overall if metric == product.metric else score(metric, product.task, labels, scores)
        for category in rows[feature_name].drop_nulls().unique().sort().to_list():
            mask = (rows[feature_name] == category).fill_null(False).to_numpy()
            value = None
            if _can_score(metric, product.task, labels[mask]):
                value = score(metric, product.task, labels[mask], scores[mask])
            gap = None if value is None else METRICS[metric].gain(whole, value)
            slices.append(Slice(feature_name, str(category), int(mask.sum()), metric, value, gap))
    return slices


def worst_slices(
    product: ModelProduct,
    rows: pl.DataFrame,
    labels: Array,
    scores: Array,
    days: pl.Series,
    by_importance: Sequence[str],
) -> tuple[tuple[WorstSlice, ...], int]:
    """The slices that score worst beyond chance, and how many were examined: every category or quartile of every input, and
    pairs of those for the most important inputs.

    by_importance: inputs, most important first. Rows of one day are not independent, so the gap's standard error comes from
    leaving out one day at a time (Efron & Tibshirani 1993, ch. 11)."""
    metric, task = product.metric, product.task
    gain = METRICS[metric].gain
    whole = score(metric, task, labels, scores)
    examined = [
        (name, mask)
        for name, mask in _candidates(product, rows, by_importance)
        if mask.sum() >= MIN_SLICE_ROWS and _can_score(metric, task, labels[mask])
    ]
    gaps = [(gain(whole, score(metric, task, labels[mask], scores[mask])), name, mask) for name, mask in examined]
    gaps.sort(key=lambda item: -item[0])
    codes = day_codes(days)
    without_day = [
        (kept, score(metric, task, labels[kept], scores[kept]))
        for day in range(int(codes.max()) + 1)
        if _can_score(metric, task, labels[kept := codes != day])
    ]
    worst = []
    for gap, name, mask in gaps[:TESTED]:
        if gap <= 0:
            break
        left_out = [
            gain(whole_without_day, score(metric, task, labels[mask & kept], scores[mask & kept]))
            for kept, whole_without_day in without_day
            if _can_score(metric, task, labels[mask & kept])
        ]
        low, chance = _jackknife(gap, np.array(left_out), days=len(np.unique(codes[mask])))
        adjusted = None if chance is None else min(1.0, chance * len(examined))
        value = score(metric, task, labels[mask], scores[mask])
        worst.append(WorstSlice(name, int(mask.sum()), metric, value, gap, low, adjusted))
    worst.sort(key=lambda item: (1.0 if item.p_adjusted is None else item.p_adjusted, -item.gap))
    return tuple(worst[:SHOWN]), len(examined)


def _jackknife(gap: float, left_out: Array, days: int) -> tuple[float | None, float | None]:
    """One-sided 95 % lower bound and probability of the gap. days: number of days on which the slice has rows; with fewer
    than three its variation is unknown, and both are None."""
    from scipy import stats

    if days < 3:
        return None, None
    count = len(left_out)
    error = float(np.sqrt((count - 1) / count * np.sum((left_out - left_out.mean()) ** 2)))
    if error == 0:
        return gap, 0.0
    return gap - float(stats.t.ppf(0.95, days - 1)) * error, float(stats.t.sf(gap / error, days - 1))


def _candidates(product: ModelProduct, rows: pl.DataFrame, by_importance: Sequence[str]) -> Iterator[tuple[str, Mask]]:
    parts = {feature.name: list(_parts(rows[feature.name], feature.kind)) for feature in product.inputs}
    for slices in parts.values():
        yield from slices
    for first, second in combinations([name for name in by_importance if name in parts][:PAIRED_INPUTS], 2):
        for one, mask in parts[first]:
            for other, other_mask in parts[second]:
                yield f"{one} and {other}", mask & other_mask


def _parts(column: pl.Series, kind: FeatureKind) -> Iterator[tuple[str, Mask]]:
    name = column.name
    if column.null_count():
        yield f"{name} is null", column.is_null().to_numpy()
    present = column.drop_nulls()
    if kind is FeatureKind.CATEGORICAL:
        largest = present.value_counts(sort=True).head(MAX_CATEGORIES)[name].sort().to_list()
        for category in largest:
            yield f"{name} = {category}", (column == category).fill_null(False).to_numpy()
        return
    values = column.cast(pl.Float64).to_numpy()
    numbers = present.cast(pl.Float64).to_numpy()
    edges = sorted({float(np.quantile(numbers, at)) for at in QUARTILES}) if len(numbers) else []
    for low, high in zip([-np.inf, *edges], [*edges, np.inf], strict=True) if edges else ():
        if low == -np.inf:
            description = f"{name} <= {high:.4g}"
        elif high == np.inf:
            description = f"{name} > {low:.4g}"
        else:
            description = f"{low:.4g} < {name} <= {high:.4g}"
        yield description, (values > low) & (values <= high)


def _can_score(metric: str, task: Task, labels: Array) -> bool:
    """A classifier is scored only on rows of more than one class, whatever the metric."""
    needs_no_contrast = task is Task.REGRESSION and metric not in COMPARING
    return len(labels) > 0 and (needs_no_contrast or len(np.unique(labels)) > 1)
