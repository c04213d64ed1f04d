"""Tries a product's feature views on empty and on made-up rows, so that a wrong view is named before real rows arrive."""

import re
from collections.abc import Mapping
from weakref import WeakValueDictionary

import narwhals as nw
import polars as pl
from narwhals.exceptions import NarwhalsError
from polars.exceptions import PolarsError

from mlops_assets.errors import DeclarationError, close_names
from mlops_assets.features.edge_rows import edge_rows
from mlops_assets.features.views import Expressions, lookup_table, request_expressions, with_expressions
from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, FeatureView, Trailing
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import tables_by_name
from mlops_assets.products.task import Task
from mlops_assets.products.trailing import COUNT
from mlops_assets.state.dtypes import column_schema

MADE_UP_ROWS = 3
_VALIDATED: WeakValueDictionary[int, ModelProduct] = WeakValueDictionary()


def validate_product(product: ModelProduct) -> None:
    """Everything that can be tried without a row of the source: the label, then the features.

    Raises DeclarationError: one of them does not fit the columns that the product declares."""
    validate_label(product)
    validate_features(product)


def validate_label(product: ModelProduct) -> None:
    """Raises DeclarationError: the label cannot be made of the main table's columns, or is not what its task asks for."""
    place, main = f"{product.name}: the label {product.label.name!r}", product.source.main
    rows = pl.DataFrame(schema=column_schema(main.columns))
    try:
        made = _computed(rows, {product.label.name: product.label.expression})[product.label.name]
    except (NarwhalsError, PolarsError) as error:
        raise DeclarationError(
            f"{place} cannot be made of {main.name}: {_fault(error)}. Make it of columns that the table declares."
        ) from None
    is_text = product.task is Task.MULTICLASS
    if made.dtype != pl.Null and is_text != (made.dtype == pl.String):
        remedy = "Cast it to nw.String." if is_text else "Make it a number, or a condition such as nw.col(…) > 5."
        raise DeclarationError(
            f"{place} is {made.dtype}, and {product.task} takes {'texts' if is_text else 'numbers'}. {remedy}"
        )


def validate_features(product: ModelProduct) -> None:
    """Raises DeclarationError: a feature does not fit the request's columns or the source's tables, or depends on other rows.

    A declaration never changes, so each one is tried once in a process."""
    if _VALIDATED.get(id(product)) is product:
        return
    schema = column_schema(product.request_columns())
    rows = pl.DataFrame(edge_rows(product, MADE_UP_ROWS)[:MADE_UP_ROWS], schema)
    steps, features = request_expressions(product)
    remedy = "Make it of columns that the request carries, or let request carry the column."
    _require_columns(product.name, steps, rows, remedy)
    _require_columns(product.name, features, _computed(rows.clear(), steps), remedy)
    _require_own_row(product.name, (steps, features), rows, "Sum other rows in a trailing view.")
    tables = {
        name: pl.LazyFrame(schema=column_schema(table.columns))
        for name, table in tables_by_name(product.source).items()
    }
    for view in product.lookups:
        place = f"{product.name}: view {view.name!r}"
        if isinstance(view.lookup, Trailing):
            _validate_sums(place, view, view.lookup)
        _validate_lookup(place, view, tables)
    _VALIDATED[id(product)] = product


def _validate_sums(place: str, view: FeatureView, trailing: Trailing) -> None:
    """Each feature of a trailing view may use only the sums in its own row."""
    rows = pl.DataFrame({COUNT: [1.0, 2.0, 2.0, 5.0], **{name: [3.0, 1.0, 4.0, 2.0] for name in trailing.sums}})
    features = {item.name: item.expression for item in view.features if item.expression is not None}
    _require_columns(place, features, rows, "Name the column in sums.")
    _require_own_row(place, (features,), rows, "Sum them, and let the expression be of one row's sums.")


def _validate_lookup(place: str, view: FeatureView, tables: Mapping[str, pl.LazyFrame]) -> None:
    try:
        columns = lookup_table(view, tables).collect_schema().names()
    except (KeyError, NarwhalsError, PolarsError) as error:
        raise DeclarationError(
            f"{place} cannot look up anything in the tables {', '.join(tables)}: {_fault(error)}. "
            "Change lookup to fit the columns that the source declares."
        ) from None
    if missing := [name for name in (*view.key, EVENT_TIME, CREATED_TIME, *view.names) if name not in columns]:
        close = next((found[0] for name in missing if (found := close_names(name, columns))), "")
        raise DeclarationError(
            f"{place} looks up a table without {', '.join(missing)}. It has {', '.join(columns)}."
            f"{f' Did you mean {close!r}?' if close else ''} Let lookup make the key, both clocks and every feature."
        )


def _require_columns(place: str, expressions: Expressions, rows: pl.DataFrame, remedy: str) -> None:
    for name, expression in expressions.items():
        try:
            _computed(rows.clear(), {name: expression})
        except NarwhalsError as error:
            raise DeclarationError(f"{place} cannot make {name!r}: {_fault(error)}. {remedy}") from None


def _require_own_row(place: str, layers: tuple[Expressions, ...], rows: pl.DataFrame, remedy: str) -> None:
    """A request is one row, so a feature that depends on other rows would have another value online than in training."""
    try:
        together = _computed(rows, *layers)
        alone = pl.concat([_computed(rows[number : number + 1], *layers) for number in range(rows.height)])
    except (NarwhalsError, PolarsError):
        return  # the made-up rows may hold values that no source delivers, such as a text where numbers are parsed
    for name in layers[-1]:
        if not together[name].equals(alone[name]):
            raise DeclarationError(f"{place} makes {name!r} of other rows too, which a request does not have. {remedy}")


def _computed(rows: pl.DataFrame, *layers: Expressions) -> pl.DataFrame:
    made: pl.DataFrame = with_expressions(nw.from_native(rows), *layers).to_native()
    return made


def _fault(error: Exception) -> str:
    """What is wrong, without the query plan that follows; of a column that is not there also which one was meant."""
    said = str(error.args[0] if error.args else error).partition("\n")[0].rstrip(".")
    there = re.search(r"unable to find column \"(.*?)\"; valid columns: \[(.*)\]", said)
    close = close_names(there[1], re.findall(r"\"(.*?)\"", there[2])) if there else []
    return f"{said} (did you mean {close[0]!r}?)" if close else said
