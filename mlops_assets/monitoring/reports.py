"""Reports that people look at: Evidently's plots of a sample, under the very reading that the sensor acts on."""

import base64
import functools
import gzip
import json
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from mlops_assets.data.profile import Table
from mlops_assets.monitoring.decision import band_of
from mlops_assets.monitoring.drift import DriftReading
from mlops_assets.monitoring.performance import PerformanceReading
from mlops_assets.products.feature_view import Feature, FeatureKind
from mlops_assets.products.policy import Action, DriftPolicy
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from mlops_assets.stores.files import write_bytes

if TYPE_CHECKING:
    from evidently import Dataset

ROW = "__row"
SAMPLE_ROWS = 2_000  # a side: Evidently's time and size grow with the rows


@contextmanager
def _evidently() -> Iterator[None]:
    """Evidently may be imported and run in here: it reports nothing home, and its own deprecations are not ours."""
    os.environ["DO_NOT_TRACK"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@_evidently()
def render_drift_report(
    reference: Table, current: Table, product: ModelProduct, reading: DriftReading, path: str
) -> None:
    """Write one HTML page with the reading of every feature and the distributions of a sample of both windows.

    reference, current: the product's features; other columns are ignored. Raises OSError: `path` cannot be written."""
    from evidently import DataDefinition

    (before, of_before), (after, of_after) = _sample(reference, product.seed), _sample(current, product.seed)
    drawn = [feature for feature in product.inputs if all(_can_be_drawn(side, feature) for side in (before, after))]
    left_out = [feature.name for feature in product.inputs if feature not in drawn]
    notes = [f"Read from all {reading.rows:,} rows against the champion's training window: {reading.reason}."]
    notes.append(_sample_note(("current", after, of_after), ("reference", before, of_before)))
    if left_out:
        notes.append(f"Not drawn, because a side has no values or another type: {', '.join(left_out)}.")
    panel = _panel(
        title=f"{product.name}: data drift",
        value=reading.percent,
        counters=[
            ("percent of rows that moved", _percent(reading.percent)),
            ("95 % interval", _interval(reading.low, reading.high)),
            ("in feature", reading.feature or "none"),
            ("smallest detectable in it", _percent(_smallest_detectable(reading))),
            ("prediction drift", _percent(reading.prediction.percent if reading.prediction is not None else None)),
            ("reading", reading.state.value),
        ],
        notes=notes,
        columns=["feature", "moved", "interval", "read in", "smallest detectable", "role", "acts", "note"],
        rows=[
            [
                feature.name,
                _percent(feature.percent),
                _interval(feature.low, feature.high),
                feature.by,
                _percent(feature.smallest_detectable),
                feature.role,
                "yes" if feature.acts else "no",
                feature.note,
            ]
            for feature in sorted(reading.features, key=lambda feature: (not feature.acts, -feature.percent))
        ],
    )
    numbers = [feature.name for feature in drawn if feature.kind is FeatureKind.NUMERIC]
    categories = [feature.name for feature in drawn if feature.kind is FeatureKind.CATEGORICAL]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=categories)
    plots = [_distributions([*numbers, *categories], reading, product.drift)] if drawn else []
    _write(
        [panel, *plots],
        _dataset(after.select(*numbers, *categories), definition),
        _dataset(before.select(*numbers, *categories), definition),
        path,
    )


@_evidently()
def render_performance_report(
    scored: pl.DataFrame,
    reference_scored: pl.DataFrame | None,
    product: ModelProduct,
    reading: PerformanceReading,
    path: str,
) -> None:
    """Write one HTML page with the champion's score against its test report and the plots of a sample.

    scored: columns `label`, `score`, as in `measure_performance`; rows without a label are left out.
    reference_scored: the same for the champion's test window. Raises OSError: `path` cannot be written."""
    known = _labelled(scored)
    sides = [("current", *_sample(known, product.seed))]
    if reference_scored is not None and _labelled(reference_scored).height:
        expected = _labelled(reference_scored)
        sides.append(("reference", *_sample(expected, product.seed)))
    can_draw = all(_has_outcomes(sample, product.task) for _, sample, _ in sides)
    notes = [f"Read from all {reading.labelled:,} labelled rows of {reading.rows:,}: {reading.reason}."]
    notes.append(_sample_note(*sides) if can_draw else "Not drawn, because a side lacks labels of every kind.")
    panel = _panel(
        title=f"{product.name}: performance of the champion",
        value=reading.value,
        counters=[
            (reading.metric, _number(reading.value)),
            ("95 % interval", _interval(reading.low, reading.high, _number)),
            ("in its test report", _number(reading.expected)),
            ("lost, percent", _percent(reading.loss_percent)),
            ("interval of the loss", _interval(reading.loss_low, reading.loss_high)),
            ("what it varies by itself", _percent(reading.natural_percent)),
            ("periods pooled", str(reading.periods)),
            ("label drift", _percent(reading.label.percent if reading.label is not None else None)),
            ("reading", reading.state.value),
        ],
        notes=notes,
        columns=[],
        rows=[],
    )
    tables = [_outcomes(sample, product.task) for _, sample, _ in sides]
    definition, plots = _quality(tables[0], product.task)
    datasets = [_dataset(table, definition) for table in tables]
    _write([panel, *(plots if can_draw else [])], datasets[0], datasets[1] if len(datasets) > 1 else None, path)


