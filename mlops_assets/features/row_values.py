"""The values of a compiled row function: their kinds, ranges and nulls, as Polars would have them."""

import math
from dataclasses import dataclass, replace
from typing import Any

from mlops_assets.products.source import Column, Kind

_INT64 = (-(2**63), 2**63 - 1)
LIMITS = {8: (-128, 127), 16: (-(2**15), 2**15 - 1), 32: (-(2**31), 2**31 - 1), 64: _INT64}


class Untranslatable(Exception):
    """An expression has no exact equivalent in Python for a single row, so the plan has to be used."""


@dataclass(frozen=True)
class RowValue:
    """A variable of the generated function. kind: int, float, bool, str or time. low, high: of integers, inclusive."""

    code: str
    kind: str
    bits: int = 64
    low: int = 0
    high: int = 0
    nullable: bool = False
    is_finite: bool = True
    literal: Any = None


def value_of_column(column: Column, *, nullable: bool) -> RowValue:
    match column.kind:
        case Kind.INTEGER:
            low = _INT64[0] if column.minimum is None else math.floor(column.minimum)
            high = _INT64[1] if column.maximum is None else math.ceil(column.maximum)
            return RowValue("", "int", 64, low, high, nullable)
        case Kind.FLOAT:
            return RowValue("", "float", nullable=nullable)
        case Kind.BOOLEAN:
            return RowValue("", "bool", nullable=nullable)
        case Kind.STRING:
            return RowValue("", "str", nullable=nullable)
        case Kind.TIMESTAMP:
            return RowValue("", "time", nullable=nullable)


def common_value(left: RowValue, right: RowValue) -> RowValue:
    """The type and range that include both branches of a choice. Raises Untranslatable: their types differ."""
    if right.literal is ...:
        return replace(left, nullable=True, literal=None)
    if left.kind != right.kind or (left.kind == "int" and left.bits != right.bits):
        raise Untranslatable(f"a choice between {left.kind} and {right.kind} is not translated")
    low, high = min(left.low, right.low), max(left.high, right.high)
    nullable, is_finite = left.nullable or right.nullable, left.is_finite and right.is_finite
    return RowValue("", left.kind, left.bits, low, high, nullable, is_finite)
