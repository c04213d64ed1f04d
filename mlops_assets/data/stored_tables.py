"""Which stored partitions the features of a period are built from."""

from typing import TYPE_CHECKING

from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Table
from mlops_assets.state.workspace import ProductState

if TYPE_CHECKING:
    import polars as pl


def tables_of(product: ModelProduct) -> dict[str, Table]:
    """Asset name of every source table: the main one is `raw`, side tables keep their names."""
    return {"raw": product.source.main, **{table.name: table for table in product.source.side_tables}}


def tables_with_lookback(state: ProductState, key: str) -> dict[str, "pl.LazyFrame"]:
    """Every source table for the period and as many earlier ones as its features look back."""
    keys = keys_with_lookback(state.product, key)
    return {declared.name: state.tables.scan(name, keys) for name, declared in tables_of(state.product).items()}


def addresses_with_lookback(state: ProductState, key: str) -> dict[str, list[str]]:
    """The same partitions by their addresses, for an engine that reads them itself. Raises PartitionMissing."""
    keys = keys_with_lookback(state.product, key)
    return {declared.name: state.tables.addresses(name, keys) for name, declared in tables_of(state.product).items()}


def keys_with_lookback(product: ModelProduct, key: str) -> list[str]:
    """The period and as many earlier ones as its features look back, oldest first."""
    return [period.key for period in product.period.with_lookback(key, product.lookback)]


def has_rows_by(state: ProductState, key: str) -> bool:
    """Whether raw rows of this period or of a later one are stored."""
    return bool(state.tables.keys("raw", since=key))
