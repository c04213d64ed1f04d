"""A period of a source table from its source to the offline store: read, checked, divided, stored, and counted again."""

from dataclasses import dataclass

import polars as pl

from mlops_assets.data.contract import ContractResult, check_contract, conform
from mlops_assets.products.periods import Period
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Table, tables_by_name
from mlops_assets.stores.offline_store import OfflineStore

HISTORY_PERIODS = 8
QUARANTINE = "quarantine"


@dataclass(frozen=True)
class RowCount:
    """rows_in: the source gave. rows_out, rows_quarantined: read back from what was stored."""

    rows_in: int
    rows_out: int
    rows_quarantined: int

    @property
    def is_complete(self) -> bool:
        return self.rows_in == self.rows_out + self.rows_quarantined

    @property
    def reason(self) -> str:
        return f"{self.rows_in:,} rows in, {self.rows_out:,} stored, {self.rows_quarantined:,} quarantined"


def read_period(
    product: ModelProduct, declared: Table, period: Period, store: OfflineStore, stored: str
) -> ContractResult:
    """The period as the source gives it now, held against its contract. stored: the table's name in the store.

    Raises SourceError: it cannot be read. Raises ContractBroken: columns are missing or of the wrong type."""
    tables = tables_by_name(product.source)
    frame = conform(declared, product.source.read(declared.name, period))
    referenced = {
        name: conform(tables[name], product.source.read(name, period))
        for name in {reference.table for reference in declared.references}
    }
    earlier = [key for key in store.keys(stored) if key < period.key] if declared.rows_within else []
    history = [store.contents(stored, key).rows for key in earlier[-HISTORY_PERIODS:]]
    return check_contract(declared, period, frame, history, referenced)


def store_period(result: ContractResult, period: Period, store: OfflineStore, stored: str) -> tuple[str, RowCount]:
    """Store what keeps the contract, and beside it what does not; returns the data version and the rows counted anew.

    Rows are stored in the order of their event and key, so that the same rows in another order are the same content."""
    table = result.table
    order = dict.fromkeys((table.event_timestamp, *table.key))
    quarantine = f"{stored}_{QUARANTINE}"
    if table.max_quarantined_share:
        # also when there are none: what an earlier delivery left there is over
        store.write(quarantine, period.key, result.quarantined)
    version = store.write(stored, period.key, result.accepted.sort(*order))
    kept_apart = store.contents(quarantine, period.key).rows if table.max_quarantined_share else 0
    return version, RowCount(result.rows, store.contents(stored, period.key).rows, kept_apart)


def quarantined(product: str, table: str, store: OfflineStore, key: str) -> pl.DataFrame:
    """Rows of the period that broke the contract, with their `reason`. Raises PartitionMissing: there is none."""
    return store.read(f"{product}/{table}_{QUARANTINE}", [key])
