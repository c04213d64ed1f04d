"""Decodes a request body into typed rows, or lists everything that is wrong with it: row, field, fault and remedy."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from litestar.dto import AbstractDTO, DTOFieldDefinition
from litestar.typing import FieldDefinition

from mlops_assets.errors import choices
from mlops_assets.products.source import Kind
from serving.errors import Fault, InvalidRows, MalformedBody, TooManyRows, UnsupportedBody
from serving.schemas import PREDICTION_ID, BodySchema, Field, RequestStruct

MOST_FAULTS = 20
CALENDAR = range(2, 9_999)  # years; the first and last ones leave the calendar in other time zones


class BodyDecoder:
    """Decodes the bytes in one typed pass. Only a body that fails it is read again, field by field, to explain why."""

    def __init__(self, schema: BodySchema, observe: Callable[[float], None] = lambda _: None) -> None:
        """observe: called with the seconds that decoding took, for every body that fits."""
        self._schema = schema
        self._observe = observe
        self._typed = msgspec.json.Decoder(schema.request)
        self._moments = [field.name for field in schema.fields if field.kind is Kind.TIMESTAMP]

    def decode(self, body: bytes, headers: Mapping[str, str]) -> RequestStruct:
        """Raises UnsupportedBody, MalformedBody, TooManyRows or InvalidRows."""
        refuse_other_encodings(headers)
        return self.decode_json(body)

    def decode_json(self, body: bytes) -> RequestStruct:
        """Raises MalformedBody, TooManyRows or InvalidRows."""
        started = time.perf_counter()
        try:
            request = self._typed.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            # the typed pass stops at the first fault, and its message does not use the product's terms
            raise self._refusal(body) from None
        self._refuse_faults_beyond_types(request)
        self._observe(time.perf_counter() - started)
        return request

    def _refuse_faults_beyond_types(self, request: RequestStruct) -> None:
        ids = [row.prediction_id for row in request.rows if row.prediction_id is not msgspec.UNSET]
        if len(ids) > 1 and len(ids) != len(set(ids)):
            duplicate = next(name for name in ids if ids.count(name) > 1)
            problem = (
                f"{duplicate!r} is the id of several rows, so labels could not be joined to them. Give each its own."
            )
            raise _invalid([Fault(None, PREDICTION_ID, problem)])
        faults = [
            Fault(number, name, f"the year {getattr(row, name).year} lies outside the calendar of 2 to 9998.")
            for name in self._moments
            for number, row in enumerate(request.rows)
            if (moment := getattr(row, name)) is not None and moment.year not in CALENDAR
        ]
        if faults:
            raise _invalid(faults[:MOST_FAULTS])

    def _refusal(self, body: bytes) -> MalformedBody | TooManyRows | InvalidRows:
        content = _lenient(body)
        names = ("rows",)
        if not isinstance(content, dict):
            return MalformedBody('the body is not a JSON object. Send {"rows": [{...}, ...]}.')
        faults = [Fault(None, name, _no_field(name, names), names) for name in content if name not in names]
        rows = content.get("rows")
        if not isinstance(rows, list) or not rows:
            faults.append(Fault(None, "rows", "rows must be a list of at least one row.", ()))
            return _invalid(faults)
        most = self._schema.product.serving.max_rows
        if len(rows) > most:
            return TooManyRows(
                f"{len(rows):,} rows in one request; {self._schema.product.name} takes at most {most:,}."
            )
        for number, row in enumerate(rows):
            faults.extend(self._row_faults(number, row))
            if len(faults) >= MOST_FAULTS:
                break
        if not faults:
            return MalformedBody(
                "the body is not JSON as RFC 8259 defines it. Check its encoding (UTF-8) and its numbers."
            )
        return _invalid(faults[:MOST_FAULTS])

    def _row_faults(self, number: int, row: object) -> Iterator[Fault]:
        if not isinstance(row, dict):
            yield Fault(number, None, f"{_shown(row)} is not an object with the fields of {self._schema.product.name}.")
            return
        names = tuple(field.name for field in self._schema.fields)
        for name in row:
            if name not in names:
                yield Fault(number, name, _no_field(name, names), names)
        for field in self._schema.fields:
            if field.name in row:
                if fault := _fault(number, field, row[field.name]):
                    yield fault
            elif not field.is_optional:
                yield Fault(number, field.name, f"{field.name} is missing. Give {field.expectation}.", field.choices)


def _fault(number: int, field: Field, value: object) -> Fault | None:
    if isinstance(value, float) and not math.isfinite(value):
        problem = f"{field.name} is {value}, which is not a JSON number. Give {field.expectation}."
        return Fault(number, field.name, problem)
    try:
        msgspec.convert(value, field.type)
    except msgspec.ValidationError:
        pass
    else:
        return None
    if field.choices and isinstance(value, str):
        problem = f"{field.name} cannot be {_shown(value)}. {choices(value, field.choices)}"
    elif field.kind is Kind.TIMESTAMP and _is_naive(value):
        problem = f"{field.name}: {_shown(value)} has no time zone. Write it with one, as in 2013-07-04T11:15:00Z."
    else:
        problem = f"{field.name}: {_shown(value)} is not {field.expectation}."
    return Fault(number, field.name, problem, field.choices)


def _is_naive(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is None
    except ValueError:
        return False


def _no_field(name: str, names: tuple[str, ...]) -> str:
    return f"there is no field {name[:100]!r}. {choices(name[:100], names)}"


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 100 else f"{text[:100]}…"


def _invalid(faults: list[Fault]) -> InvalidRows:
    first = faults[0]
    where = f"row {first.row}: " if first.row is not None else ""
    more = f" ({len(faults)} faults are listed.)" if len(faults) > 1 else ""
    return InvalidRows(f"{where}{first.problem}{more}", tuple(faults))


def _lenient(body: bytes) -> Any:
    """Also reads NaN and Infinity, so that the field with such a value can be named."""
    if not body:
        raise MalformedBody('the body is empty. Send {"rows": [{...}, ...]}.')
    try:
        content = json.loads(body)
        json.dumps(content, ensure_ascii=False).encode()
        return content
    except UnicodeEncodeError:
        raise MalformedBody(
            "the body contains half a character (a lone surrogate, as in \\ud83d). Send both halves or neither."
        ) from None
    except json.JSONDecodeError as error:
        raise MalformedBody(f"the body is not JSON: {error}.") from None
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body is not UTF-8: {error}.") from None
    except (ValueError, RecursionError) as error:
        # a number of thousands of digits, or deeply nested lists
        raise MalformedBody(f"the body is JSON that cannot be read: {error}.") from None


def refuse_other_encodings(headers: Mapping[str, str]) -> None:
    kind = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedBody(f"the content type is {kind[:100]!r}. Send JSON with 'Content-Type: application/json'.")
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedBody(f"the body is encoded with {encoding[:100]!r}. Send it without an encoding.")


def strict_body(decode: Callable[[bytes, Mapping[str, str]], Any]) -> type[AbstractDTO[Any]]:
    """Decodes the body of a route with `decode`, from its bytes and headers. The annotated type of the handler is only
    documentation: Litestar's own decoding turns strings into numbers and stops at the first fault."""

    class StrictBody(AbstractDTO[Any]):
        @classmethod
        def create_for_field_definition(cls, *_: object, **__: object) -> None:
            """There is nothing to generate, because the struct is the transfer type."""

        @classmethod
        def create_openapi_schema(cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any) -> Any:
            return schema_creator.for_field_definition(field_definition)

        @classmethod
        def generate_field_definitions(cls, model_type: type[Any]) -> Iterator[DTOFieldDefinition]:  # type: ignore[override]
            yield from ()

        @classmethod
        def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
            return False

        def decode_bytes(self, value: bytes) -> Any:
            return decode(value, self.asgi_connection.headers)

    return StrictBody


RawBody = strict_body(lambda body, _: body)
