"""The online path of features: what a row carries itself, computed, and what it cannot carry, looked up.

The API scores what comes out of here, and the check `online_path_agrees` compares it with the stored rows:
both run this code, so neither can drift from the other.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl
from msgspec import UNSET

from mlops_assets.errors import StoreError
from mlops_assets.products.feature_view import Feature, FeatureKind, FeatureView
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.request_features import request_features
from mlops_assets.products.source import Kind
from mlops_assets.stores.dtypes import DTYPES, input_schema, microseconds
from mlops_assets.stores.online_store import FOUND, Asked, LookedUp, OnlineStore

Value = str | float | bool | datetime | None
UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Missed:
    """A look-up that found nothing usable. state: missing, stale or unavailable; names: features that are null for it."""

    view: FeatureView
    key: tuple[object, ...]
    names: tuple[str, ...]
    state: str


@dataclass(slots=True)
class OnlineRow:
    """values: request columns and every feature, as the model takes them."""

    values: dict[str, Value]
    missed: list[Missed] = field(default_factory=list)


class OnlineFeatures:
    """Features of one product's rows; the same whether they come one by one or together."""

    def __init__(self, product: ModelProduct, online: OnlineStore) -> None:
        self._product = product
        self._online = online
        self._columns = product.request_columns()
        self._thread = threading.local()
        held = input_schema(product)
        self._requested = [
            pl.col(feature.name).cast(held[feature.name])
            for view in product.features
            if not view.is_lookup
            for feature in view.features
        ]

    def of(self, rows: Sequence[Any]) -> list[OnlineRow]:
        """rows: the request's columns as attributes, and with them any looked-up feature that the row brings along
        (UNSET or absent: it is looked up). An outage of the online store costs features, not answers."""
        found = [OnlineRow(values) for values in self._request_features(rows)]
        self._look_up(rows, found)
        return found

    def _request_features(self, rows: Sequence[Any]) -> list[dict[str, Value]]:
        """The plan is made once a thread: that costs three times what running it does."""
        if not hasattr(self._thread, "plan"):
            slot: list[pl.DataFrame] = [pl.DataFrame()]
            schema = {column.name: DTYPES[column.kind] for column in self._columns}
            plan = request_features(self._product, pl.defer(lambda: slot[0], schema=schema))
            self._thread.slot, self._thread.plan = slot, plan.with_columns(self._requested)
        self._thread.slot[0] = self._frame(rows)
        # optimising the plan anew costs more than it gains on a few rows
        featured: pl.DataFrame = self._thread.plan.collect(engine="in-memory", optimizations=pl.QueryOptFlags.none())
        return featured.to_dicts()

    def _frame(self, rows: Sequence[Any]) -> pl.DataFrame:
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

    def _look_up(self, rows: Sequence[Any], found: Sequence[OnlineRow]) -> None:
        asked: list[Asked] = []
        owed: list[tuple[OnlineRow, FeatureView, tuple[str, ...]]] = []
        views = [(view, view.names, view.key) for view in self._product.lookups]
        for row, online in zip(rows, found, strict=True):
            at, values = getattr(row, self._product.event_timestamp), online.values
            for view, names, key in views:
                # a feature that shares its name with a request column has no field of its own
                given = [getattr(row, name, UNSET) for name in names]
                absent = names
                if any(value is not UNSET for value in given):
                    absent = tuple(name for name, value in zip(names, given, strict=True) if value is UNSET)
                    for feature, value in zip(view.features, given, strict=True):
                        values[feature.name] = _as_input(feature, value)
                else:
                    values.update(dict.fromkeys(names))
                if absent:
                    asked.append(Asked(view, tuple([values[name] for name in key]), at))
                    owed.append((online, view, absent))
        if not asked:
            return
        for (online, view, absent), each, answer in zip(owed, asked, self._read(asked), strict=True):
            if answer.state != FOUND:
                online.missed.append(Missed(view, tuple(each.key), absent, answer.state))
                continue
            for feature in view.features:
                if feature.name in absent:
                    online.values[feature.name] = _as_input(feature, answer.values.get(feature.name))

    def _read(self, asked: Sequence[Asked]) -> Sequence[LookedUp]:
        try:
            return self._online.read_many(self._product.name, asked)
        except StoreError:
            return [LookedUp({}, UNAVAILABLE)] * len(asked)


def _as_input(feature: Feature, value: Any) -> Value:
    if value is None or value is UNSET:
        return None
    return str(value) if feature.kind is FeatureKind.CATEGORICAL else float(value)
