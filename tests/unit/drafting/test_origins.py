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


def test_numbers_of_postgres_without_a_fixed_size_are_numbers(postgres: Server, monkeypatch: pytest.MonkeyPatch):
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS parcels")
        connection.execute(
            "CREATE TABLE parcels (ordered_at timestamptz, region text, weight numeric, late boolean, wait interval)"
        )
        rows = orders().with_columns(wait=pl.lit("1 month")).rows()
        connection.cursor().executemany("INSERT INTO parcels VALUES (%s, %s, %s, %s, %s)", rows)
    monkeypatch.setenv("SHOP_DATABASE", postgres.url)

    made = draft_of(f"{postgres.url}{'&' if '?' in postgres.url else '?'}table=parcels", label="late")

    assert 'ml.Column("weight", ml.Kind.FLOAT' in made.text
    first = made.product.source.read("parcels", made.product.period.first).collect()
    assert first["weight"].to_list() == orders()["weight"].head(24).to_list()
    assert "left out: wait (Polars has no type for its values)" in made.remarks.warnings


@pytest.mark.parametrize("table", ['public."user"', 'public."Orders"', 'public."my orders"', 'public."a.b"'])
def test_a_table_of_postgres_whose_name_needs_quotes_is_found_without_them(postgres: Server, table: str):
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"DROP TABLE IF EXISTS {table}")
        connection.execute(f"CREATE TABLE {table} (ordered_at timestamptz, late boolean)")
        connection.execute(f"INSERT INTO {table} VALUES (now(), true)")
    plain = table.replace('"', "").removeprefix("public.")

    joint = "&" if "?" in postgres.url else "?"
    assert read_origin(f"{postgres.url}{joint}table={plain}").query == table.removeprefix("public.")
    assert read_origin(f"{postgres.url}{joint}table=public.{plain}").query == table
    with pytest.raises(SourceError, match=r"has no table 'public\.nothing'\. Known: public\."):
        read_origin(f"{postgres.url}{joint}table=public.nothing")


@pytest.mark.parametrize("table", ["order", "a.b", "my orders"])
def test_a_table_of_sqlite_may_have_any_name(tmp_path: Path, table: str):
    import sqlite3

    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute(f'CREATE TABLE "{table}" (ordered_at text, late integer)')
        connection.execute(f"INSERT INTO \"{table}\" VALUES ('2026-01-01', 1)")
    connection.close()

    assert read_origin(f"{tmp_path}/shop.db").query == f'"{table}"'


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_files_are_one_table_of_the_columns_that_all_of_them_have(tmp_path: Path, ending: str):
    first, second = orders().head(700), orders().tail(-700)
    second = second.select("late", "weight", "region", "ordered_at", discount=pl.lit(1))
    for name, part in (("a", first), ("b", second)):
        part.write_parquet(tmp_path / f"{name}.parquet") if ending == "parquet" else part.write_csv(
            tmp_path / f"{name}.csv"
        )

    made = draft_of(f"{tmp_path}/*.{ending}", label="late", zone="UTC")

    assert made.product.feature_names == ("region", "weight", "hour", "weekday")
    assert "left out: discount (not every file has it)" in made.remarks.warnings


def test_an_empty_file_among_others_is_named(tmp_path: Path):
    orders().write_csv(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("")

    with pytest.raises(SourceError, match=r"b\.csv cannot be read: empty CSV"):
        read_origin(f"{tmp_path}/*.csv")


def test_the_table_of_a_partitioned_folder_has_the_name_of_the_folder(tmp_path: Path):
    folder = tmp_path / "orders" / "year=2026" / "month=01"
    folder.mkdir(parents=True)
    orders().write_parquet(folder / "part.parquet")

    assert read_origin(f"{tmp_path}/orders/*/*/*.parquet").name == "orders"
    assert read_origin(f"{tmp_path}/orders/**/*.parquet").name == "orders"


@pytest.mark.parametrize("name", ["orders[1]", "orders{x}"])
def test_brackets_and_braces_in_the_name_of_a_file_are_no_pattern(tmp_path: Path, name: str):
    orders().write_parquet(tmp_path / f"{name}.parquet")

    made = draft_of(f"{tmp_path}/{name}.parquet", label="late")

    main = made.product.source.main.name
    assert made.product.source.read(main, made.product.period.first).collect().height == 24


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            '{"ordered_at": ["2026-01-01"], "late": [true]}',
            r"is one object, which contains ordered_at, late\. Write a list",
        ),
        (
            '{"data": [{"late": true}]}',
            r"is one object, which contains data\. Write a list with one object for each row",
        ),
        ('{"late": true}\n{"late": false}\n', r"is one object in each line\. Give it the ending \.ndjson"),
    ],
)
def test_json_that_is_no_list_of_rows_is_said_with_how_to_write_it(tmp_path: Path, text: str, sentence: str):
    (tmp_path / "orders.json").write_text(text)

    with pytest.raises(SourceError, match=sentence):
        read_origin(f"{tmp_path}/orders.json")
