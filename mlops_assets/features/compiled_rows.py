"""On-demand features of single rows: the product's only definition, compiled to one Python function.

A Polars plan takes a hundred microseconds before its first row, more than everything else in a request. The Narwhals
expressions of the product are translated to one Python function. This is optional: an expression without an exact equivalent
in Python (types, nulls, overflow) raises `Untranslatable`, and so does a Narwhals with another internal structure. The caller
then runs the plan, as it does where the function and the plan give different values.
"""

import keyword
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, timedelta
from functools import partial, reduce
from typing import Any

import narwhals as nw
from msgspec import UNSET

from mlops_assets.features.row_values import LIMITS, RowValue, Untranslatable, common_value, value_of_column
from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.product import ModelProduct

# (row structs, absent) -> the product's inputs, row by row; appends to `absent` the numbers of rows without a looked-up feature
RowFunction = Callable[[Sequence[Any], list[int]], list[tuple[Any, ...]]]
_PARTS = {  # of Polars' results: bits, lowest, highest; and the expression in Python
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


def compile_row_features(product: ModelProduct) -> RowFunction:
    """A function that returns the inputs of rows in the product's order, numbers as float. A looked-up feature has the value of
    the row, or UNSET. Raises Untranslatable."""
    try:
        return _Compiler(product).function()
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise Untranslatable(f"Narwhals {nw.__version__} has another internal structure ({error!r})") from error


class _Compiler:
    def __init__(self, product: ModelProduct) -> None:
        self._product = product
        self._lines: list[str] = []
        self._constants: dict[str, Any] = {"UTC": UTC, "UNSET": UNSET}
        self._columns = {column.name: column for column in product.request_columns()}
        self._variables: dict[str, RowValue] = {}  # by their code, so that a repeated expression is computed once
        self._named: dict[str, RowValue] = {}

    def function(self) -> RowFunction:
        views = [view for view in self._product.features if not view.is_batch]
        for view in views:
            for name, expression in view.intermediate:
                self._named[name] = self._expression(expression)
        names, absent = [], []
        for view in self._product.features:
            for feature in view.features:
                if view.is_batch:
                    variable = self._assign(f"row.{feature.name}", RowValue("", "looked up")).code
                    absent.append(f"{variable} is UNSET")
                    names.append(variable)
                else:
                    names.append(self._as_feature(self._expression(feature.expression), feature.kind))
        note_absent = [f"if {' or '.join(absent)}: absent.append(len(inputs))"] if absent else []
        lines = [*self._lines, *note_absent, f"inputs.append(({''.join(f'{name}, ' for name in names)}))"]
        body = "\n        ".join(lines)
        namespace = dict(self._constants)
        # the source is generated from the product's own declaration, never from a request
        exec(
            f"def row_features(rows, absent):\n    inputs = []\n    for row in rows:\n        {body}\n    return inputs\n",
            namespace,
        )
        return namespace["row_features"]  # type: ignore[no-any-return]

    def _expression(self, expression: Any) -> RowValue:
        if isinstance(expression, bool):
            return RowValue(repr(expression), "bool", literal=expression)
        if isinstance(expression, int):
            return RowValue(repr(expression), "int", low=expression, high=expression, literal=expression)
        if isinstance(expression, float) and math.isfinite(expression):
            return RowValue(repr(expression), "float", literal=expression)
        if isinstance(expression, str):
            return RowValue(repr(expression), "str", literal=expression)
        if not isinstance(expression, nw.Expr):
            raise Untranslatable(f"the literal {expression!r} is not translated")
        # private to Narwhals, and the only description of an expression's parts
        first, *others = expression._nodes
        value = self._source(first)
        for node in others:
            value = self._step(node, value)
        return value

    def _source(self, node: Any) -> RowValue:
        if node.name == "col" and len(node.kwargs["names"]) == 1:
            return self._column(node.kwargs["names"][0])
        if node.name == "lit" and node.kwargs.get("dtype") is None:
            return self._expression(node.kwargs["value"])
        if node.name == "when_then":
            return self._choice([self._expression(item) for item in node.exprs])
        if node.name in ("all_horizontal", "any_horizontal") and node.kwargs.get("ignore_nulls") is False:
            word = "and" if node.name == "all_horizontal" else "or"
            return reduce(partial(self._logic, word), [self._expression(item) for item in node.exprs])
        raise Untranslatable(f"{node.name} is not translated")

    def _column(self, name: str) -> RowValue:
        if name in self._named:
            return self._named[name]
        column = self._columns.get(name)
        if column is None or keyword.iskeyword(name):
            raise Untranslatable(f"the request does not carry column {name!r}")
        is_event = name == self._product.event_timestamp
        value = self._assign(f"row.{name}", value_of_column(column, nullable=column.nullable and not is_event))
        if value.kind == "time":
            value = self._strict([value], "({0} if {0}.tzinfo is UTC else {0}.astimezone(UTC))", value)
        elif value.kind == "float":
            value = self._strict([value], "float({0})", value)
        self._named[name] = value
        return value

    def _step(self, node: Any, value: RowValue) -> RowValue:
        name, operands = node.name, [self._expression(item) for item in node.exprs]
        if name in _PARTS and value.kind == "time":
            bits, low, high, code = _PARTS[name]
            return self._strict([value], code.replace("{}", "{0}"), RowValue("", "int", bits, low, high))
        if name == "dt.offset_by" and value.kind == "time":
            return self._strict([value], f"{{0}} + {self._constant(_duration(node.kwargs['by']))}", value)
        if name == "cast" and not operands:
            return self._cast(value, node.kwargs["dtype"])
        if name == "is_null":
            return self._assign(f"{value.code} is None", RowValue("", "bool"))
        if name == "fill_null" and len(operands) == 1 and operands[0].kind == value.kind:
            code = f"{operands[0].code} if {value.code} is None else {value.code}"
            return self._assign(code, replace(common_value(value, operands[0]), nullable=operands[0].nullable))
        if name == "__invert__" and value.kind == "bool":
            return self._strict([value], "not {0}", RowValue("", "bool"))
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
                [value], f"{{0}} in {self._constant(frozenset(node.kwargs['other']))}", RowValue("", "bool")
            )
        if name in _ARITHMETIC:
            pair = (operands[0], value) if name.startswith("__r") else (value, operands[0])
            return self._arithmetic(_ARITHMETIC[name], *pair)
        if name == "__truediv__":
            return self._divide(value, operands[0])
        if name == "__mod__":
            return self._modulo(value, operands[0])
        raise Untranslatable(f"{name} on a {value.kind} is not translated")

    def _choice(self, parts: list[RowValue]) -> RowValue:
        condition, then = parts[0], parts[1]
        otherwise = parts[2] if len(parts) == 3 else RowValue("None", then.kind, nullable=True, literal=...)
        if condition.kind != "bool":
            raise Untranslatable("a condition is not a boolean")
        # neither null nor Python's None is true
        return self._assign(f"{then.code} if {condition.code} else {otherwise.code}", common_value(then, otherwise))

    def _logic(self, word: str, left: RowValue, right: RowValue) -> RowValue:
        """Kleene's logic: null and false is false, null or true is true."""
        nullable = left.nullable or right.nullable
        if not nullable:
            return self._assign(f"{left.code} {word} {right.code}", RowValue("", "bool"))
        decisive = "False" if word == "and" else "True"
        code = (
            f"{decisive} if {left.code} is {decisive} or {right.code} is {decisive} else "
            f"None if {left.code} is None or {right.code} is None else {word != 'or'}"
        )
        return self._assign(code, RowValue("", "bool", nullable=True))

    def _compare(self, sign: str, left: RowValue, right: RowValue) -> RowValue:
        numbers = {left.kind, right.kind} <= {"int", "float"}
        if not (numbers or left.kind == right.kind) or not (left.is_finite and right.is_finite):
            raise Untranslatable(f"{left.kind} {sign} {right.kind} is not translated")
        if "float" in (left.kind, right.kind):
            left, right = self._as_float(left), self._as_float(right)
        return self._strict([left, right], f"{{0}} {sign} {{1}}", RowValue("", "bool"))

    def _arithmetic(self, sign: str, left: RowValue, right: RowValue) -> RowValue:
        if not {left.kind, right.kind} <= {"int", "float"}:
            raise Untranslatable(f"{left.kind} {sign} {right.kind} is not translated")
        if "float" in (left.kind, right.kind):
            pair = [self._as_float(left), self._as_float(right)]
            return self._strict(pair, f"{{0}} {sign} {{1}}", RowValue("", "float", is_finite=False))
        if left.literal is not None:
            bits = right.bits  # a literal takes the width of the other operand
        elif right.literal is not None:
            bits = left.bits
        else:
            bits = max(left.bits, right.bits)
        ends = [_apply(sign, a, b) for a in (left.low, left.high) for b in (right.low, right.high)]
        low, high = min(ends), max(ends)
        if low < LIMITS[bits][0] or high > LIMITS[bits][1]:
            raise Untranslatable(
                f"{left.code} {sign} {right.code} may overflow {bits} bits: declare the columns' ranges"
            )
        return self._strict([left, right], f"{{0}} {sign} {{1}}", RowValue("", "int", bits, low, high))

    def _divide(self, left: RowValue, right: RowValue) -> RowValue:
        if not {left.kind, right.kind} <= {"int", "float"} or not right.literal:
            raise Untranslatable("only division by a literal other than 0 is translated")
        pair = [self._as_float(left), self._as_float(right)]
        return self._strict(pair, "{0} / {1}", RowValue("", "float", is_finite=False))

    def _modulo(self, left: RowValue, right: RowValue) -> RowValue:
        if (
            left.kind != "int"
            or right.kind != "int"
            or left.low is None
            or left.low < 0
            or not (right.literal or 0) > 0
        ):
            raise Untranslatable("only the remainder of an integer of at least 0 by a positive literal is translated")
        return self._strict([left, right], "{0} % {1}", RowValue("", "int", left.bits, 0, right.literal - 1))

    def _cast(self, value: RowValue, dtype: Any) -> RowValue:
        if dtype == nw.Int64 and value.kind == "int":
            return replace(value, bits=64, literal=None)
        if dtype == nw.Float64 and value.kind in ("int", "float"):
            return self._as_float(value)
        if dtype in (nw.Float64, nw.Int64) and value.kind == "bool":
            kind = "float" if dtype == nw.Float64 else "int"
            return self._strict([value], f"{kind}({{0}})", RowValue("", kind, 64, 0, 1))
        raise Untranslatable(f"a cast of {value.kind} to {dtype} is not translated")

    def _as_float(self, value: RowValue) -> RowValue:
        return value if value.kind == "float" else self._strict([value], "float({0})", RowValue("", "float"))

    def _as_feature(self, value: RowValue, kind: FeatureKind) -> str:
        if kind is FeatureKind.CATEGORICAL:
            if value.kind not in ("str", "int"):
                raise Untranslatable(f"a {value.kind} as a category is not translated")
            return value.code if value.kind == "str" else self._strict([value], "str({0})", RowValue("", "str")).code
        if value.kind not in ("int", "float", "bool"):
            raise Untranslatable(f"a {value.kind} as a number is not translated")
        return self._as_float(value).code

    def _strict(self, values: Sequence[RowValue], code: str, result: RowValue) -> RowValue:
        """The result is null where one of the values is."""
        written = code.format(*(value.code for value in values))
        absent = [f"{value.code} is None" for value in values if value.nullable]
        if absent:
            written = f"None if {' or '.join(absent)} else {written}"
        return self._assign(written, replace(result, nullable=bool(absent), literal=None))

    def _assign(self, code: str, value: RowValue) -> RowValue:
        if code not in self._variables:
            variable = f"v{len(self._variables)}"
            self._lines.append(f"{variable} = {code}")
            self._variables[code] = replace(value, code=variable)
        return self._variables[code]

    def _constant(self, value: Any) -> str:
        for name, constant in self._constants.items():
            if type(constant) is type(value) and constant == value:
                return name
        name = f"k{len(self._constants)}"
        self._constants[name] = value
        return name


def _apply(sign: str, left: int, right: int) -> int:
    return left + right if sign == "+" else left - right if sign == "-" else left * right


def _duration(by: str) -> timedelta:
    parsed = re.fullmatch(r"(-?\d+)([wdhms])", by)
    if parsed is None:
        raise Untranslatable(f"an offset of {by!r} is not translated")
    return timedelta(**{_UNITS[parsed[2]]: int(parsed[1])})
