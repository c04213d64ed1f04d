"""The online path of features: request features are computed from the row, the others are looked up in the online store.

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
from mlops_assets.features.compiled_rows import RowFunction, Untranslatable, compile_row_features
from mlops_assets.features.edge_rows import edge_rows
from mlops_assets.features.views import request_features
from mlops_assets.products.feature_view import FeatureKind, FeatureView
from mlops_assets.products.policy import Outage
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Kind
from mlops_assets.state.dtypes import DTYPES, column_schema, input_schema, microseconds
from mlops_assets.state.online_store import FOUND, Asked, LookedUp, OnlineStore

Value = str | float | bool | datetime | None
UNAVAILABLE = "unavailable"
TRIED_ROWS = 500  # the translation must give the plan's values on these, whenever a path is created
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Missed:
    """A look-up without a usable value. state: missing, stale or unavailable; names: the features that are null because of it."""

    view: FeatureView
    key: tuple[object, ...]
    names: tuple[str, ...]
    state: str


class OnlineRows(NamedTuple):
    """inputs: the model inputs of each row, in the order of the product's features. missed: by row number."""

    inputs: list[tuple[Value, ...]]
    missed: dict[int, list[Missed]]


@dataclass(frozen=True)
class _LookUp:
    view: FeatureView
    features: tuple[tuple[int, str, bool], ...]  # position among the inputs, name, whether it is a text
    key: tuple[tuple[int | None, str], ...]  # position among the inputs (None: a request column alone), name


class OnlineFeatures:
    """Computes and looks up the features of one product's rows. A row's features do not depend on the rows it comes with."""

    def __init__(self, product: ModelProduct, online: OnlineStore) -> None:
        self._product = product
        self._online = online
        self._columns = product.request_columns()
        self._thread = threading.local()
        held = input_schema(product)
        self._requested = [
            pl.col(feature.name).cast(held[feature.name])
            for view in product.features
            if not view.is_batch
            for feature in view.features
        ]
        positions = {name: position for position, name in enumerate(product.feature_names)}
        self._look_ups = [
            _LookUp(
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
            self._row_features = self._proven(compile_row_features(product))
        except Untranslatable as reason:
            _warn_once(f"{product.name}: features of a request run as a plan, which is slower: {reason}")

    @property
    def is_translated(self) -> bool:
        """Whether request features are computed by the translated function rather than by the plan."""
        return self._row_features != self.by_plan

    def of(self, rows: Sequence[Any]) -> OnlineRows:
        """rows: the request's columns as attributes, and with them every looked-up feature; UNSET: look it up.

        Raises StoreError: the online store cannot be read, and the product is declared not to answer without it;
        otherwise an outage costs features, not answers."""
        absent: list[int] = []
        inputs = self._row_features(rows, absent)
        return OnlineRows(inputs, self._look_up(rows, inputs, absent) if absent else {})

    def by_plan(self, rows: Sequence[Any], absent: list[int]) -> list[tuple[Value, ...]]:
        """Runs the declared expressions. Each thread makes the plan once, because making it takes three times as long as running it."""
        if not hasattr(self._thread, "plan"):
            slot: list[pl.DataFrame] = [pl.DataFrame()]
            schema = column_schema(self._columns)
            plan = request_features(self._product, pl.defer(lambda: slot[0], schema=schema))
            self._thread.slot, self._thread.plan = slot, plan.with_columns(self._requested)
        self._thread.slot[0] = self._frame(rows)
        # for a few rows, optimising the plan takes longer than it saves
        featured: pl.DataFrame = self._thread.plan.collect(engine="in-memory", optimizations=pl.QueryOptFlags.none())
        columns: list[list[Any]] = [
            [getattr(row, name) for row in rows] if view.is_batch else featured[name].to_list()
            for view in self._product.features
            for name in view.names
        ]
        found = list(zip(*columns, strict=True))
        absent += [number for number, values in enumerate(found) if any(value is UNSET for value in values)]
        return found

    def _proven(self, translated: RowFunction) -> RowFunction:
        """Returns the translation if it gives the plan's values on edge rows. Raises Untranslatable otherwise."""
        rows = [as_request(self._product, row) for row in edge_rows(self._product, TRIED_ROWS)]
        try:
            answers = translated(rows, [])
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise Untranslatable(f"the translation fails with {error!r}") from error
        for row, mine, planned in zip(rows, answers, self.by_plan(rows, []), strict=True):
            if mine != planned or [type(value) for value in mine] != [type(value) for value in planned]:
                raise Untranslatable(f"for {row} the translation answers {mine}, the plan {planned}")
        return translated

    def _frame(self, rows: Sequence[Any]) -> pl.DataFrame:
        columns = []
        for column in self._columns:
            values = [getattr(row, column.name) for row in rows]
            if column.kind is Kind.TIMESTAMP:
                instants = [None if moment is None else microseconds(moment) for moment in values]
                # rows may have different time zones, a column has one
                columns.append(pl.Series(column.name, instants, pl.Int64).cast(DTYPES[column.kind]))
            else:
                columns.append(pl.Series(column.name, values, DTYPES[column.kind]))
        return pl.DataFrame(columns)

    def _look_up(
        self, rows: Sequence[Any], inputs: list[tuple[Value, ...]], absent: Sequence[int]
    ) -> dict[int, list[Missed]]:
        """Fills in the values that the online store held at each row's event, in one round trip."""
        asked: list[Asked] = []
        owed: list[tuple[int, list[Any], _LookUp, tuple[str, ...]]] = []
        for number in absent:
            row = rows[number]
            values: list[Any] = list(inputs[number])
            at = getattr(row, self._product.event_timestamp)
            for look_up in self._look_ups:
                names = tuple([name for position, name, _ in look_up.features if values[position] is UNSET])
                if names:
                    key = [getattr(row, name) if place is None else values[place] for place, name in look_up.key]
                    asked.append(Asked(look_up.view, key, at))
                    owed.append((number, values, look_up, names))
        missed: dict[int, list[Missed]] = {}
        for (number, values, look_up, names), each, answer in zip(owed, asked, self._read(asked), strict=True):
            for position, name, is_text in look_up.features:
                if name in names:
                    value = answer.values.get(name) if answer.state == FOUND else None
                    values[position] = None if value is None else str(value) if is_text else float(value)
            if answer.state != FOUND:
                missed.setdefault(number, []).append(Missed(look_up.view, tuple(each.key), names, answer.state))
            inputs[number] = tuple(values)
        return missed

    def _read(self, asked: Sequence[Asked]) -> Sequence[LookedUp]:
        try:
            return self._online.read_many(self._product.name, asked)
        except StoreError:
            if self._product.serving.outage is Outage.REFUSE:
                raise
            return [LookedUp({}, UNAVAILABLE)] * len(asked)


def as_request(product: ModelProduct, row: Mapping[str, object]) -> SimpleNamespace:
    """A row as it would come in a request that leaves out what can be looked up."""
    return SimpleNamespace(**{**{name: UNSET for view in product.lookups for name in view.names}, **row})


@cache
def _warn_once(message: str) -> None:
    """Warns once per process: each swap of the champion creates a new path with the same warning."""
    _log.warning(message)
