"""The online path of features: on-demand features are computed from the row, the others are looked up in the online store.

The API scores the result, and the check `online_path_agrees` compares it with the stored rows. Both run this code, so that
they cannot differ.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import polars as pl
from msgspec import UNSET

from mlops_assets.errors import StoreError
from mlops_assets.features.compiled_rows import RowFunction, compile_row_features
from mlops_assets.features.edge_rows import edge_rows
from mlops_assets.features.row_values import Untranslatable
from mlops_assets.features.views import request_features
from mlops_assets.products.feature_view import FeatureKind, FeatureView
from mlops_assets.products.policy import Outage
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Kind
from mlops_assets.state.dtypes import DTYPES, column_schema, input_schema, microseconds
from mlops_assets.state.online_store import FOUND, LookedUp, Lookup, OnlineStore

Value = str | float | bool | datetime | None
UNAVAILABLE = "unavailable"
TRIED_ROWS = 500  # whenever a path is created, the translation must equal the plan on this many rows
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Missed:
    """A lookup without a usable value. state: missing, stale or unavailable; names: the features that are null because of it."""

    view: FeatureView
    key: tuple[object, ...]
    names: tuple[str, ...]
    state: str


class OnlineRows(NamedTuple):
    """inputs: the model inputs of each row, in the order of the product's features. missed: by row number."""

    inputs: list[tuple[Value, ...]]
    missed: dict[int, list[Missed]]


@dataclass(frozen=True)
class _BatchView:
    view: FeatureView
    features: tuple[tuple[int, str, bool], ...]  # position among the inputs, name, whether it is a string
    key: tuple[tuple[int | None, str], ...]  # position among the inputs (None: only a request column), name