def _sample(rows: Table, seed: int) -> tuple[pl.DataFrame, int]:
    """Some rows and how many there are; a table on disk is never read whole."""
    lazy = rows.lazy()
    count = int(lazy.select(pl.len()).collect(engine="streaming").item())
    if count <= SAMPLE_ROWS:
        return lazy.collect(), count
    chosen = np.sort(np.random.default_rng(seed).choice(count, SAMPLE_ROWS, replace=False))
    numbered = lazy.with_row_index(ROW).filter(pl.col(ROW).is_in(pl.Series(chosen, dtype=pl.UInt32).implode()))
    return numbered.drop(ROW).collect(engine="streaming"), count


def _smallest_detectable(reading: DriftReading) -> float | None:
    """Of the feature behind the reading, else of the sharpest that acts."""
    acting = [item for item in reading.features if item.acts and reading.feature in ("", item.name)]
    return min((item.smallest_detectable for item in acting), default=None)


def _sample_note(*sides: tuple[str, pl.DataFrame, int]) -> str:
    shown = ", ".join(f"{sample.height:,} of {rows:,} {name} rows" for name, sample, rows in sides)
    is_sample = any(sample.height < rows for _, sample, rows in sides)
    return f"The plots below show {'a random sample: ' if is_sample else ''}{shown}."


def _can_be_drawn(rows: pl.DataFrame, feature: Feature) -> bool:
    if feature.name not in rows.columns:
        return False
    column = rows[feature.name]
    if feature.kind is FeatureKind.NUMERIC:
        return column.dtype.is_numeric() and bool(column.is_finite().any())
    return column.dtype in (pl.String, pl.Categorical, pl.Enum) and column.null_count() < len(column)


def _labelled(scored: pl.DataFrame) -> pl.DataFrame:
    return scored.select(pl.col("label").cast(pl.Float64).fill_nan(None), pl.col("score")).drop_nulls()


def _has_outcomes(rows: pl.DataFrame, task: Task) -> bool:
    return rows.height > 1 if task is Task.REGRESSION else rows["label"].n_unique() > 1


def _outcomes(rows: pl.DataFrame, task: Task) -> pl.DataFrame:
    """Columns as Evidently names them: label, score, for multiclass one probability column per class."""
    if task is Task.REGRESSION:
        return rows
    if task is Task.BINARY:
        return rows.with_columns(pl.col("label").cast(pl.Int64))
    scores = np.array(rows["score"].to_list(), dtype=np.float64).reshape(rows.height, -1)
    return rows.select(
        pl.col("label").cast(pl.Int64).cast(pl.String),
        pl.Series("predicted", scores.argmax(axis=1) if scores.size else [], dtype=pl.Int64).cast(pl.String),
        *(pl.Series(str(index), column) for index, column in enumerate(scores.T)),
    )


def _quality(rows: pl.DataFrame, task: Task) -> tuple[Any, list[Any]]:
    """Evidently's data definition and preset for this kind of prediction."""
    from evidently import BinaryClassification, DataDefinition, MulticlassClassification, Regression
    from evidently.presets import ClassificationPreset, RegressionPreset

    if task is Task.REGRESSION:
        regression = [Regression(target="label", prediction="score")]
        return DataDefinition(numerical_columns=["label", "score"], regression=regression), [RegressionPreset()]
    if task is Task.BINARY:
        binary = [BinaryClassification(target="label", prediction_probas="score", pos_label=1)]
        definition = DataDefinition(numerical_columns=["score"], categorical_columns=["label"], classification=binary)
        return definition, [ClassificationPreset()]
    classes = [name for name in rows.columns if name not in ("label", "predicted")]
    multiclass = [MulticlassClassification(target="label", prediction_labels="predicted", prediction_probas=classes)]
    definition = DataDefinition(
        numerical_columns=classes, categorical_columns=["label", "predicted"], classification=multiclass
    )
    return definition, [ClassificationPreset()]


