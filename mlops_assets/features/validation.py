"""Tries a product's feature views on empty and on synthetic rows, so that a wrong view is reported before real rows arrive."""

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

SYNTHETIC_ROWS = 3
_VALIDATED: WeakValueDictionary[int, ModelProduct] = WeakValueDictionary()


def validate_product(product: ModelProduct) -> None:
    """Tries what needs no rows of the source: the label, then the features.

    Raises DeclarationError: one of them does not fit the declared columns."""
    validate_label(product)
    validate_features(product)


def validate_label(product: ModelProduct) -> None:
    """Raises DeclarationError: the label cannot be computed from the main table's columns, or has a wrong type for its task."""
    place, main = f"{product.name}: the label {product.label.name!r}", product.source.main
    rows = pl.DataFrame(schema=column_schema(main.columns))
    try:
        label = _computed(rows, {product.label.name: product.label.expression})[product.label.name]
    except (NarwhalsError, PolarsError) as error:
        raise DeclarationError(
            f"{place} cannot be computed from {main.name}: {_fault(error)}. Use only columns that the table declares."
        ) from None
    needs_string = product.task is Task.MULTICLASS
    if label.dtype != pl.Null and needs_string != (label.dtype == pl.String):
        remedy = "Cast it to nw.String." if needs_string else "Use a number, or a condition such as nw.col(…) > 5."
        raise DeclarationError(
            f"{place} is {label.dtype}, and {product.task} needs {'strings' if needs_string else 'numbers'}. {remedy}"
        )


def validate_features(product: ModelProduct) -> None:
    """Raises DeclarationError: a feature does not fit the request's columns or the source's tables, or depends on other rows.

    A declaration never changes, so each one is tried once in a process."""
    if _VALIDATED.get(id(product)) is product:
        return
    schema = column_schema(product.request_columns())
    rows = pl.DataFrame(edge_rows(product, SYNTHETIC_ROWS)[:SYNTHETIC_ROWS], schema)
    steps, features = request_expressions(product)
    remedy = "Use only columns that the request carries, or add the column to request."
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
    _require_own_row(place, (features,), rows, "Add them to sums, and use only the sums of one row in the expression.")


def _validate_lookup(place: str, view: FeatureView, tables: Mapping[str, pl.LazyFrame]) -> None:
    try:
        columns = lookup_table(view, tables).collect_schema().names()
    except (KeyError, NarwhalsError, PolarsError) as error:
        raise DeclarationError(
            f"{place}: its lookup fails on the tables {', '.join(tables)}: {_fault(error)}. "
            "Change lookup to fit the columns that the source declares."
        ) from None
    if missing := [name for name in (*view.key, EVENT_TIME, CREATED_TIME, *view.names) if name not in columns]:
        close = next((names[0] for name in missing if (names := close_names(name, columns))), "")
        raise DeclarationError(
            f"{place}: its lookup returns a table without {', '.join(missing)}. It has {', '.join(columns)}."
            f"{f' Did you mean {close!r}?' if close else ''} The lookup must return the key, both clocks and every feature."
        )


def _require_columns(place: str, expressions: Expressions, rows: pl.DataFrame, remedy: str) -> None:
    for name, expression in expressions.items():
        try:
            _computed(rows.clear(), {name: expression})
        except NarwhalsError as error:
            raise DeclarationError(f"{place} cannot compute {name!r}: {_fault(error)}. {remedy}") from None


def _require_own_row(place: str, layers: tuple[Expressions, ...], rows: pl.DataFrame, remedy: str) -> None:
    """A request is one row, so a feature that depends on other rows would have another value online than in training."""
    try:
        from_all_rows = _computed(rows, *layers)
        from_single_rows = pl.concat([_computed(rows[number : number + 1], *layers) for number in range(rows.height)])
    except (NarwhalsError, PolarsError):
        return  # synthetic rows may have values that no source delivers, such as words where numbers are parsed
    for name in layers[-1]:
        if not from_all_rows[name].equals(from_single_rows[name]):
            raise DeclarationError(
                f"{place} computes {name!r} from other rows as well, which a request does not have. {remedy}"
            )


def _computed(rows: pl.DataFrame, *layers: Expressions) -> pl.DataFrame:
    computed: pl.DataFrame = with_expressions(nw.from_native(rows), *layers).to_native()
    return computed


def _fault(error: Exception) -> str:
    """The library's message without its query plan; for an unknown column also the one that was probably meant."""
    message = str(error.args[0] if error.args else error).partition("\n")[0].rstrip(".")
    unknown = re.search(r"unable to find column \"(.*?)\"; valid columns: \[(.*)\]", message)
    close = close_names(unknown[1], re.findall(r"\"(.*?)\"", unknown[2])) if unknown else []
    return f"{message} (did you mean {close[0]!r}?)" if close else message
