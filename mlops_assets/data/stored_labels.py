"""Stores the labels of a period that are known by now, from the source and from what clients reported to the API."""

from typing import NamedTuple

import polars as pl

from mlops_assets.data.labels import LABEL, WithReportedLabels, known_labels, with_reported_labels
from mlops_assets.state.workspace import ProductState


class StoredLabels(NamedTuple):
    """version: of the stored data. without_outcome: rows whose outcome never came. waiting: rows whose outcome is not known yet.
    reported: labels that clients reported and that fill in; corrected: reports of another value than an earlier one;
    ambiguous: reports of an id that stands for several rows, of which none is taken."""

    version: str
    labels: pl.DataFrame
    without_outcome: int
    waiting: int
    reported: int
    corrected: int
    ambiguous: int

    @property
    def mean(self) -> float | None:
        """None where labels are classes, or none is known."""
        values = self.labels[LABEL]
        mean = values.mean() if values.dtype.is_numeric() else None
        return float(mean) if isinstance(mean, float) else None


def store_labels(state: ProductState, period_key: str) -> StoredLabels:
    """Raises PartitionMissing: the main table was never stored for the period."""
    product = state.product
    rows, period = state.tables.read("raw", [period_key]), product.period.at(period_key)
    of_source = known_labels(product, rows.lazy(), state.clock.now())
    reports = state.labels.read(product.name, period.start)
    filled = WithReportedLabels(of_source, 0, 0)
    if not reports.is_empty():
        logged = state.predictions.read(product.name, period.start - product.serving.asked_ahead)
        filled = with_reported_labels(product, of_source, rows, logged, reports)
    return StoredLabels(
        version=state.tables.write("labels", period_key, filled.labels),
        labels=filled.labels,
        without_outcome=filled.labels[LABEL].null_count(),
        waiting=rows.height - filled.labels.height,
        reported=filled.taken,
        corrected=int(reports["is_corrected"].sum()),
        ambiguous=filled.ambiguous,
    )
