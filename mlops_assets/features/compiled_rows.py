"""Request features of single rows: the product's one definition, compiled to one Python function.

A Polars plan costs a hundred microseconds before its first row, which is more than all else in a request. The Narwhals
expressions of the product are read and written out as one Python function. This is optional: what this file cannot say
exactly in Python (types, nulls, overflow) raises `Untranslatable`, and so does a Narwhals that keeps its expressions in
another way. The caller runs the plan then, and also where the function answers differently from the plan.
"""

import keyword
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from typing import Any

import narwhals as nw
from msgspec import UNSET

from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Column, Kind

# row structs, and a list that is told which of them leave a looked-up feature out -> the product's inputs, row by row
RowFunction = Callable[[Sequence[Any], list[int]], list[tuple[Any, ...]]]
_INT64 = (-(2**63), 2**63 - 1)
_LIMITS = {8: (-128, 127), 16: (-(2**15), 2**15 - 1), 32: (-(2**31), 2**31 - 1), 64: _INT64}
_PARTS = {  # what Polars answers: bits, lowest, highest, Python
    "dt.year": (32, 1, 9_999, "{}.year"),
    "dt.month": (8, 1, 12, "{}.month"),
    "dt.day": (8, 1, 31, "{}.day"),
    "dt.hour": (8, 0, 23, "{}.hour"),
    "dt.minute": (8, 0, 59, "{}.minute"),
    "dt.second": (8, 0, 59, "{}.second"),
    "dt.weekday": (8, 1, 7, "{}.isoweekday()"),
    "dt.ordinal_day": (16, 1, 366, "{}.timetuple().tm_yday"),
}
_COMPARISONS = {"__lt__": "<", "__le__": "<=", "__gt__": ">", "__ge__": ">=", "__eq__": "==", "__ne__": "!="}
_ARITHMETIC = {"__add__": "+", "__sub__": "-", "__mul__": "*", "__rsub__": "-", "__radd__": "+", "__rmul__": "*"}
_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


class Untranslatable(Exception):
    """An expression means something that one row of Python cannot say exactly; the plan has to."""


@dataclass(frozen=True)
class _Value:
    """A variable of the generated function. kind: int, float, bool, str or time. low, high: of integers, inclusive."""

    code: str
    kind: str
    bits: int = 64
    low: int = 0
    high: int = 0
    nullable: bool = False
    is_finite: bool = True
    literal: Any = None


def compile_row_features(product: ModelProduct) -> RowFunction:
    """The inputs of rows in the product's order, numbers as float; a looked-up one as given, UNSET where it was not.

    Raises Untranslatable."""
    try:
        return _Compiler(product).function()
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise Untranslatable(f"Narwhals {nw.__version__} keeps its expressions in another way ({error!r})") from error


