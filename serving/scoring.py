"""Typed rows to scores: request features, looked-up features, the model's matrix, and what was missing on the way."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from msgspec import UNSET
from numpy.typing import NDArray

from mlops_assets.products.feature_view import Feature, FeatureKind, FeatureView
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.request_features import request_features
from mlops_assets.products.source import Kind
from mlops_assets.stores.dtypes import DTYPES, microseconds
from mlops_assets.stores.model_bundle import Bundle
from mlops_assets.stores.online_store import LookedUp, OnlineStore
from serving.errors import UnusableScore
from serving.schemas import RowStruct, RowWarning, Value

FEW_ROWS = 64  # up to here a data frame costs more than it saves
_REMEDIES = {
    "missing": "the online store holds nothing for {key}",
    "stale": "what the online store holds for {key} was not valid at the row's event timestamp",
    "unavailable": "the online store could not be read",
}


@dataclass(frozen=True)
class Scored:
    """scores: (n,) or, for multiclass, (n, classes). values: request columns and features as served, by row."""

    scores: NDArray[np.float32]
    warnings: list[tuple[RowWarning, ...]]
    values: list[dict[str, Value]]


class Scorer:
    """Features and scores of one product's rows; the same whether they come one by one or together."""

    def __init__(self, product: ModelProduct, online: OnlineStore) -> None:
        self._product = product
        self._online = online
        self._columns = product.request_columns()
        self._thread = threading.local()
        self._requested = [
            pl.col(feature.name).cast(_dtype(feature))
            for view in product.features
            if not view.is_lookup
            for feature in view.features
        ]

    def score(self, bundle: Bundle, rows: Sequence[RowStruct]) -> Scored:
        """Raises UnusableScore: the model answered with NaN or infinity."""
        values = self._request_features(rows)
        warnings = [
            (*self._look_up(row, of_row), *_unknown_categories(bundle, of_row))
            for row, of_row in zip(rows, values, strict=True)
        ]
        scores = bundle.score(self._matrix(bundle, values))
        if not np.isfinite(scores).all():
            number = int(np.argwhere(~np.isfinite(scores))[0][0])
            raise UnusableScore(
                f"version {bundle.manifest.version} of {self._product.name} answers row {number} with no number. "
                "Roll back to an earlier version, or retrain with a recipe that takes missing values."
            )
        return Scored(scores, warnings, values)

    def _request_features(self, rows: Sequence[RowStruct]) -> list[dict[str, Value]]:
        """Request columns and features. The plan is made once a thread: that costs three times what running it does."""
        if not hasattr(self._thread, "plan"):
            slot: list[pl.DataFrame] = [pl.DataFrame()]
            schema = {column.name: DTYPES[column.kind] for column in self._columns}
            plan = request_features(self._product, pl.defer(lambda: slot[0], schema=schema))
            self._thread.slot, self._thread.plan = slot, plan.with_columns(self._requested)
        self._thread.slot[0] = self._frame(rows)
        featured: pl.DataFrame = self._thread.plan.collect(engine="in-memory")
        return featured.to_dicts()

    def _frame(self, rows: Sequence[RowStruct]) -> pl.DataFrame:
        columns = []
        for column in self._columns:
            values = [getattr(row, column.name) for row in rows]
            if column.kind is Kind.TIMESTAMP:
                instants = [None if moment is None else microseconds(moment) for moment in values]
                # rows may come in different zones, a column has one
                columns.append(pl.Series(column.name, instants, pl.Int64).cast(DTYPES[column.kind]))
            else:
                columns.append(pl.Series(column.name, values, DTYPES[column.kind]))
        return pl.DataFrame(columns)

    def _matrix(self, bundle: Bundle, values: list[dict[str, Value]]) -> NDArray[np.float32]:
        if len(values) <= FEW_ROWS:
            return np.array([bundle.encode_row(of_row) for of_row in values], dtype=np.float32)  # type: ignore[arg-type]
        schema = {feature.name: _dtype(feature) for feature in self._product.inputs}
        return bundle.encode(
            pl.DataFrame({name: [of_row[name] for of_row in values] for name in schema}, schema=schema)
        )

    def _look_up(self, row: RowStruct, values: dict[str, Value]) -> Iterator[RowWarning]:
        """Add the looked-up features: what the request gives, else what the online store held at the event."""
        for view in self._product.lookups:
            # a feature that shares its name with a request column has no field of its own
            given: dict[str, Any] = {name: getattr(row, name, UNSET) for name in view.names}
            absent = tuple(name for name, value in given.items() if value is UNSET)
            if absent:
                key = [values[name] for name in view.key]
                found = self._read(view, key, getattr(row, self._product.event_timestamp))
                given |= {name: found.values.get(name) for name in absent}
                if found.state != "found":
                    yield _lookup_warning(view, key, absent, found.state)
            for feature in view.features:
                value = given[feature.name]
                is_text = feature.kind is FeatureKind.CATEGORICAL
                values[feature.name] = None if value is None else str(value) if is_text else float(value)

    def _read(self, view: FeatureView, key: Sequence[object], at: datetime) -> LookedUp:
        try:
            return self._online.read(self._product.name, view, key, at)
        except sqlite3.Error:
            # an outage of the store costs features, not answers; the row's warning says so
            return LookedUp(dict.fromkeys(view.names), "unavailable")


def _dtype(feature: Feature) -> type[pl.DataType]:
    return pl.String if feature.kind is FeatureKind.CATEGORICAL else pl.Float64


def _unknown_categories(bundle: Bundle, values: dict[str, Value]) -> Iterator[RowWarning]:
    for name in bundle.unknown_categories(values):  # type: ignore[arg-type]
        message = f"version {bundle.manifest.version} never saw {name} {values[name]!r} when it was trained"
        yield RowWarning("unknown category", (name,), message)


def _lookup_warning(view: FeatureView, key: Sequence[object], names: tuple[str, ...], state: str) -> RowWarning:
    key_text = ", ".join(
        f"{name}={part:g}" if isinstance(part, float) else f"{name}={part}"
        for name, part in zip(view.key, key, strict=True)
    )
    message = f"{view.name}: {_REMEDIES[state].format(key=key_text)}; null was used for {', '.join(names)}"
    return RowWarning(state, names, message)  # type: ignore[arg-type]