class OnlineFeatures:
    """Computes and looks up the features of one product's rows. A row's features do not depend on the other rows."""

    def __init__(self, product: ModelProduct, online: OnlineStore) -> None:
        self._product = product
        self._online = online
        self._columns = product.request_columns()
        self._thread = threading.local()
        kinds = input_schema(product)
        self._on_demand = [
            pl.col(feature.name).cast(kinds[feature.name])
            for view in product.features
            if not view.is_batch
            for feature in view.features
        ]
        positions = {name: position for position, name in enumerate(product.feature_names)}
        self._batch_views = [
            _BatchView(
                view,
                tuple(
                    (positions[feature.name], feature.name, feature.kind is FeatureKind.CATEGORICAL)
                    for feature in view.features
                ),
                tuple((positions.get(name), name) for name in view.key),
            )
            for view in product.lookups
        ]
        self._row_features: RowFunction = self.by_plan
        try:
            self._row_features = self._verified(compile_row_features(product))
        except Untranslatable as reason:
            _warn_once(
                f"{product.name}: the features of requests are computed by a Polars plan, which is slower: {reason}"
            )

    @property
    def is_translated(self) -> bool:
        """Whether on-demand features are computed by the translated function instead of the plan."""
        return self._row_features != self.by_plan

    def of(self, rows: Sequence[Any]) -> OnlineRows:
        """rows: the request's columns and every looked-up feature as attributes; UNSET: look it up.

        Raises StoreError: the online store cannot be read, and the product is declared not to answer without it;
        otherwise these features are null."""
        absent: list[int] = []
        inputs = self._row_features(rows, absent)
        return OnlineRows(inputs, self._look_up(rows, inputs, absent) if absent else {})

    def by_plan(self, rows: Sequence[Any], absent: list[int]) -> list[tuple[Value, ...]]:
        """Runs the declared expressions. Each thread builds the plan once, because that takes three times as long as running it."""
        if not hasattr(self._thread, "plan"):
            slot: list[pl.DataFrame] = [pl.DataFrame()]
            schema = column_schema(self._columns)
            plan = request_features(self._product, pl.defer(lambda: slot[0], schema=schema))
            self._thread.slot, self._thread.plan = slot, plan.with_columns(self._on_demand)
        self._thread.slot[0] = self._frame(rows)
        # for a few rows, optimising the plan takes longer than it saves
        featured: pl.DataFrame = self._thread.plan.collect(engine="in-memory", optimizations=pl.QueryOptFlags.none())
        columns: list[list[Any]] = [
            [getattr(row, name) for row in rows] if view.is_batch else featured[name].to_list()
            for view in self._product.features
            for name in view.names
        ]
        inputs = list(zip(*columns, strict=True))
        absent += [number for number, values in enumerate(inputs) if any(value is UNSET for value in values)]
        return inputs

    def _verified(self, translated: RowFunction) -> RowFunction:
        """The translation. Raises Untranslatable: it does not equal the plan on edge rows."""
        rows = [as_request(self._product, row) for row in edge_rows(self._product, TRIED_ROWS)]
        try:
            results = translated(rows, [])
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise Untranslatable(f"the translation fails with {error!r}") from error
        for row, actual, expected in zip(rows, results, self.by_plan(rows, []), strict=True):
            if actual != expected or [type(value) for value in actual] != [type(value) for value in expected]:
                raise Untranslatable(f"for {row} the translation gives {actual}, and the plan {expected}")
        return translated

    def _frame(self, rows: Sequence[Any]) -> pl.DataFrame:
        columns = []
        for column in self._columns:
            values = [getattr(row, column.name) for row in rows]
            if column.kind is Kind.TIMESTAMP:
                instants = [None if moment is None else microseconds(moment) for moment in values]
                # rows may have different time zones, but a column has only one
                columns.append(pl.Series(column.name, instants, pl.Int64).cast(DTYPES[column.kind]))
            else:
                columns.append(pl.Series(column.name, values, DTYPES[column.kind]))
        return pl.DataFrame(columns)

    def _look_up(
        self, rows: Sequence[Any], inputs: list[tuple[Value, ...]], absent: Sequence[int]
    ) -> dict[int, list[Missed]]:
        """Fills in the values that were valid at each row's event, in one round trip to the online store."""
        lookups: list[Lookup] = []
        targets: list[tuple[int, list[Any], _BatchView, tuple[str, ...]]] = []
        for number in absent:
            row = rows[number]
            values: list[Any] = list(inputs[number])
            at = getattr(row, self._product.event_timestamp)
            for batch_view in self._batch_views:
                names = tuple([name for position, name, _ in batch_view.features if values[position] is UNSET])
                if names:
                    key = [getattr(row, name) if place is None else values[place] for place, name in batch_view.key]
                    lookups.append(Lookup(batch_view.view, key, at))
                    targets.append((number, values, batch_view, names))
        missed: dict[int, list[Missed]] = {}
        results = self._read(lookups)
        for (number, values, batch_view, names), lookup, result in zip(targets, lookups, results, strict=True):
            for position, name, is_string in batch_view.features:
                if name in names:
                    value = result.values.get(name) if result.state == FOUND else None
                    values[position] = None if value is None else str(value) if is_string else float(value)
            if result.state != FOUND:
                missed.setdefault(number, []).append(Missed(lookup.view, tuple(lookup.key), names, result.state))
            inputs[number] = tuple(values)
        return missed

    def _read(self, lookups: Sequence[Lookup]) -> Sequence[LookedUp]:
        try:
            return self._online.read_many(self._product.name, lookups)
        except StoreError:
            if self._product.serving.outage is Outage.REFUSE:
                raise
            return [LookedUp({}, UNAVAILABLE)] * len(lookups)


def as_request(product: ModelProduct, row: Mapping[str, object]) -> SimpleNamespace:
    """A row like that of a request without looked-up features."""
    return SimpleNamespace(**{**{name: UNSET for view in product.lookups for name in view.names}, **row})


@cache
def _warn_once(message: str) -> None:
    """Warns once per process: each swap of the champion creates a new path with the same warning."""
    _log.warning(message)
