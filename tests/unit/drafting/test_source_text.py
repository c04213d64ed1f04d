"""The text of a product file: whatever a table's names are, Python reads back what was meant, and ruff leaves it as it is."""

import ast
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_assets.drafting.literals import written
from mlops_assets.drafting.source_text import Group
from tests.unit.drafting.orders import draft, orders

AWKWARD = {"region": 'in("north")', "weight": 'it\'s "heavy"\\n', "late": "import os; late\n"}


@given(st.text())
def test_a_literal_is_read_back_as_it_was(text: str):
    assert ast.literal_eval(written(text)) == text


def test_a_group_stays_on_one_line_up_to_the_width():
    first, fits, longer = "a" * 50, "b" * 52, "b" * 53

    # function_name( is 14 wide, and ), with ", " between the parts 4
    assert Group("function_name", [first, fits]).lines(0, ",") == [f"function_name({first}, {fits}),"]
    assert Group("function_name", [first, longer]).lines(0, ",") == ["function_name(", f"    {first}, {longer}", "),"]


def test_a_group_whose_parts_fit_on_no_line_has_one_a_line():
    part = "a" * 60

    assert Group("f", [part, part]).lines(0) == ["f(", f"    {part},", f"    {part},", ")"]


def test_a_tuple_of_one_keeps_its_comma():
    assert Group("key=", ['"a"']).flat() == 'key=("a",)'
    assert Group("f", ['"a"']).flat() == 'f("a")'


@pytest.mark.parametrize("names", [{}, AWKWARD, {"weight": "w" * 90, "region": "r" * 100}])
def test_ruff_leaves_the_file_as_it_is(tmp_path: Path, names: dict[str, str]):
    rows = orders().rename(names)

    made = draft(rows, tmp_path, label=names.get("late", "late"))

    (tmp_path / "shop.py").write_text(made.text, encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff"]
    formatted = [*ruff, "format", "--check", "--isolated", "--line-length", "120", "shop.py"]
    assert subprocess.run(formatted, cwd=tmp_path, capture_output=True).returncode == 0, made.text
    checked = [*ruff, "check", "--isolated", "--select", "F,I,UP,E9", "shop.py"]
    assert subprocess.run(checked, cwd=tmp_path, capture_output=True).returncode == 0, made.text
    assert [line for line in made.text.splitlines() if line.startswith(("import", "from"))] == [
        "import mlops_assets as ml"
    ]
    assert {column.delivered_as for column in made.product.source.main.columns} == set(rows.columns)


def test_a_table_of_15_columns_takes_at_most_40_lines(tmp_path: Path):
    more = {f"measured_value_{number}": pl.col("weight") * number for number in range(1, 12)}

    made = draft(orders(**more), tmp_path, label="late")

    assert len(made.product.source.main.columns) == 15
    assert len(made.text.splitlines()) <= 40
