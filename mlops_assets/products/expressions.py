"""What a Narwhals expression is made of. Private to Narwhals, but the only place where it says so."""

from collections.abc import Iterator
from typing import Any

import narwhals as nw

_BY_ROW = ("COL", "LITERAL", "ELEMENTWISE", "WHEN_THEN")


def is_by_row(expression: nw.Expr) -> bool:
    """Whether each value is made of its own row alone."""
    return all(node.kind.name in _BY_ROW for node in _nodes(expression))


def is_column(expression: nw.Expr, name: str) -> bool:
    """Whether it is the column of that name as it is."""
    (node, *more) = expression._nodes
    return not more and node.kind.name == "COL" and node.kwargs["names"] == [name]


def columns_of(expression: nw.Expr) -> set[str]:
    return {name for node in _nodes(expression) if node.kind.name == "COL" for name in node.kwargs["names"]}


def _nodes(expression: nw.Expr) -> Iterator[Any]:
    for node in expression._nodes:
        yield node
        for operand in node.exprs:
            if isinstance(operand, nw.Expr):
                yield from _nodes(operand)
