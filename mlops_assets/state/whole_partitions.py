"""Lazy rows of Parquet objects, each read as a snapshot, even if it is replaced while it is being read.

From an address, Polars opens an object several times: for its footer, then for its parts. If it is replaced in between, Polars
reads parts of the new object as parts of the old one (on S3, 8 of 179 scans beside a writer returned rows that were never
written; in a folder Polars panicked). So it gets an open file, or the response to a single request to the bucket.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

import polars as pl
from polars.io.plugins import register_io_source

from mlops_assets.errors import StoreError
from mlops_assets.state.objects import Objects

_OPENED_AHEAD = 4  # a bucket answers several requests as fast as one, and each object is in memory


def scan_whole(objects: Objects, names: Sequence[str], schema: pl.Schema) -> pl.LazyFrame:
    """The rows of these objects, in order; a column of the schema that an object lacks is null there.

    Raises StoreError when it is collected: an object cannot be read, or was removed since."""

    def read(
        columns: list[str] | None, predicate: pl.Expr | None, most_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        rows_left = most_rows
        for content in _opened(objects, names):
            with content:
                rows = pl.scan_parquet(content, schema=schema, missing_columns="insert", extra_columns="ignore")
                if rows_left is not None:
                    rows = rows.head(rows_left)
                if predicate is not None:
                    rows = rows.filter(predicate)
                for batch in rows.select(columns or schema.names()).collect_batches(chunk_size=batch_size):
                    yield batch
                    if rows_left is not None:
                        rows_left -= batch.height
            if rows_left is not None and rows_left <= 0:
                return

    return register_io_source(read, schema=schema, is_pure=True)


def schemas_of(objects: Objects, names: Sequence[str]) -> list[pl.Schema]:
    """The schemas of these objects, in the order of the names. Raises StoreError, as a scan does."""
    schemas = []
    for content in _opened(objects, names):
        with content:
            schemas.append(pl.scan_parquet(content).collect_schema())
    return schemas


def _opened(objects: Objects, names: Sequence[str]) -> Iterator[BinaryIO]:
    """In the order of the names."""
    with ThreadPoolExecutor(_OPENED_AHEAD) as pool:
        waiting: deque[Future[BinaryIO]] = deque()
        for name in names:
            waiting.append(pool.submit(_open, objects, name))
            if len(waiting) == _OPENED_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _open(objects: Objects, name: str) -> BinaryIO:
    content = objects.open(name)
    if content is None:
        raise StoreError(f"{objects.address(name)} was removed while it was being read. Run it again.")
    return content
