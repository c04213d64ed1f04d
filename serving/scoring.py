"""Typed rows to scores: request features, looked-up features, the model's matrix, and what was missing on the way."""

import logging
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any

import numpy as np
import polars as pl
from msgspec import UNSET
from numpy.typing import NDArray

from mlops_assets.products.feature_view import Feature, FeatureKind, FeatureView
from mlops_assets.products.policy import Outage
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.request_features import request_features
from mlops_assets.products.source import Kind
from mlops_assets.stores.dtypes import DTYPES, microseconds
from mlops_assets.stores.model_bundle import Bundle
from mlops_assets.stores.online_store import LookedUp, OnlineStore
from serving.errors import OnlineStoreDown, UnusableScore
from serving.row_features import RowFunction, Untranslatable, compile_row_features, edge_values
from serving.schemas import RowStruct, RowWarning, Value, body_schema

TRIED_ROWS = 500  # on which a translation has to answer what the plan answers, each time the server starts
_REMEDIES = {
    "missing": "the online store holds nothing for {key}",
    "stale": "what the online store holds for {key} was not valid at the row's event timestamp",
    "unavailable": "the online store could not be read",
}
_NO_WARNINGS: tuple[RowWarning, ...] = ()
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """inputs: what the model was given, a tuple per row in the product's order. warnings: by row number, where any.

    scores: (n,) or, for multiclass, (n, classes)."""

    scores: NDArray[np.float32]
    warnings: dict[int, tuple[RowWarning, ...]]
    inputs: list[tuple[Value, ...]]


class Scorer:
    """Features and scores of one product's rows; the same whether they come one by one or together."""

    def __init__(self, product: ModelProduct, online: OnlineStore) -> None:
        self._product = product
        self._online = online
        self._columns = product.request_columns()
        self._positions = {name: position for position, name in enumerate(product.feature_names)}
        self._thread = threading.local()
        self._requested = [
            pl.col(feature.name).cast(_dtype(feature))
            for view in product.features
            if not view.is_lookup
            for feature in view.features
        ]
        self._row_features: RowFunction = self._planned
        try:
            self._row_features = self._proven(compile_row_features(product))
        except Untranslatable as reason:
            _log.warning("%s: features of a request run as a plan, which is slower: %s", product.name, reason)

    @property
    def is_translated(self) -> bool:
        """Whether request features are computed by the translated function rather than by the plan."""
        return self._row_features != self._planned

    def features(self, rows: Sequence[RowStruct]) -> tuple[list[tuple[Value, ...]], dict[int, tuple[RowWarning, ...]]]:
        """Inputs of every row, and the warnings of those for which something could not be looked up.

        Raises OnlineStoreDown: the store cannot be read, and the product would rather not answer."""
        absent: list[int] = []
        inputs = self._row_features(rows, absent)
        warnings = {}
        for number in absent:
            inputs[number], warnings[number] = self._look_up(rows[number], inputs[number])
        return inputs, warnings

    def score(self, bundle: Bundle, rows: Sequence[RowStruct]) -> Scored:
        """Raises UnusableScore: the model answered with NaN or infinity. Raises OnlineStoreDown."""
        inputs, warnings = self.features(rows)
        return self.score_features(bundle, inputs, warnings)

    def score_features(
        self, bundle: Bundle, inputs: list[tuple[Value, ...]], warnings: dict[int, tuple[RowWarning, ...]]
    ) -> Scored:
        matrix, strangers = bundle.encode_rows(inputs)  # type: ignore[arg-type]
        for number in strangers:
            found = tuple(_unknown_categories(bundle, inputs[number]))
            if found:
                warnings[number] = warnings.get(number, _NO_WARNINGS) + found
        scores = bundle.score(matrix)
        # one sum tells: NaN and infinity survive it, and it is made in a third of the time of isfinite().all()
        if not np.isfinite(scores.sum(dtype=np.float64)):
            number = int(np.argwhere(~np.isfinite(scores))[0][0])
            raise UnusableScore(
                f"version {bundle.manifest.version} of {self._product.name} answers row {number} with no number. "
                "Roll back to an earlier version, or retrain with a recipe that takes missing values."
            )
        return Scored(scores, warnings, inputs)

    def _planned(self, rows: Sequence[RowStruct], absent: list[int]) -> list[tuple[Value, ...]]:
        """The definition as it is. The plan is made once a thread: that costs three times what running it does."""
        if not hasattr(self._thread, "plan"):
            slot: list[pl.DataFrame] = [pl.DataFrame()]
            schema = {column.name: DTYPES[column.kind] for column in self._columns}
            plan = request_features(self._product, pl.defer(lambda: slot[0], schema=schema))
            self._thread.slot, self._thread.plan = slot, plan.with_columns(self._requested)
        self._thread.slot[0] = self._frame(rows)
        featured: pl.DataFrame = self._thread.plan.collect(engine="in-memory")
        columns = []
        for view in self._product.features:
            for name in view.names:
                columns.append(
                    [getattr(row, name, UNSET) for row in rows] if view.is_lookup else featured[name].to_list()
                )
        found = list(zip(*columns, strict=True))
        absent += [number for number, values in enumerate(found) if any(value is UNSET for value in values)]
        return found

    def _proven(self, translated: RowFunction) -> RowFunction:
        """The translation, if it answers what the plan answers. Raises Untranslatable."""
        rows = _rows_to_try(self._product)
        found, wanted = translated(rows, []), self._planned(rows, [])
        for row, mine, planned in zip(rows, found, wanted, strict=True):
            if mine != planned or [type(value) for value in mine] != [type(value) for value in planned]:
                raise Untranslatable(f"for {row} the translation answers {mine}, the plan {planned}")
        return translated

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

    def _look_up(self, row: RowStruct, inputs: tuple[Value, ...]) -> tuple[tuple[Value, ...], tuple[RowWarning, ...]]:
        """The looked-up features: what the request gives, else what the online store held at the event."""
        values: list[Any] = list(inputs)
        warnings = []
        for view in self._product.lookups:
            absent = tuple(name for name in view.names if values[self._positions[name]] is UNSET)
            if not absent:
                continue
            key = [
                inputs[self._positions[name]] if name in self._positions else getattr(row, name) for name in view.key
            ]
            found = self._read(view, key, getattr(row, self._product.event_timestamp))
            for feature in view.features:
                if feature.name in absent:
                    value = found.values.get(feature.name)
                    is_text = feature.kind is FeatureKind.CATEGORICAL
                    values[self._positions[feature.name]] = (
                        None if value is None else str(value) if is_text else float(value)
                    )
            if found.state != "found":
                warnings.append(_lookup_warning(view, key, absent, found.state))
        return tuple(values), tuple(warnings)

    def _read(self, view: FeatureView, key: Sequence[object], at: datetime) -> LookedUp:
        try:
            return self._online.read(self._product.name, view, key, at)
        except sqlite3.Error as error:
            if self._product.serving.outage is Outage.REFUSE:
                raise OnlineStoreDown(
                    f"the online store cannot be read ({error}), and {self._product.name} is declared not to answer "
                    f"without it. Send {', '.join(view.names)} along, or try again."
                ) from error
            # an outage of the store costs features, not answers; the row's warning says so
            return LookedUp(dict.fromkeys(view.names), "unavailable")


