"""The text of a product file: one import line, every value as a literal of Python, as `ruff format` would leave it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from mlops_assets.drafting.columns import Profile
from mlops_assets.drafting.literals import written
from mlops_assets.drafting.origin import Origin
from mlops_assets.drafting.task import Target
from mlops_assets.drafting.windows import Windows
from mlops_assets.products.source import Column

WIDTH = 120
_INDENT = "    "
SPOILT_SHARE = 0.05  # share of a period's rows that may break the contract, because it was drafted from other rows


@dataclass(frozen=True)
class Group:
    """An expression in brackets: parts are texts or groups. `head` is the text before the opening bracket."""

    head: str
    parts: Sequence[str | Group]
    brackets: str = "()"

    def flat(self) -> str:
        inner = ", ".join(part if isinstance(part, str) else part.flat() for part in self.parts)
        one = "," if self.is_tuple and len(self.parts) == 1 else ""
        return f"{self.head}{self.brackets[0]}{inner}{one}{self.brackets[1]}"

    @property
    def is_tuple(self) -> bool:
        return self.brackets == "()" and (not self.head or self.head.endswith("="))

    def lines(self, indent: int, after: str = "") -> list[str]:
        """One line if it fits; else the parts on one line between the brackets; else one line for each part."""
        space = _INDENT * indent
        if len(space + self.flat() + after) <= WIDTH:
            return [space + self.flat() + after]
        opening, closing = f"{space}{self.head}{self.brackets[0]}", f"{space}{self.brackets[1]}{after}"
        inner = ", ".join(part if isinstance(part, str) else part.flat() for part in self.parts)
        if len(space + _INDENT + inner) <= WIDTH and not (self.is_tuple and len(self.parts) == 1):
            return [opening, space + _INDENT + inner, closing]
        lines = [opening]
        for part in self.parts:
            lines += [f"{space}{_INDENT}{part},"] if isinstance(part, str) else part.lines(indent + 1, ",")
        return [*lines, closing]


@dataclass(frozen=True)
class Declaration:
    """The content of the file. learned: the column that says when the outcome was known. leave_out: columns that are no
    features. gates, candidates: as they are written."""

    name: str
    origin: Origin
    decimal: str
    zone: str
    time: Profile
    learned: str | None
    key: tuple[Profile, ...]
    target: Target
    delay: timedelta
    windows: Windows
    table: str
    columns: tuple[Column, ...] = ()
    leave_out: tuple[str, ...] = ()
    calendar: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ("ml.linear()", "ml.lightgbm(n_estimators=100)")
    gates: tuple[str, ...] = ()


def file_text(declared: Declaration) -> str:
    origin, windows = declared.origin, declared.windows
    place = origin.pattern or f"the table {origin.query}"
    named = declared.target.expression.replace("{col}", f"ml.nw.col({written(declared.target.column.name)})", 1)
    label: list[str | Group] = [
        written(declared.target.name),
        named,
        *([f"delay={_span(declared.delay)}"] if declared.delay else []),
    ]
    table: list[str | Group] = [
        written(declared.table),
        "COLUMNS",
        *([_tuple("key=", [item.name for item in declared.key])] if declared.key else []),
        f"event_timestamp={written(declared.time.name)}",
        *([f"created_timestamp={written(declared.learned)}"] if declared.learned else []),
        f"max_quarantined_share={SPOILT_SHARE}",
    ]
    view: list[str | Group] = ["TABLE", _tuple("leave_out=", declared.leave_out)]
    if declared.calendar:
        view.append(_tuple("calendar_parts=", declared.calendar))
    product: list[str | Group] = [
        f"name={written(declared.name)}",
        _source(declared),
        f"period={windows.period}",
        *(['gaps="allow"'] if windows.gaps else []),
        f"training_window={windows.span(windows.training)}",
        f"test_window={windows.span(windows.test)}",
        Group("label=ml.Label", label),
        f"task=ml.Task.{declared.target.task.name}",
        Group("features=", [Group("ml.row_view", view)]),
        Group("candidates=", declared.candidates),
        Group("gates=", declared.gates),
        f"drift=ml.DriftPolicy(min_rows={number_text(windows.min_rows)})",
    ]
    lines = [
        f'"""Predicts {_in_docstring(declared.target.column.source_name)} of {_in_docstring(place)}. Drafted by `mlops new`."""',
        "",
        "import mlops_assets as ml",
        "",
        "COLUMNS = (",
        *(line for column in declared.columns for line in _column(column).lines(1, ",")),
        ")",
        *Group("TABLE = ml.Table", table).lines(0),
        f"{declared.name} = ml.ModelProduct(",
        *(
            line
            for part in product
            for line in ([f"{_INDENT}{part},"] if isinstance(part, str) else part.lines(1, ","))
        ),
        ")",
    ]
    return "\n".join(lines) + "\n"


def _column(column: Column) -> Group:
    parts: list[str | Group] = [written(column.name), f"ml.Kind.{column.kind.name}"]
    if column.nullable:
        parts.append("nullable=True")
    for name, value in (("minimum", column.minimum), ("maximum", column.maximum)):
        if value is not None:
            parts.append(f"{name}={number_text(value)}")
    if column.choices:
        parts.append(_tuple("choices=", column.choices))
    for name, text in (("source_name", column.source_name), ("format", column.format)):
        if text:
            parts.append(f"{name}={written(text)}")
    return Group("ml.Column", parts)


def _source(declared: Declaration) -> Group:
    origin = declared.origin
    zone = [f"zone={written(declared.zone)}"] if declared.zone else []
    if origin.pattern:
        options: list[str | Group] = [
            *zone,
            *([_tuple("null_values=", ("", *origin.null_words))] if origin.null_words else []),
            *([f"separator={written(origin.separator)}"] if origin.separator != "," else []),
            *([f"decimal={written(declared.decimal)}"] if declared.decimal != "." else []),
        ]
        paths = Group("", [f"{written(declared.table)}: {written(origin.pattern)}"], "{}")
        return Group("source=ml.Files", ["TABLE", paths, *options])
    address = f"url={written(origin.url)}" if origin.url else f"url_variable={written(variable_of(declared.name))}"
    queries = Group("", [f"{written(declared.table)}: {written(origin.query)}"], "{}")
    return Group("source=ml.Sql", ["TABLE", queries, address, *zone])


def variable_of(product: str) -> str:
    """The environment variable that holds the address of its database."""
    return f"{product.upper()}_DATABASE"


def _tuple(head: str, values: Sequence[str]) -> Group:
    return Group(head, [written(value) for value in values])


def number_text(value: float) -> str:
    """
    >>> number_text(1500000), number_text(0.25), number_text(12.0)
    ('1_500_000', '0.25', '12')
    """
    return f"{int(value):_}" if float(value).is_integer() else repr(float(value))


def _span(span: timedelta) -> str:
    for name, unit in (("days", timedelta(days=1)), ("hours", timedelta(hours=1))):
        if not span % unit:
            return f"ml.{name}({span // unit})"
    return f"ml.hours({span / timedelta(hours=1):g})"


def _in_docstring(text: str) -> str:
    shown = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text.replace("\\", "\\\\")
    return shown.replace('"', "'")