class _Compiler:
    def __init__(self, product: ModelProduct) -> None:
        self._product = product
        self._lines: list[str] = []
        self._constants: dict[str, Any] = {"UTC": UTC, "UNSET": UNSET}
        self._columns = {column.name: column for column in product.request_columns()}
        self._known: dict[str, _Value] = {}  # by the code that made it: what repeats is computed once
        self._named: dict[str, _Value] = {}

    def function(self) -> RowFunction:
        views = [view for view in self._product.features if not view.is_batch]
        for view in views:
            for name, expression in view.intermediate:
                self._named[name] = self._expression(expression)
        names, absent = [], []
        for view in self._product.features:
            for feature in view.features:
                if view.is_batch:
                    given = self._keep(f"row.{feature.name}", _Value("", "looked up")).code
                    absent.append(f"{given} is UNSET")
                    names.append(given)
                else:
                    names.append(self._as_feature(self._expression(feature.expression), feature.kind))
        told = [f"if {' or '.join(absent)}: absent.append(len(found))"] if absent else []
        lines = [*self._lines, *told, f"found.append(({''.join(f'{name}, ' for name in names)}))"]
        body = "\n        ".join(lines)
        namespace = dict(self._constants)
        # the source is made from the product's own declaration, never from a request
        exec(
            f"def row_features(rows, absent):\n    found = []\n    for row in rows:\n        {body}\n    return found\n",
            namespace,
        )
        return namespace["row_features"]  # type: ignore[no-any-return]

    def _expression(self, expression: Any) -> _Value:
        if isinstance(expression, bool):
            return _Value(repr(expression), "bool", literal=expression)
        if isinstance(expression, int):
            return _Value(repr(expression), "int", low=expression, high=expression, literal=expression)
        if isinstance(expression, float) and math.isfinite(expression):
            return _Value(repr(expression), "float", literal=expression)
        if isinstance(expression, str):
            return _Value(repr(expression), "str", literal=expression)
        if not isinstance(expression, nw.Expr):
            raise Untranslatable(f"the literal {expression!r} is not translated")
        # private to Narwhals, and the only place that says what an expression is made of
        first, *others = expression._nodes
        value = self._source(first)
        for node in others:
            value = self._step(node, value)
        return value

    def _source(self, node: Any) -> _Value:
        if node.name == "col" and len(node.kwargs["names"]) == 1:
            return self._column(node.kwargs["names"][0])
        if node.name == "lit" and node.kwargs.get("dtype") is None:
            return self._expression(node.kwargs["value"])
        if node.name == "when_then":
            return self._choice([self._expression(item) for item in node.exprs])
        if node.name in ("all_horizontal", "any_horizontal") and node.kwargs.get("ignore_nulls") is False:
            values = [self._expression(item) for item in node.exprs]
            found = values[0]
            for value in values[1:]:
                found = self._logic("and" if node.name == "all_horizontal" else "or", found, value)
            return found
        raise Untranslatable(f"{node.name} is not translated")

    def _column(self, name: str) -> _Value:
        if name in self._named:
            return self._named[name]
        column = self._columns.get(name)
        if column is None or keyword.iskeyword(name):
            raise Untranslatable(f"column {name!r} is not carried by the request")
        is_event = name == self._product.event_timestamp
        value = self._keep(f"row.{name}", _of_column(column, nullable=column.nullable and not is_event))
        if value.kind == "time":
            value = self._strict([value], "({0} if {0}.tzinfo is UTC else {0}.astimezone(UTC))", value)
        elif value.kind == "float":
            value = self._strict([value], "float({0})", value)
        self._named[name] = value
        return value

    def _step(self, node: Any, value: _Value) -> _Value:
        name, operands = node.name, [self._expression(item) for item in node.exprs]
        if name in _PARTS and value.kind == "time":
            bits, low, high, code = _PARTS[name]
            return self._strict([value], code.replace("{}", "{0}"), _Value("", "int", bits, low, high))
        if name == "dt.offset_by" and value.kind == "time":
            return self._strict([value], f"{{0}} + {self._constant(_duration(node.kwargs['by']))}", value)
        if name == "cast" and not operands:
            return self._cast(value, node.kwargs["dtype"])
        if name == "is_null":
            return self._keep(f"{value.code} is None", _Value("", "bool"))
        if name == "fill_null" and len(operands) == 1 and operands[0].kind == value.kind:
            code = f"{operands[0].code} if {value.code} is None else {value.code}"
            return self._keep(code, replace(_joined(value, operands[0]), nullable=operands[0].nullable))
        if name == "__invert__" and value.kind == "bool":
            return self._strict([value], "not {0}", _Value("", "bool"))
        if name in ("__and__", "__or__") and value.kind == operands[0].kind == "bool":
            return self._logic(name.strip("_"), value, operands[0])
        if name in _COMPARISONS:
            return self._compare(_COMPARISONS[name], value, operands[0])
        if name == "is_between":
            signs = ["<=" if node.kwargs["closed"] in ("both", side) else "<" for side in ("left", "right")]
            above, below = self._compare(signs[0], operands[0], value), self._compare(signs[1], value, operands[1])
            return self._logic("and", above, below)
        if name == "is_in" and value.kind == "str" and all(isinstance(item, str) for item in node.kwargs["other"]):
            return self._strict(
                [value], f"{{0}} in {self._constant(frozenset(node.kwargs['other']))}", _Value("", "bool")
            )
        if name in _ARITHMETIC:
            pair = (operands[0], value) if name.startswith("__r") else (value, operands[0])
            return self._arithmetic(_ARITHMETIC[name], *pair)
        if name == "__truediv__":
            return self._divide(value, operands[0])
        if name == "__mod__":
            return self._modulo(value, operands[0])
        raise Untranslatable(f"{name} on a {value.kind} is not translated")

    def _choice(self, parts: list[_Value]) -> _Value:
        condition, then = parts[0], parts[1]
        otherwise = parts[2] if len(parts) == 3 else _Value("None", then.kind, nullable=True, literal=...)
        if condition.kind != "bool":
            raise Untranslatable("a condition is no boolean")
        # null is not true, and Python's None is not either
        return self._keep(f"{then.code} if {condition.code} else {otherwise.code}", _joined(then, otherwise))

    def _logic(self, word: str, left: _Value, right: _Value) -> _Value:
        """Kleene's: null and false is false, null or true is true."""
        nullable = left.nullable or right.nullable
        if not nullable:
            return self._keep(f"{left.code} {word} {right.code}", _Value("", "bool"))
        decisive = "False" if word == "and" else "True"
        code = (
            f"{decisive} if {left.code} is {decisive} or {right.code} is {decisive} else "
            f"None if {left.code} is None or {right.code} is None else {word != 'or'}"
        )
        return self._keep(code, _Value("", "bool", nullable=True))

    def _compare(self, sign: str, left: _Value, right: _Value) -> _Value:
        numbers = {left.kind, right.kind} <= {"int", "float"}
        if not (numbers or left.kind == right.kind) or not (left.is_finite and right.is_finite):
            raise Untranslatable(f"{left.kind} {sign} {right.kind} is not translated")
        if "float" in (left.kind, right.kind):
            left, right = self._as_float(left), self._as_float(right)
        return self._strict([left, right], f"{{0}} {sign} {{1}}", _Value("", "bool"))

    def _arithmetic(self, sign: str, left: _Value, right: _Value) -> _Value:
        if not {left.kind, right.kind} <= {"int", "float"}:
            raise Untranslatable(f"{left.kind} {sign} {right.kind} is not translated")
        if "float" in (left.kind, right.kind):
            pair = [self._as_float(left), self._as_float(right)]
            return self._strict(pair, f"{{0}} {sign} {{1}}", _Value("", "float", is_finite=False))
        # a literal takes the width of what it meets
        bits = (
            right.bits
            if left.literal is not None
            else left.bits
            if right.literal is not None
            else max(left.bits, right.bits)
        )
        ends = [_apply(sign, a, b) for a in (left.low, left.high) for b in (right.low, right.high)]
        low, high = min(ends), max(ends)
        if low < _LIMITS[bits][0] or high > _LIMITS[bits][1]:
            raise Untranslatable(
                f"{left.code} {sign} {right.code} may overflow {bits} bits: declare the columns' ranges"
            )
        return self._strict([left, right], f"{{0}} {sign} {{1}}", _Value("", "int", bits, low, high))

    def _divide(self, left: _Value, right: _Value) -> _Value:
        if not {left.kind, right.kind} <= {"int", "float"} or not right.literal:
            raise Untranslatable("only division by a number that is not 0 is translated")
        pair = [self._as_float(left), self._as_float(right)]
        return self._strict(pair, "{0} / {1}", _Value("", "float", is_finite=False))

    def _modulo(self, left: _Value, right: _Value) -> _Value:
        if (
            left.kind != "int"
            or right.kind != "int"
            or left.low is None
            or left.low < 0
            or not (right.literal or 0) > 0
        ):
            raise Untranslatable("only the remainder of a whole number from 0 by a positive one is translated")
        return self._strict([left, right], "{0} % {1}", _Value("", "int", left.bits, 0, right.literal - 1))

    def _cast(self, value: _Value, dtype: Any) -> _Value:
        if dtype == nw.Int64 and value.kind == "int":
            return replace(value, bits=64, literal=None)
        if dtype == nw.Float64 and value.kind in ("int", "float"):
            return self._as_float(value)
        if dtype in (nw.Float64, nw.Int64) and value.kind == "bool":
            kind = "float" if dtype == nw.Float64 else "int"
            return self._strict([value], f"{kind}({{0}})", _Value("", kind, 64, 0, 1))
        raise Untranslatable(f"a cast of {value.kind} to {dtype} is not translated")

    def _as_float(self, value: _Value) -> _Value:
        return value if value.kind == "float" else self._strict([value], "float({0})", _Value("", "float"))

    def _as_feature(self, value: _Value, kind: FeatureKind) -> str:
        if kind is FeatureKind.CATEGORICAL:
            if value.kind not in ("str", "int"):
                raise Untranslatable(f"a category made of a {value.kind} is not translated")
            return value.code if value.kind == "str" else self._strict([value], "str({0})", _Value("", "str")).code
        if value.kind not in ("int", "float", "bool"):
            raise Untranslatable(f"a number made of a {value.kind} is not translated")
        return self._as_float(value).code

    def _strict(self, values: Sequence[_Value], code: str, made: _Value) -> _Value:
        """Null where one of the values is."""
        written = code.format(*(value.code for value in values))
        absent = [f"{value.code} is None" for value in values if value.nullable]
        if absent:
            written = f"None if {' or '.join(absent)} else {written}"
        return self._keep(written, replace(made, nullable=bool(absent), literal=None))

    def _keep(self, code: str, made: _Value) -> _Value:
        if code not in self._known:
            variable = f"v{len(self._known)}"
            self._lines.append(f"{variable} = {code}")
            self._known[code] = replace(made, code=variable)
        return self._known[code]

    def _constant(self, value: Any) -> str:
        name = f"k{len(self._constants)}"
        for known, held in self._constants.items():
            if type(held) is type(value) and held == value:
                return known
        self._constants[name] = value
        return name