def _rows_to_try(product: ModelProduct) -> list[RowStruct]:
    """Rows made of the edges of every column: each value of each, the others drawn."""
    draw = Random(0)
    values = {column.name: edge_values(column) for column in product.request_columns()}
    if None in values[product.event_timestamp]:
        values[product.event_timestamp].remove(None)
    kept: list[dict[str, Any]] = []
    for name, edges in values.items():
        kept += [{**{other: draw.choice(found) for other, found in values.items()}, name: value} for value in edges]
    while len(kept) < TRIED_ROWS:
        kept.append({name: draw.choice(found) for name, found in values.items()})
    row = body_schema(product).row
    return [row(**fields) for fields in kept]


def _dtype(feature: Feature) -> type[pl.DataType]:
    return pl.String if feature.kind is FeatureKind.CATEGORICAL else pl.Float64


def _unknown_categories(bundle: Bundle, inputs: tuple[Value, ...]) -> Iterator[RowWarning]:
    for name in bundle.unknown_categories(inputs):  # type: ignore[arg-type]
        value: Any = inputs[bundle.input_names.index(name)]
        message = f"version {bundle.manifest.version} never saw {name} {value!r} when it was trained"
        yield RowWarning("unknown category", (name,), message)


def _lookup_warning(view: FeatureView, key: Sequence[object], names: tuple[str, ...], state: str) -> RowWarning:
    key_text = ", ".join(
        f"{name}={part:g}" if isinstance(part, float) else f"{name}={part}"
        for name, part in zip(view.key, key, strict=True)
    )
    message = f"{view.name}: {_REMEDIES[state].format(key=key_text)}; null was used for {', '.join(names)}"
    return RowWarning(state, names, message)  # type: ignore[arg-type]
