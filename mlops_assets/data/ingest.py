"""Reads a period of a source table, checks it against its contract, and stores its rows."""

import polars as pl

from mlops_assets.data.contract import ContractResult, check_contract, conform
from mlops_assets.data.cut_off import cut_off
from mlops_assets.errors import NotArrived, StoreError
from mlops_assets.products.periods import Period
from mlops_assets.products.source import Source, Table, tables_by_name
from mlops_assets.state.dtypes import column_schema
from mlops_assets.state.tables import Tables
from mlops_assets.state.workspace import ProductState

HISTORY_PERIODS = 8
QUARANTINE = "quarantine"


def is_without_rows(source: Source, period: Period) -> bool:
    """Has the main table no row in this period?"""
    return source.read(source.main.name, period).head(1).collect().is_empty()


def read_period(state: ProductState, name: str, declared: Table, period: Period) -> ContractResult:
    """Read the period from the source and check it against its contract. name: of the asset that stores the table.

    Raises SourceError: it cannot be read. Raises ContractBroken: columns are missing or of the wrong type. Raises NotArrived: its
    rows stop before its end, and the source holds no later ones."""
    product = state.product
    tables = tables_by_name(product.source)
    frame = conform(declared, product.source.read(declared.name, period))
    is_main = declared.name == product.source.main.name
    if is_main and (reason := cut_off(product, period, state.clock.now(), frame[declared.event_timestamp])):
        raise NotArrived(reason)
    referenced = {
        other: conform(tables[other], product.source.read(other, period))
        for other in {foreign_key.table for foreign_key in declared.foreign_keys}
    }
    earlier = [key for key in state.tables.keys(name) if key < period.key] if declared.rows_within else []
    history = [state.tables.contents(name, key).rows for key in earlier[-HISTORY_PERIODS:]]
    return check_contract(declared, period, frame, history, referenced)


def store_without_rows(tables: Tables, name: str, declared: Table, period: Period) -> tuple[str, pl.DataFrame]:
    """Store the period without rows. Returns the data version and the empty table."""
    empty = pl.DataFrame(schema=column_schema(declared.columns))
    return tables.write(name, period.key, empty), empty


def store_period(tables: Tables, name: str, result: ContractResult, period: Period) -> str:
    """Store the rows that keep the contract, and quarantine the others; returns the data version.

    Rows are stored in the order of their event and key, so that the same rows in another order are the same content.
    Raises StoreError: what is stored afterwards is not every row that was delivered."""
    table = result.table
    order = dict.fromkeys((table.event_timestamp, *table.key))
    quarantine = f"{name}_{QUARANTINE}"
    if table.max_quarantined_share:
        # written even if it is empty, to replace the quarantined rows of an earlier delivery
        tables.write(quarantine, period.key, result.quarantined)
    version = tables.write(name, period.key, result.accepted.sort(*order))
    stored = tables.contents(name, period.key).rows
    kept_apart = tables.contents(quarantine, period.key).rows if table.max_quarantined_share else 0
    if stored + kept_apart != result.rows:
        raise StoreError(
            f"{table.name} of {period.key} had {result.rows:,} rows, and {stored:,} are stored and {kept_apart:,} quarantined. "
            "Materialise it again; if this stays, the store loses what is written to it."
        )
    return version


def quarantined(tables: Tables, name: str, key: str) -> pl.DataFrame:
    """Rows of the period that broke the contract, with their `reason`. Raises PartitionMissing: there is none."""
    return tables.read(f"{name}_{QUARANTINE}", [key])