def _dataset(rows: pl.DataFrame, definition: Any) -> "Dataset":
    from evidently import Dataset

    finite = rows.with_columns(
        pl.when(pl.col(name).is_finite()).then(pl.col(name)) for name, kind in rows.schema.items() if kind.is_float()
    )
    return Dataset.from_pandas(finite.to_pandas(), data_definition=definition)


def _distributions(columns: Sequence[str], reading: DriftReading, policy: DriftPolicy) -> Any:
    """Evidently's table of distributions with our percent in place of its statistical test: no two numbers differ."""
    from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    readings = {feature.name: feature for feature in reading.features}

    def percent_moved(reference: Any, current: Any, kind: Any, threshold: float) -> tuple[float, bool]:
        feature = readings[str(current.name)]
        is_detected = feature.acts and band_of(feature.percent, policy) in (Action.RETRAIN, Action.REWORK)
        return round(feature.percent, 1), is_detected

    test = StatTest("percent_moved", "percent of rows moved", [ColumnType.Numerical, ColumnType.Categorical])
    register_stattest(test, percent_moved)
    return _distributions_only()(columns=list(columns), method=test, include_tests=False)


@functools.cache
def _distributions_only() -> Any:
    """Evidently's drift preset without its verdict on the whole data set, which knows nothing of our policy."""
    from evidently.presets import DataDriftPreset

    class Distributions(DataDriftPreset):  # type: ignore[misc]  # Evidently is untyped
        def render(self, context: Any, child_widgets: Any = None) -> list[Any]:
            tables = [widget for widget in super().render(context, child_widgets) if widget.type == "big_table"]
            for table in tables:
                table.title = "Distributions in the sample"
            return tables

    return Distributions


@functools.cache
def _reading_metric() -> Any:
    """Evidently's way to show a number of our own: a metric whose value is the reading."""
    from evidently.core.metric_types import SingleValue, SingleValueCalculation, SingleValueMetric
    from evidently.legacy.renderers.html_widgets import CounterData, counter, table_data, text_widget

    class ReadingShown(SingleValueMetric):  # type: ignore[misc]  # Evidently is untyped
        title: str
        value: float
        counters: list[list[str]]
        notes: list[str]
        columns: list[str]
        rows: list[list[str]]

    class ReadingCalculation(SingleValueCalculation[ReadingShown]):  # type: ignore[misc]  # as above
        def calculate(self, context: Any, current_data: Any, reference_data: Any) -> SingleValue:
            shown = self.metric
            result = self.result(shown.value)
            result.widget = [
                counter(title=shown.title, counters=[CounterData(label, text) for label, text in shown.counters]),
                text_widget(text="\n\n".join(shown.notes)),
            ]
            if shown.rows:
                result.widget.append(table_data(title="Readings", column_names=shown.columns, data=shown.rows))
            return result

        def display_name(self) -> str:
            return str(self.metric.title)

    return ReadingShown


def _panel(
    *,
    title: str,
    value: float | None,
    counters: Sequence[tuple[str, str]],
    notes: Sequence[str],
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
) -> Any:
    return _reading_metric()(
        title=title,
        value=math.nan if value is None else value,
        counters=[list(pair) for pair in counters],
        notes=list(notes),
        columns=list(columns),
        rows=[list(row) for row in rows],
    )


def _write(items: Sequence[Any], current: "Dataset", reference: "Dataset | None", path: str) -> None:
    from evidently import Report

    snapshot = Report(list(items), include_tests=False).run(current, reference)
    write_bytes(Path(path), _self_extracting(snapshot.get_html_str(as_iframe=False)).encode())


def _self_extracting(page: str) -> str:
    """The page, compressed, in a page that unpacks it: Evidently puts 3.5 MB of script into each report."""
    packed = base64.b64encode(gzip.compress(page.encode(), 9, mtime=0)).decode()
    return _LOADER.replace("PACKED", json.dumps(packed))


_LOADER = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Report</title></head>
<body><noscript>This report needs JavaScript.</noscript>
<script>
(async () => {
  const bytes = Uint8Array.from(atob(PACKED), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const page = await new Response(unpacked).text();
  document.open();
  document.write(page);
  document.close();
})();
</script></body></html>
"""


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} %"


def _interval(low: float | None, high: float | None, text: Callable[[float | None], str] = _percent) -> str:
    return "unknown" if low is None or high is None else f"{text(low).removesuffix(' %')} to {text(high)}"
