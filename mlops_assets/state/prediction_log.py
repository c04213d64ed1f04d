"""Prediction log: every answer of the API, append-only."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from mlops_assets.errors import DeclarationError
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Kind
from mlops_assets.state.event_log import EventLog, LogHealth, OnDisk
from mlops_assets.state.objects import Objects
from mlops_assets.state.spool import FLOATS, MICROSECONDS, Columns, empty_rows

# in the order in which `serving.prediction_service` builds rows. prediction: probability of class 1, predicted value, or
# probability of the most likely class. label: the predicted class, null for regression. received_at, served_at: when the
# request was read, and when it was answered
_CORE = {
    "version": "integer",
    "served_at": MICROSECONDS,
    "received_at": MICROSECONDS,
    "request_id": "string",
    "trace_id": "string",
    "prediction_id": "string",
    "prediction": "float",
    "label": "string",
    "probabilities": FLOATS,
    "event_time": "timestamp",
}
Row = Sequence[object]
# values of `log_columns` in that order, in the four parts that the prediction service has: values that all rows share, columns,
# and the rest of each row in two parts. served_at and received_at are microseconds since 1970, other timestamps are datetimes
LoggedRows = tuple[Row, Sequence[Sequence[object]], Sequence[Row], Sequence[Row]]


class PredictionLog:
    """kind: "predictions", or "shadow" or "pinned", which are not traffic. limits: those of `EventLog`."""

    def __init__(self, objects: Objects, kind: str, spool: Path, **limits: Any) -> None:
        self._log = EventLog(objects, kind, spool, clock="served_at", by_row=_by_row, **limits)
        self._columns: dict[str, tuple[ModelProduct, Columns]] = {}

    @property
    def health(self) -> LogHealth:
        return self._log.health

    @property
    def last_error(self) -> str | None:
        """Why the last write failed."""
        return self._log.last_error

    def append(self, product: ModelProduct, rows: LoggedRows, on_disk: OnDisk | None = None) -> None:
        """As `EventLog.append`."""
        cached = self._columns.get(product.name)
        if cached is None or cached[0] is not product:
            cached = self._columns[product.name] = product, log_columns(product)
        self._log.append(product.name, cached[1], rows, len(rows[-1]), on_disk)

    def start(self) -> None:
        """As `EventLog.start`."""
        self._log.start()

    def flush(self) -> None:
        """Write all buffered rows to disk now; `health` shows a failure."""
        self._log.flush()

    def close(self) -> None:
        """Flush and seal."""
        self._log.close()

    def read(self, product: str, start: datetime | None = None, end: datetime | None = None) -> pl.DataFrame:
        """Rows that were served in [start, end), oldest first. Raises DataError: a file is damaged. Raises StoreError."""
        frames = self._log.read(product, start, end)
        return pl.concat([empty_rows(_CORE), *frames], how="diagonal_relaxed").sort("served_at", maintain_order=True)


def log_columns(product: ModelProduct) -> dict[str, str]:
    """Columns of the product's log and their kinds: the log's own, request columns (the event timestamp, other timestamps, the
    rest), features. A request column with the name of a feature is left out.

    Raises DeclarationError: a column of the product has the name of one of the log's own."""
    requested = [column for column in product.request_columns() if column.name not in product.feature_names]
    requested.sort(key=lambda column: (column.name != product.event_timestamp, column.kind is not Kind.TIMESTAMP))
    kinds = {column.name: str(column.kind) for column in requested}
    for feature in product.inputs:
        kinds[feature.name] = str(Kind.STRING if feature.kind is FeatureKind.CATEGORICAL else Kind.FLOAT)
    if clashing := sorted(set(kinds) & set(_CORE)):
        raise DeclarationError(
            f"{product.name}: the prediction log itself has a column {', '.join(clashing)}. Rename yours."
        )
    return {**_CORE, **kinds}


def _by_row(_: str, logged: LoggedRows) -> list[tuple[object, ...]]:
    """Raises ValueError: the parts have different numbers of rows."""
    shared, columns, first, second = logged
    parts = zip(zip(*columns, strict=True), first, second, strict=True)
    return [(*shared, *values, *one, *other) for values, one, other in parts]
