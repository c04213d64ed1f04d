"""Fills the online store from the stored source tables."""

import hashlib
from dataclasses import dataclass

from mlops_assets.data.stored_tables import tables_with_lookback
from mlops_assets.features.build import newest_per_key
from mlops_assets.state.workspace import ProductState


@dataclass(frozen=True)
class Filled:
    """What was written for one view. keys: keys with a value. changed: how many of them changed. newest: the newest moment."""

    view: str
    keys: int
    changed: int
    newest: str


def fill_online(state: ProductState, key: str) -> tuple[list[Filled], str]:
    """Write the newest values per key that period `key` and its lookback hold; returns what was written and its data version."""
    product, online = state.product, state.online
    tables = tables_with_lookback(state, key)
    filled, content = [], hashlib.sha256()
    for view in product.lookups:
        newest = newest_per_key(view, tables, state.clock.now())
        content.update(newest.write_ndjson().encode())
        changed = online.write(product.name, view, newest)
        filled.append(Filled(view.name, newest.height, changed, str(online.freshness(product.name, view))))
    online.close()
    return filled, content.hexdigest()[:16]


def fill_where_empty(state: ProductState) -> list[Filled]:
    """Fill the store from the newest stored period if some view has no value yet: a first champion looks its features up there."""
    product, online = state.product, state.online
    is_empty = any(online.freshness(product.name, view) is None for view in product.lookups)
    online.close()
    stored = state.tables.keys("raw")
    return fill_online(state, stored[-1])[0] if is_empty and stored else []
