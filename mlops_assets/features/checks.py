"""Two checks of stored features: the online path computes the same values, and later data does not change them."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from mlops_assets.features.build import features_of
from mlops_assets.features.equality import unequal
from mlops_assets.features.online_path import OnlineFeatures, Value, as_request
from mlops_assets.features.point_in_time import newest_known
from mlops_assets.features.views import lookup_table
from mlops_assets.products.feature_view import CREATED_TIME
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Table, tables_by_name
from mlops_assets.state.dtypes import input_schema
from mlops_assets.state.online_store import OnlineStore

SAMPLE_ROWS = 12


@dataclass(frozen=True)
class Difference:
    """A feature whose value differs from the stored one: in how many rows, with an example."""

    feature: str
    rows: int
    stored: object
    recomputed: object

    def __str__(self) -> str:
        return f"{self.feature} differs in {self.rows:,} rows, for example {self.stored!r} stored and {self.recomputed!r} recomputed"


@dataclass(frozen=True)
class FeatureCheck:
    what: str
    rows: int
    differences: tuple[Difference, ...]

    @property
    def holds(self) -> bool:
        return not self.differences

    @property
    def reason(self) -> str:
        if self.holds:
            return f"{self.what}: every feature of {self.rows:,} rows is equal"
        return f"{self.what}: " + "; ".join(map(str, self.differences))


def check_online_path(
    product: ModelProduct, rows: pl.DataFrame, tables: Mapping[str, pl.LazyFrame], stored: pl.DataFrame
) -> FeatureCheck:
    """Sends a sample of the rows, oldest first, through the code that the API runs, each at the time of its event.

    rows: request columns; tables: the source tables that `stored` was built from. The online store is filled as it
    would have been at that time: before each row it gets the values that were created since the previous row."""
    if rows.is_empty():
        return FeatureCheck("the online path", 0, ())
    identity = list(dict.fromkeys((*product.entity_key, product.event_timestamp)))
    sample = rows.sample(min(SAMPLE_ROWS, rows.height), seed=product.seed).sort(product.event_timestamp)
    known = [(view, newest_known(lookup_table(view, tables), view).collect()) for view in product.lookups]
    inputs: list[tuple[Value, ...]] = []
    before = None
    with closing(OnlineStore(":memory:")) as online:
        path = OnlineFeatures(product, online)
        for row in sample.iter_rows(named=True):
            now: datetime = row[product.event_timestamp]
            for view, values in known:
                created = values[CREATED_TIME]
                since = values.filter(
                    created <= now if before is None else created.is_between(before, now, closed="right")
                )
                online.write(product.name, view, since.unique(view.key, keep="last"))
            inputs += path.of([as_request(product, row)]).inputs
            before = now
    recomputed = pl.DataFrame(inputs, schema=input_schema(product), orient="row")
    expected = sample.select(identity).join(
        stored, on=identity, how="left", maintain_order="left", nulls_equal=True, coalesce=True
    )
    return FeatureCheck("the online path", sample.height, _differences(product.feature_names, expected, recomputed))


def check_another_future(
    product: ModelProduct, rows: pl.DataFrame, tables: Mapping[str, pl.LazyFrame], stored: pl.DataFrame
) -> FeatureCheck:
    """Builds the features up to the middle of the period again, after the future was changed: values that became known
    later are shuffled, and half of the rows that happened later are removed. No feature may change.

    rows: request columns; tables: the source tables that `stored` was built from."""
    if rows.is_empty():
        return FeatureCheck("another future", 0, ())
    clock = product.event_timestamp
    now = rows[clock].sort()[rows.height // 2]
    declared = tables_by_name(product.source)
    at_event = {name: product.request if name == product.source.main.name else declared[name].key for name in tables}
    altered = {
        name: with_another_future(declared[name], table.collect(), now, at_event[name], product.seed).lazy()
        for name, table in tables.items()
    }
    past = pl.col(clock) <= now
    recomputed = features_of(product, rows.lazy().filter(past), altered)
    expected = stored.filter(past)
    names = [name for name in product.feature_names if name in recomputed.columns]
    return FeatureCheck(
        f"another future after {now:%Y-%m-%d %H:%M}", recomputed.height, _differences(names, expected, recomputed)
    )


def with_another_future(
    table: Table, rows: pl.DataFrame, now: datetime, at_event: Sequence[str], seed: int
) -> pl.DataFrame:
    """at_event: columns that are known when the event happens; the others are known from the created timestamp on."""
    event, created = pl.col(table.event_timestamp), pl.col(table.created_timestamp)
    clocks = (table.event_timestamp, table.created_timestamp)
    rows = rows.sort(*clocks)
    is_later, is_known_later = rows.select(event > now).to_series(), rows.select(created > now).to_series()
    outcomes = [name for name in rows.columns if name not in (*at_event, *clocks)]
    facts = [name for name in at_event if name not in clocks]
    rows = _shuffled(_shuffled(rows, outcomes, is_known_later, seed), facts, is_later, seed)
    return rows.filter(~is_later | (pl.int_range(pl.len()) % 2 == 0)).sample(fraction=1, shuffle=True, seed=seed)


def _shuffled(rows: pl.DataFrame, names: Sequence[str], where: pl.Series, seed: int) -> pl.DataFrame:
    """Shuffles each column separately, among the rows that `where` selects."""
    selected = rows.filter(where)
    positions = where.arg_true()
    shuffled = [
        rows[name].scatter(positions, selected[name].shuffle(seed + number)).alias(name)
        for number, name in enumerate(names)
    ]
    return rows.with_columns(shuffled) if shuffled and positions.len() else rows


def _differences(names: Sequence[str], expected: pl.DataFrame, recomputed: pl.DataFrame) -> tuple[Difference, ...]:
    differences = []
    for name in names:
        differ = unequal(expected[name], recomputed[name])
        if differ.any():
            first = int(differ.arg_true()[0])
            differences.append(Difference(name, int(differ.sum()), expected[name][first], recomputed[name][first]))
    return tuple(differences)
