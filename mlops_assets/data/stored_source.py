"""Stores one period of a source table, or says why it is not stored: it is skipped, has not arrived, or breaks its contract."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from mlops_assets.data.arrived import why_not_arrived
from mlops_assets.data.contract import ContractResult
from mlops_assets.data.cut_off import reach
from mlops_assets.data.gaps import ALLOWED, how_to_allow, is_gap
from mlops_assets.data.ingest import is_without_rows, read_period, store_period, store_without_rows
from mlops_assets.errors import ContractBroken, DataError, NotArrived
from mlops_assets.products.periods import Period
from mlops_assets.products.source import Table
from mlops_assets.records.data import IncompletePeriod
from mlops_assets.state.workspace import ProductState

CONTRACT, REACHES_THE_END = CHECKS = ("contract", "reaches_the_end")


@dataclass(frozen=True)
class Checked:
    """The result of one check. is_warning: it keeps nothing from being stored. violations: broken rules, one a row."""

    check: str
    passed: bool
    seen: str
    is_warning: bool = False
    metadata: Mapping[str, float] = field(default_factory=dict)
    violations: tuple[Mapping[str, object], ...] | None = None


class StoredPeriod(NamedTuple):
    """version: of the stored data. skipped: why the period was stored without rows, "" where it was not."""

    version: str
    rows: pl.DataFrame
    quarantined: int
    skipped: str
    checks: tuple[Checked, ...]


class Refused(Exception):
    """The period is not stored. error: why. checks: those that were made."""

    def __init__(self, error: DataError, *checks: Checked) -> None:
        self.error, self.checks = error, checks
        super().__init__(str(error))


def store_source_period(state: ProductState, name: str, declared: Table, period_key: str) -> StoredPeriod:
    """name: of the asset that stores the table. Raises Refused: the period breaks its contract, or has not arrived."""
    product, now = state.product, state.clock.now()
    period, main = product.period.at(period_key), product.source.main
    is_main = declared.name == main.name
    skipped = state.skipped.load(period.key) if state.skipped.has(period.key) else None
    if skipped is not None and skipped.by != ALLOWED:
        return _without_rows(state, name, declared, period, f"skipped by {skipped.by}: {skipped.reason}")
    if is_gap(product, period, now):
        return _gap(state, name, declared, period, "the source has nothing of it, and a later period has arrived")
    if not product.source.has_arrived(period, now):
        reason = why_not_arrived(product, period, now).rstrip(".")
        remedy = "Materialise it once it has arrived, or leave it to the sensor."
        raise Refused(NotArrived(f"{product.name}: {reason}. {remedy}"))
    try:
        result = read_period(state, name, declared, period)
    except ContractBroken as error:
        raise Refused(error, Checked(CONTRACT, False, str(error))) from None
    except NotArrived as error:
        state.records.save(period.key, IncompletePeriod(period.key, str(error), now))
        raise Refused(error) from None
    if result.rows == 0 and product.gaps == "allow" and is_without_rows(product.source, period):
        return _gap(state, name, declared, period, f"the source has no row of {main.name} in it")
    remedy = f". {how_to_allow(product, period)}" if is_main and not result.rows else ""
    contract = _contract(result, f"{result.reason}{remedy}")
    if is_main and skipped is not None:
        state.skipped.end_gap(period.key)
    if not result.kept:
        raise Refused(ContractBroken(contract.seen), contract)
    version = store_period(state.tables, name, result, period)
    if is_main:
        state.records.remove(IncompletePeriod, period.key)
    checks = (contract, _reach(declared, period, result.accepted[declared.event_timestamp]))
    return StoredPeriod(version, result.accepted, result.quarantined.height, "", checks)


def _gap(state: ProductState, name: str, declared: Table, period: Period, reason: str) -> StoredPeriod:
    state.skipped.note_gap(period.key, reason, ALLOWED)
    return _without_rows(state, name, declared, period, f"a gap: {reason}")


def _without_rows(state: ProductState, name: str, declared: Table, period: Period, reason: str) -> StoredPeriod:
    version, empty = store_without_rows(state.tables, name, declared, period)
    state.records.remove(IncompletePeriod, period.key)
    return StoredPeriod(version, empty, 0, reason, tuple(Checked(check, True, reason) for check in CHECKS))


def _contract(result: ContractResult, seen: str) -> Checked:
    violations = tuple(
        {"column": item.column, "rule": item.rule, "rows": item.rows, "examples": list(item.examples)}
        for item in result.violations
    )
    limit = result.table.max_quarantined_share
    metadata = {"rows": result.rows, "quarantined share": result.quarantined_share, "limit": limit}
    return Checked(CONTRACT, result.kept, seen, metadata=metadata, violations=violations)


def _reach(declared: Table, period: Period, events: pl.Series) -> Checked:
    is_whole, seen = reach(declared, period, events)
    remedy = "" if is_whole else f". If the delivery was cut off, materialise {period.key} again once it is whole."
    return Checked(REACHES_THE_END, is_whole, f"{seen}{remedy}", is_warning=True)
