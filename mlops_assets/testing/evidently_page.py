"""An Evidently page in one file: a panel with our own numbers on top, Evidently's plots of a sample below."""

import base64
import functools
import gzip
import json
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from mlops_assets.drift.profile import Table
from mlops_assets.products.task import Task

if TYPE_CHECKING:
    from evidently import Dataset

ROW = "__row"
_LESS_THAN = "\ue000"  # private-use character that replaces "<" in data until the page is written
SAMPLE_ROWS = 2_000  # per side, because Evidently's time and file size grow with the rows


@contextmanager
def evidently() -> Iterator[None]:
    """Import and run Evidently inside this context: its telemetry is off, and its own deprecation warnings are hidden."""
    os.environ["DO_NOT_TRACK"] = "1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def sample(rows: Table, seed: int) -> tuple[pl.DataFrame, int]:
    """A random sample of the rows, and how many rows there are; a table on disk is never read whole."""
    lazy = rows.lazy()
    count = int(lazy.select(pl.len()).collect(engine="streaming").item())
    if count <= SAMPLE_ROWS:
        return lazy.collect(), count
    chosen = np.sort(np.random.default_rng(seed).choice(count, SAMPLE_ROWS, replace=False))
    numbered = lazy.with_row_index(ROW).filter(pl.col(ROW).is_in(pl.Series(chosen, dtype=pl.UInt32).implode()))
    return numbered.drop(ROW).collect(engine="streaming"), count


def outcomes(rows: pl.DataFrame, task: Task) -> pl.DataFrame:
    """Columns as Evidently expects them: label, score and, for multiclass, the predicted class and one probability per class."""
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


def quality(rows: pl.DataFrame, task: Task) -> tuple[Any, list[Any]]:
    """Evidently's data definition and presets for this task."""
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


def dataset(rows: pl.DataFrame, definition: Any) -> "Dataset":
    from evidently import Dataset

    finite = rows.with_columns(
        pl.when(pl.col(name).is_finite()).then(pl.col(name)) for name, kind in rows.schema.items() if kind.is_float()
    ).with_columns(
        pl.col(name).cast(pl.String).str.replace_all("<", _LESS_THAN, literal=True)
        for name, kind in rows.schema.items()
        if kind in (pl.String, pl.Categorical, pl.Enum)
    )
    return Dataset.from_pandas(finite.to_pandas(), data_definition=definition)


@functools.cache
def _reading_metric() -> Any:
    """An Evidently metric whose value is our own reading, so that Evidently shows the number."""
    from evidently.core.metric_types import SingleValue, SingleValueCalculation, SingleValueMetric
    from evidently.legacy.renderers.html_widgets import CounterData, counter, table_data, text_widget

    class ReadingMetric(SingleValueMetric):  # type: ignore[misc]  # Evidently is untyped
        title: str
        value: float
        counters: list[list[str]]
        notes: list[str]
        columns: list[str]
        rows: list[list[str]]

    class ReadingCalculation(SingleValueCalculation[ReadingMetric]):  # type: ignore[misc]  # as above
        def calculate(self, context: Any, current_data: Any, reference_data: Any) -> SingleValue:
            metric = self.metric
            result = self.result(metric.value)
            result.widget = [
                counter(title=metric.title, counters=[CounterData(label, text) for label, text in metric.counters]),
                text_widget(text="\n\n".join(metric.notes)),
            ]
            if metric.rows:
                result.widget.append(table_data(title="Readings", column_names=metric.columns, data=metric.rows))
            return result

        def display_name(self) -> str:
            return str(self.metric.title)

    return ReadingMetric


def panel(
    *,
    title: str,
    value: float | None,
    counters: Sequence[tuple[str, str]],
    notes: Sequence[str],
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
) -> Any:
    return _reading_metric()(
        title=_without_less_than(title),
        value=math.nan if value is None else value,
        counters=[list(map(_without_less_than, pair)) for pair in counters],
        notes=list(map(_without_less_than, notes)),
        columns=list(map(_without_less_than, columns)),
        rows=[list(map(_without_less_than, row)) for row in rows],
    )


def write_page(items: Sequence[Any], current: "Dataset", reference: "Dataset | None", path: str) -> None:
    from evidently import Report

    snapshot = Report(list(items), include_tests=False).run(current, reference)
    Path(path).write_text(_self_extracting(_escaped(snapshot.get_html_str(as_iframe=False))))


def _without_less_than(text: str) -> str:
    return text.replace("<", _LESS_THAN)


def _escaped(page: str) -> str:
    """Writes "<" of data as a JavaScript escape: Evidently puts data unescaped into a script, and a category could end it.

    Evidently writes the private-use character itself or its JSON escape, also in JSON within JSON."""
    return page.replace(_LESS_THAN, "\\u003c").replace("\\ue000", "\\u003c")


def _self_extracting(page: str) -> str:
    """The compressed page in a page that unpacks it, because Evidently puts 3.5 MB of script into each report."""
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


def number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