def _of_column(column: Column, *, nullable: bool) -> _Value:
    match column.kind:
        case Kind.INTEGER:
            low = _INT64[0] if column.minimum is None else math.floor(column.minimum)
            high = _INT64[1] if column.maximum is None else math.ceil(column.maximum)
            return _Value("", "int", 64, low, high, nullable)
        case Kind.FLOAT:
            return _Value("", "float", nullable=nullable)
        case Kind.BOOLEAN:
            return _Value("", "bool", nullable=nullable)
        case Kind.STRING:
            return _Value("", "str", nullable=nullable)
        case Kind.TIMESTAMP:
            return _Value("", "time", nullable=nullable)


def _joined(left: _Value, right: _Value) -> _Value:
    """What either of two branches may be."""
    if right.literal is ...:
        return replace(left, nullable=True, literal=None)
    if left.kind != right.kind or (left.kind == "int" and left.bits != right.bits):
        raise Untranslatable(f"a choice between {left.kind} and {right.kind} is not translated")
    low, high = min(left.low, right.low), max(left.high, right.high)
    nullable, is_finite = left.nullable or right.nullable, left.is_finite and right.is_finite
    return _Value("", left.kind, left.bits, low, high, nullable, is_finite)


def _apply(sign: str, left: int, right: int) -> int:
    return left + right if sign == "+" else left - right if sign == "-" else left * right


def _duration(by: str) -> timedelta:
    found = re.fullmatch(r"(-?\d+)([wdhms])", by)
    if found is None:
        raise Untranslatable(f"an offset of {by!r} is not translated")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
