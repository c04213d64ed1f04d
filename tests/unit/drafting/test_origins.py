"""Tables on S3 and in Postgres are drafted like files on disk, and no password is written into the product file."""

from pathlib import Path

import polars as pl
import psycopg
import pytest

from mlops_assets.drafting.origin import read_origin
from mlops_assets.errors import SourceError
from mlops_assets.products.task import Task
from tests.servers.databases import Server
from tests.unit.drafting.orders import draft_of, orders


def test_a_table_of_postgres_is_drafted_without_its_password(postgres: Server, monkeypatch: pytest.MonkeyPatch):
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS orders")
        connection.execute("CREATE TABLE orders (ordered_at timestamptz, region text, weight numeric, late boolean)")
        connection.cursor().executemany("INSERT INTO orders VALUES (%s, %s, %s, %s)", orders().rows())
    monkeypatch.setenv("SHOP_DATABASE", postgres.url)

    made = draft_of(f"{postgres.url}{'&' if '?' in postgres.url else '?'}table=orders", label="late")

    assert made.product.task is Task.BINARY
    assert 'url_variable="SHOP_DATABASE"' in made.text
    assert postgres.url not in made.text
    assert made.product.source.read("orders", made.product.period.first).collect().height == 24


def test_several_files_of_a_bucket_are_one_table(bucket: str):
    rows = orders()
    for number, part in enumerate((rows.head(700), rows.tail(-700))):
        part.write_parquet(f"{bucket}/shop/orders/{number}.parquet")

    origin = read_origin(f"{bucket}/shop/orders/*.parquet")

    assert origin.name == "orders"
    assert origin.rows.sort("ordered_at").equals(rows)
    with pytest.raises(SourceError, match=r"no file matches s3://.*/none/\*\.parquet\. Correct the path"):
        read_origin(f"{bucket}/none/*.parquet")


def test_a_file_of_lines_of_json_is_read(tmp_path: Path):
    orders().with_columns(pl.col("ordered_at").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).write_ndjson(
        tmp_path / "orders.ndjson"
    )

    assert draft_of(f"{tmp_path}/orders.ndjson", label="late").product.feature_names == (
        "region",
        "weight",
        "hour",
        "weekday",
    )
