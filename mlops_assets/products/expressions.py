"""What a Narwhals expression is made of. Private to Narwhals, but the only place where it says so."""

from collections.abc import Iterator
from typing import Any

import narwhals as nw

_BY_ROW = ("COL", "LITERAL", "ELEMENTWISE", "WHEN_THEN")
_OF_THE_TABLE = ("ALL", "EXCLUDE", "NTH", "SELECTOR")


def is_by_row(expression: nw.Expr) -> bool:
    """Whether each value is made of its own row alone."""
    return all(
        node.kind.name in _BY_ROW and not any(isinstance(operand, nw.Series) for operand in node.exprs)
        for node in _nodes(expression)
    )


def is_column(expression: nw.Expr, name: str) -> bool:
    """Whether it is the column of that name as it is."""
    (node, *more) = expression._nodes
    return not more and node.kind.name == "COL" and node.kwargs["names"] == [name]


def is_by_name(expression: nw.Expr) -> bool:
    """Whether it names its columns, and takes the same ones of a table that has more."""
    return not any(node.kind.name in _OF_THE_TABLE for node in _nodes(expression))


def columns_of(expression: nw.Expr) -> set[str]:
    """Those that it names."""
    return {name for node in _nodes(expression) for name in _named(node)}


def _named(node: Any) -> Iterator[str]:
    if node.kind.name == "COL":
        yield from node.kwargs["names"]
    if not node.str_as_lit:
        yield from (operand for operand in node.exprs if isinstance(operand, str))


def _nodes(expression: nw.Expr) -> Iterator[Any]:
    for node in expression._nodes:
        yield node
        for operand in node.exprs:
            if isinstance(operand, nw.Expr):
                yield from _nodes(operand)
