"""HTML reports: the reading that the sensor acts on, and Evidently's plots of a sample below it."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from mlops_assets.drift.profile import Table
from mlops_assets.monitoring.decision import band_of
from mlops_assets.products.feature_view import Feature, FeatureKind
from mlops_assets.products.policy import Action, DriftPolicy
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task
from mlops_assets.records.readings import DriftReading, PerformanceReading
from mlops_assets.testing.evidently_page import dataset, evidently, number, outcomes, panel, quality, sample, write_page


@evidently()
def render_drift_report(
    reference: Table, current: Table, product: ModelProduct, reading: DriftReading, path: str
) -> None:
    """Write one HTML page with the reading of every feature and the distributions of a sample of both windows.

    reference, current: the product's features; other columns are ignored. Raises OSError if `path` cannot be written."""
    from evidently import DataDefinition

    (before, rows_before), (after, rows_after) = sample(reference, product.seed), sample(current, product.seed)
    drawn = [feature for feature in product.inputs if all(_can_be_drawn(side, feature) for side in (before, after))]
    left_out = [feature.name for feature in product.inputs if feature not in drawn]
    notes = [f"The reading uses all {reading.rows:,} rows, against the champion's training window: {reading.reason}."]
    notes.append(_sample_note(("current", after, rows_after), ("reference", before, rows_before)))
    if left_out:
        notes.append(f"Not drawn, because one side has no values or another type: {', '.join(left_out)}.")
    top = panel(
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
        columns=["feature", "moved", "interval", "read in", "smallest detectable", "role", "actionable", "note"],
        rows=[
            [
                feature.name,
                _percent(feature.percent),
                _interval(feature.low, feature.high),
                feature.read_in,
                _percent(feature.smallest_detectable),
                feature.role,
                "yes" if feature.is_actionable else "no",
                feature.note,
            ]
            for feature in sorted(reading.features, key=lambda feature: (not feature.is_actionable, -feature.percent))
        ],
    )
    numbers = [feature.name for feature in drawn if feature.kind is FeatureKind.NUMERIC]
    categories = [feature.name for feature in drawn if feature.kind is FeatureKind.CATEGORICAL]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=categories)
    plots = [_distributions([*numbers, *categories], reading, product.drift)] if drawn else []
    write_page(
        [top, *plots],
        dataset(after.select(*numbers, *categories), definition),
        dataset(before.select(*numbers, *categories), definition),
        path,
    )


@evidently()
def render_performance_report(
    scored: pl.DataFrame,
    reference_scored: pl.DataFrame | None,
    product: ModelProduct,
    reading: PerformanceReading,
    path: str,
) -> None:
    """Write one HTML page with the champion's score against its test report and the plots of a sample.

    scored: columns `label`, `score`, as in `measure_performance`; rows without a label are left out.
    reference_scored: the same for the champion's test window. Raises OSError if `path` cannot be written."""
    sides = [("current", *sample(_labelled(scored), product.seed))]
    if reference_scored is not None and _labelled(reference_scored).height:
        sides.append(("reference", *sample(_labelled(reference_scored), product.seed)))
    can_draw = all(_has_outcomes(sample, product.task) for _, sample, _ in sides)
    notes = [f"The reading uses all {reading.labelled:,} labelled rows of {reading.rows:,}: {reading.reason}."]
    notes.append(
        _sample_note(*sides) if can_draw else "Not drawn, because one side does not have enough different labels."
    )
    top = panel(
        title=f"{product.name}: performance of the champion",
        value=reading.value,
        counters=[
            (reading.metric, number(reading.value)),
            ("95 % interval", _interval(reading.low, reading.high, number)),
            ("in its test report", number(reading.expected)),
            ("lost, percent", _percent(reading.loss_percent)),
            ("interval of the loss", _interval(reading.loss_low, reading.loss_high)),
            ("natural spread of the loss", _percent(reading.natural_percent)),
            ("periods pooled", str(reading.periods)),
            ("label drift", _percent(reading.label.percent if reading.label is not None else None)),
            ("reading", reading.state.value),
        ],
        notes=notes,
        columns=[],
        rows=[],
    )
    tables = [outcomes(sample, product.task) for _, sample, _ in sides]
    definition, plots = quality(tables[0], product.task)
    datasets = [dataset(table, definition) for table in tables]
    write_page([top, *(plots if can_draw else [])], datasets[0], datasets[1] if len(datasets) > 1 else None, path)


def _smallest_detectable(reading: DriftReading) -> float | None:
    """Of the feature behind the reading or, if nothing moved, of the most sensitive actionable feature."""
    actionable = [item for item in reading.features if item.is_actionable and reading.feature in ("", item.name)]
    return min((item.smallest_detectable for item in actionable), default=None)


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


def _distributions(columns: Sequence[str], reading: DriftReading, policy: DriftPolicy) -> Any:
    """Evidently's table of distributions with our percent in place of its statistical test, so that all numbers agree."""
    from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    readings = {feature.name: feature for feature in reading.features}

    def percent_moved(reference: Any, current: Any, kind: Any, threshold: float) -> tuple[float, bool]:
        feature = readings[str(current.name)]
        is_detected = feature.is_actionable and band_of(feature.percent, policy) in (Action.RETRAIN, Action.REWORK)
        return round(feature.percent, 1), is_detected

    test = StatTest("percent_moved", "percent of rows moved", [ColumnType.Numerical, ColumnType.Categorical])
    register_stattest(test, percent_moved)
    return _distributions_only()(columns=list(columns), method=test, include_tests=False)


@functools.cache
def _distributions_only() -> Any:
    """Evidently's drift preset without its verdict on the whole data set, which ignores our policy."""
    from evidently.presets import DataDriftPreset

    class Distributions(DataDriftPreset):  # type: ignore[misc]  # Evidently is untyped
        def render(self, context: Any, child_widgets: Any = None) -> list[Any]:
            tables = [widget for widget in super().render(context, child_widgets) if widget.type == "big_table"]
            for table in tables:
                table.title = "Distributions in the sample"
            return tables

    return Distributions


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} %"


def _interval(low: float | None, high: float | None, text: Callable[[float | None], str] = _percent) -> str:
    return "unknown" if low is None or high is None else f"{text(low).removesuffix(' %')} to {text(high)}"
