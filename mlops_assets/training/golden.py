"""Chooses the golden rows of a version from its test window and from the tables that its features are looked up from."""

import polars as pl

from mlops_assets.data.stored_tables import tables_with_lookback
from mlops_assets.errors import DataError
from mlops_assets.features.golden import Golden
from mlops_assets.state.workspace import ProductState
from mlops_assets.training.split import SPLIT, TEST

TEST_ROWS = 64
TABLE_ROWS = 1_000  # of each table of the source, so that a bundle is small and opens in a tenth of a second


def golden_rows(state: ProductState, key: str, training_set: pl.DataFrame) -> bytes:
    """Golden rows of the version that is trained on the training set of `key`, as a file of its bundle.

    Raises DataError if the stored features differ from what the definitions give now, PartitionMissing if a table is not
    stored."""
    product = state.product
    unseen = training_set.filter(pl.col(SPLIT) == TEST).sort(product.event_timestamp, *product.entity_key)
    chosen = _spread(unseen.lazy(), TEST_ROWS)
    newest = product.period.window_before(key, product.test_window)[-1].key
    sources = tables_with_lookback(state, newest) if product.lookups else {}
    tables = {name: _spread(rows, TABLE_ROWS) for name, rows in sources.items()}
    golden = Golden.record(product, requests_of(state, key, chosen), chosen, tables)
    if difference := golden.first_difference(product):
        raise DataError(
            f"the stored features of {product.name} differ from what its definitions give now: {difference}. Materialise features and "
            "training_set of the training window again."
        )
    return golden.pack()


def requests_of(state: ProductState, key: str, unseen: pl.DataFrame) -> pl.DataFrame:
    """The request columns of these rows of the test window of `key`, and their looked-up features."""
    product = state.product
    identity = list(product.entity_key)
    looked_up = [name for view in product.lookups for name in view.names]
    window = product.period.window_before(key, product.test_window)
    raw = state.tables.scan("raw", [period.key for period in window]).select(product.request)
    rows = unseen.lazy().select(*identity, *(name for name in looked_up if name not in identity))
    joined = rows.join(raw, on=identity, how="left", maintain_order="left")
    return joined.select(*product.request, *looked_up).collect()


def _spread(rows: pl.LazyFrame, most: int) -> pl.DataFrame:
    """At most `most` rows, evenly spaced."""
    count = int(rows.select(pl.len()).collect(engine="streaming").item())
    return rows.gather_every(max(1, -(-count // most))).collect(engine="streaming")
