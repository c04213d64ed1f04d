"""`mlops new`: writes one file, says what it assumed, asks for what it cannot know, and never writes over another one."""

import io
import runpy
import sys
from pathlib import Path

import pytest

from mlops_assets.cli.app import app
from mlops_assets.errors import DeclarationError
from mlops_assets.features.validation import validate_features
from mlops_assets.products.product import ModelProduct
from tests.unit.drafting.orders import orders


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's own with one table, and nobody at the keyboard."""
    orders().write_parquet(tmp_path / "orders.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLOPS_PRODUCTS_DIR", "")  # --products changes it
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return tmp_path


def new(*arguments: str) -> None:
    app.meta(["new", *arguments], exit_on_error=False, result_action="return_value")


def test_a_product_file_is_written_and_what_was_assumed_is_said(folder: Path, capsys: pytest.CaptureFixture[str]):
    new("shop", "orders.parquet", "--label", "late", "--yes")

    product = runpy.run_path(str(folder / "products" / "shop.py"))["shop"]
    assert isinstance(product, ModelProduct)
    validate_features(product)
    said = capsys.readouterr().out
    assert "one series without a key (no two rows have the same ordered_at)" in said
    assert "1d (no column says when it was known; --known-after says otherwise)" in said
    assert "products/shop.py is written" in said


def test_without_a_terminal_the_option_that_answers_is_named():
    with pytest.raises(
        DeclarationError, match=r"Which column is predicted\? Answer with --label, or accept 'late' with --yes"
    ):
        new("shop", "orders.parquet")
    with pytest.raises(DeclarationError, match=r"How long after .* is late known .*Answer with --known-after"):
        new("shop", "orders.parquet", "--label", "late")


def test_at_a_terminal_it_asks_and_an_empty_answer_takes_the_assumption(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", Terminal("late\n\n"))

    new("shop", "orders.parquet")

    written = (folder / "products" / "shop.py").read_text()
    assert 'ml.Label("late", ml.nw.col("late"), delay=ml.days(1))' in written


def test_a_product_that_is_there_is_not_written_over(folder: Path):
    (folder / "mine").mkdir()
    (folder / "mine" / "shop.py").write_text("mine")

    with pytest.raises(DeclarationError, match=r"mine/shop\.py exists already\. Choose another name, or .* --force"):
        new("shop", "orders.parquet", "--label", "late", "--yes", "--products", "mine")

    assert (folder / "mine" / "shop.py").read_text() == "mine"
    new("shop", "orders.parquet", "--label", "late", "--yes", "--products", "mine", "--force")
    assert "ModelProduct" in (folder / "mine" / "shop.py").read_text()


@pytest.mark.parametrize("name", ["Shop", "class", "my-shop", "2nd", "größe", "a" * 101])
def test_a_name_that_no_product_can_have_is_refused(name: str):
    with pytest.raises(DeclarationError, match=f"a product cannot be named {name!r}: use lower-case letters"):
        new(name, "orders.parquet", "--yes")


def test_a_name_that_python_knows_is_refused():
    with pytest.raises(DeclarationError, match=r"Python finds another module 'statistics' \(.*statistics.py\)"):
        new("statistics", "orders.parquet", "--yes")


def test_a_name_of_the_catalog_is_refused():
    with pytest.raises(DeclarationError, match=r"a product 'flight_delay' is declared in .*flight_delay.py already"):
        new("flight_delay", "orders.parquet", "--yes")


def test_nothing_is_written_where_no_product_can_be_made(folder: Path):
    with pytest.raises(DeclarationError):
        new("shop", "orders.parquet", "--label", "lat", "--yes")

    assert not (folder / "products").exists()
