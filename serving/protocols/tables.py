"""Converts the tables of other protocols to the product's rows: columns and lists to fields, strings and floats to their kinds.

Clients with data frames send integers as 1999.0 if the column has nulls, and a null as NaN; CSV sends everything as text. The
decoder of the native route checks the resulting rows.
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mlops_assets.products.source import Kind
from serving.errors import MalformedBody
from serving.schemas import BodySchema

Row = dict[str, Any]
_TRUTH = {"true": True, "false": False}


def read_json(body: bytes) -> Any:
    """Raises MalformedBody. A bare NaN is accepted: it is not JSON, but these clients send it for a null."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # the strict reader is several times faster, so the lenient one reads only what the strict one refuses
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        # not JSON, not UTF-8, a number of thousands of digits, or deeply nested lists
        raise MalformedBody(f"the body is not JSON: {str(error)[:200]}.") from None


def as_bytes(schema: BodySchema, rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The rows as a native body. Raises MalformedBody: JSON cannot represent a value."""
    kinds = {field.name: field.kind for field in schema.fields}
    try:
        return msgspec.json.encode({"rows": [_row(kinds, row) for row in rows]})
    except (UnicodeEncodeError, OverflowError, RecursionError) as error:
        raise MalformedBody(f"a value cannot be read: {error}.") from None


def from_split(columns: Any, data: Any) -> list[Row]:
    """The rows of a data frame that is split into names and values. Raises MalformedBody: they do not fit together."""
    if not _is_names(columns) or not isinstance(data, list):
        raise MalformedBody('a split table is {"columns": [names], "data": [[values of a row], ...]}.')
    for number, values in enumerate(data):
        if not isinstance(values, list) or len(values) != len(columns):
            raise MalformedBody(f"row {number} does not have {len(columns)} values, one for each column.")
    return [dict(zip(columns, values, strict=True)) for values in data]


def from_columns(columns: Mapping[str, Any]) -> list[Row]:
    """The rows of a table with one list per column. Raises MalformedBody: the lists differ in length."""
    lengths = {name: len(values) for name, values in columns.items() if isinstance(values, list)}
    if len(lengths) != len(columns) or len(set(lengths.values())) != 1:
        raise MalformedBody(
            f"columns must be lists of equal length; their lengths are {lengths or 'none'}. Send one value per row in each."
        )
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def from_records(schema: BodySchema, records: Any) -> list[Row]:
    """Rows that are objects, or lists in the order of the required fields. Raises MalformedBody."""
    if not isinstance(records, list):
        raise MalformedBody("the rows are not a list. Send a list of objects.")
    names = [field.name for field in schema.fields if not field.is_optional]
    return [record if isinstance(record, dict) else _positional(names, record, n) for n, record in enumerate(records)]


def from_csv(schema: BodySchema, body: bytes) -> list[Row]:
    """A header and one line per row; without a header the required fields in their order. Raises MalformedBody.

    An empty cell of a required field is null. An empty cell of an optional field is left out, so that it is looked up."""
    try:
        lines = [line for line in csv.reader(io.StringIO(body.decode(), newline=""), strict=True) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise MalformedBody(f"the body is not CSV: {error}.") from None
    if not lines:
        raise MalformedBody("the CSV is empty. Send a header with the names of the fields, then one line per row.")
    fields = {field.name: field for field in schema.fields}
    names = [name for name, field in fields.items() if not field.is_optional]
    if set(lines[0]) & set(fields):
        names, lines = lines[0], lines[1:]
    rows = from_split(names, [list(line) for line in lines])
    return [
        {name: text or None for name, text in row.items() if text or name not in fields or not fields[name].is_optional}
        for row in rows
    ]


def _row(kinds: Mapping[str, Kind], row: Mapping[str, Any]) -> Row:
    return {name: _value(kinds.get(name), value) for name, value in row.items()}


def _value(kind: Kind | None, value: Any) -> Any:
    """The value converted to the field's kind. A value that does not fit stays unchanged, and the decoder reports it."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return (
                None if math.isnan(value) else str(value)
            )  # infinity is not a null; the decoder reports it as a string
        return int(value) if kind is Kind.INTEGER and value.is_integer() else value
    if not isinstance(value, str) or kind in (None, Kind.STRING, Kind.TIMESTAMP):
        return value
    if kind is Kind.BOOLEAN:
        return _TRUTH.get(value.strip().lower(), value)
    return _number(kind, value)


def _number(kind: Kind | None, text: str) -> Any:
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return None if math.isnan(number) else text
    if kind is not Kind.INTEGER or not number.is_integer():
        return number
    return int(text) if text.strip().lstrip("+-").isdecimal() and len(text) < 20 else int(number)


def _positional(names: Sequence[str], record: Any, number: int) -> Row:
    if not isinstance(record, list) or len(record) != len(names):
        raise MalformedBody(
            f"row {number} is neither an object nor a list of {len(names)} values in this order: {', '.join(names)}."
        )
    return dict(zip(names, record, strict=True))


def _is_names(columns: Any) -> bool:
    return (
        isinstance(columns, list)
        and all(isinstance(name, str) for name in columns)
        and len(set(columns)) == len(columns)
    )
