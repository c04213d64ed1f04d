"""Slices of the test window: the declared ones, and the worst that a search finds, with how many were looked at."""

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

MIN_SLICE_ROWS = 100  # of both classes together; below it a score says little
SHOWN = 5  # worst slices that are told
TESTED = 40  # worst by gap whose gap is tested; the correction counts every slice that was looked at
PAIRED_INPUTS = 5  # the most important inputs are also crossed with each other
QUARTILES = (0.25, 0.5, 0.75)
ANY_CATEGORIES = 20  # a feature with more categories is sliced by its largest

Mask = NDArray[np.bool_]


def declared_slices(
    product: ModelProduct, rows: pl.DataFrame, labels: Array, scores: Array, overall: float
) -> list[Slice]:
    """Every category of the features that a gate names, and of every categorical input with few categories."""
    declared = [(gate.feature, gate.metric) for gate in product.gates if isinstance(gate, SliceGap)]
    declared += [
        (feature.name, product.metric)
        for feature in product.inputs
        if feature.kind is FeatureKind.CATEGORICAL and rows[feature.name].n_unique() <= ANY_CATEGORIES
    ]
    found = []
    for feature_name, metric in dict.fromkeys(declared):
        whole = overall if metric == product.metric else score(metric, product.task, labels, scores)
        for category in rows[feature_name].drop_nulls().unique().sort().to_list():
            of_slice = (rows[feature_name] == category).fill_null(False).to_numpy()
            value = None
            if _can_score(metric, product.task, labels[of_slice]):
                value = score(metric, product.task, labels[of_slice], scores[of_slice])
            gap = None if value is None else METRICS[metric].gain(whole, value)
            found.append(Slice(feature_name, str(category), int(of_slice.sum()), metric, value, gap))
    return found


def worst_slices(
    product: ModelProduct,
    rows: pl.DataFrame,
    labels: Array,
    scores: Array,
    days: pl.Series,
    by_importance: Sequence[str],
) -> tuple[tuple[WorstSlice, ...], int]:
    """The slices that lose most beyond chance, and how many were looked at: every category or quartile of every input,
    and those of the most important inputs in pairs.

    by_importance: inputs, most important first. A day's rows hang together, so the gap's error comes from leaving out
    one day at a time (Efron & Tibshirani 1993, ch. 11)."""
    metric, task = product.metric, product.task
    gain = METRICS[metric].gain
    whole = score(metric, task, labels, scores)
    looked_at = [
        (name, mask)
        for name, mask in _candidates(product, rows, by_importance)
        if mask.sum() >= MIN_SLICE_ROWS and _can_score(metric, task, labels[mask])
    ]
    gaps = [(gain(whole, score(metric, task, labels[mask], scores[mask])), name, mask) for name, mask in looked_at]
    gaps.sort(key=lambda item: -item[0])
    codes = day_codes(days)
    without = [
        (kept, score(metric, task, labels[kept], scores[kept]))
        for day in range(int(codes.max()) + 1)
        if _can_score(metric, task, labels[kept := codes != day])
    ]
    found = []
    for gap, name, mask in gaps[:TESTED]:
        if gap <= 0:
            break
        left_out = [
            gain(all_of_it, score(metric, task, labels[mask & kept], scores[mask & kept]))
            for kept, all_of_it in without
            if _can_score(metric, task, labels[mask & kept])
        ]
        low, chance = _jackknife(gap, np.array(left_out), days=len(np.unique(codes[mask])))
        adjusted = None if chance is None else min(1.0, chance * len(looked_at))
        value = score(metric, task, labels[mask], scores[mask])
        found.append(WorstSlice(name, int(mask.sum()), metric, value, gap, low, adjusted))
    # several names for one lot of rows, or a part of it that is no worse, would only fill the list
    found.sort(key=lambda item: (1.0 if item.p_adjusted is None else item.p_adjusted, -item.gap))
    return tuple(found[:SHOWN]), len(looked_at)


def _jackknife(gap: float, left_out: Array, days: int) -> tuple[float | None, float | None]:
    """One-sided lower bound at 95 % and chance of the gap. days: those on which the slice has rows, which alone tell
    how much it varies; with fewer than three neither is known."""
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
    for of_one in parts.values():
        yield from of_one
    for first, second in combinations([name for name in by_importance if name in parts][:PAIRED_INPUTS], 2):
        for one, in_one in parts[first]:
            for other, in_other in parts[second]:
                yield f"{one} and {other}", in_one & in_other


def _parts(column: pl.Series, kind: FeatureKind) -> Iterator[tuple[str, Mask]]:
    name = column.name
    if column.null_count():
        yield f"{name} is null", column.is_null().to_numpy()
    known = column.drop_nulls()
    if kind is FeatureKind.CATEGORICAL:
        largest = known.value_counts(sort=True).head(ANY_CATEGORIES)[name].sort().to_list()
        for category in largest:
            yield f"{name} = {category}", (column == category).fill_null(False).to_numpy()
        return
    values = column.cast(pl.Float64).to_numpy()
    inner = (
        sorted({float(np.quantile(known.cast(pl.Float64).to_numpy(), at)) for at in QUARTILES}) if len(known) else []
    )
    for low, high in zip([-np.inf, *inner], [*inner, np.inf], strict=True) if inner else ():
        if low == -np.inf:
            said = f"{name} <= {high:.4g}"
        elif high == np.inf:
            said = f"{name} > {low:.4g}"
        else:
            said = f"{low:.4g} < {name} <= {high:.4g}"
        yield said, (values > low) & (values <= high)


def _can_score(metric: str, task: Task, labels: Array) -> bool:
    """Classes are only compared where both occur, whatever the metric."""
    is_any = task is Task.REGRESSION and metric not in COMPARING
    return len(labels) > 0 and (is_any or len(np.unique(labels)) > 1)
