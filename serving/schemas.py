"""The types of requests and answers, built from the product's declaration."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mlops_assets.errors import DeclarationError
from mlops_assets.products.feature_view import Feature, FeatureKind
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Column, Kind

PREDICTION_ID = "prediction_id"
LONGEST_TEXT = 1_000
LARGEST_INTEGER = 2**63 - 1
LARGEST_FLOAT = 3.4e38  # models take float32: anything larger would become infinity

Value = str | float | bool | datetime | None
RowStruct = Any  # built per product by `body_schema`: request columns, looked-up features, prediction_id


class RequestStruct(msgspec.Struct):
    """The base of every product's body."""

    rows: list[RowStruct]


_TYPES: dict[Kind, Any] = {
    Kind.STRING: str,
    Kind.INTEGER: int,
    Kind.FLOAT: float,
    Kind.BOOLEAN: bool,
    Kind.TIMESTAMP: datetime,
}


@dataclass(frozen=True)
class Field:
    """One field of a row. An optional field is a looked-up feature; a value in the request replaces the stored one."""

    name: str
    kind: Kind
    unit: str = ""
    description: str = ""
    is_optional: bool = False
    is_nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    example: str | int | float | None = None

    @property
    def type(self) -> Any:
        """The msgspec type that accepts exactly what the field takes."""
        limits = self._limits()
        base = Literal[self.choices] if self.choices else Annotated[_TYPES[self.kind], Meta(**limits)]
        if self.is_nullable:
            base = base | None
        if self.is_optional:
            base = base | UnsetType
        meaning = " ".join(filter(None, [self.description, f"[{self.unit}]" if self.unit else ""]))
        examples = [self.example] if self.example is not None else None
        # Litestar reads these, and shows the range of a nullable field only if it is repeated here
        document: dict[str, Any] = {"description": meaning or None, "examples": examples}
        if self.minimum is not None and self.maximum is not None:
            document["extra"] = {"minimum": self.minimum, "maximum": self.maximum}
        return Annotated[base, Meta(extra_json_schema=document)]

    @property
    def expectation(self) -> str:
        """A description of valid values, for sentences such as '... is not <expectation>.'"""
        kinds = {
            Kind.STRING: "one of the choices" if self.choices else f"a text of at most {LONGEST_TEXT:,} characters",
            Kind.INTEGER: "a whole number",
            Kind.FLOAT: "a number",
            Kind.BOOLEAN: "true or false",
            Kind.TIMESTAMP: "an ISO 8601 timestamp with its zone",
        }
        words = [kinds[self.kind]]
        if self.minimum is not None and self.maximum is not None:
            words.append(f"from {self.minimum:g} to {self.maximum:g}")
        elif self.minimum is not None or self.maximum is not None:
            words.append(f"of at most {self.maximum:g}" if self.minimum is None else f"of at least {self.minimum:g}")
        if self.unit and self.kind is not Kind.TIMESTAMP:
            words.append(f"({self.unit})")
        if self.is_nullable:
            words.append("or null")
        return " ".join(words) + (f", such as {self.example}" if self.example is not None else "")

    def _limits(self) -> dict[str, Any]:
        match self.kind:
            case Kind.STRING:
                return {} if self.choices else {"max_length": LONGEST_TEXT}
            case Kind.TIMESTAMP:
                return {"tz": True}
            case Kind.BOOLEAN:
                return {}
            case Kind.INTEGER | Kind.FLOAT:
                number = int if self.kind is Kind.INTEGER else float
                largest = LARGEST_INTEGER if self.kind is Kind.INTEGER else LARGEST_FLOAT
                low = -largest if self.minimum is None else self.minimum
                return {"ge": number(low), "le": number(largest if self.maximum is None else self.maximum)}


@dataclass(frozen=True)
class BodySchema:
    """The typed body of one product's predict route."""

    product: ModelProduct
    fields: tuple[Field, ...]
    row: type[RowStruct]
    request: type[RequestStruct]

    def example_row(self) -> dict[str, Any]:
        """A row that the route accepts."""
        return {field.name: _example(field) for field in self.fields if not field.is_optional}

    def example_body(self) -> bytes:
        return msgspec.json.encode({"rows": [self.example_row()]})


def body_schema(product: ModelProduct) -> BodySchema:
    """Raises DeclarationError: a column or feature has the reserved name `prediction_id`."""
    # a row needs its event timestamp, because features are looked up as of that time
    columns = [
        _of_column(column, is_event=column.name == product.event_timestamp) for column in product.request_columns()
    ]
    names = [column.name for column in columns]
    looked_up = [
        _of_lookup(feature, view.name)
        for view in product.lookups
        for feature in view.features
        if feature.name not in names
    ]
    prediction_id = Field(
        PREDICTION_ID,
        Kind.STRING,
        description="your own id, for reporting the label; generated when left out",
        is_optional=True,
    )
    fields = (*columns, *looked_up)
    if any(field.name == PREDICTION_ID for field in fields):
        raise DeclarationError(
            f"{product.name}: {PREDICTION_ID!r} is a reserved field of every request. Rename the column."
        )
    title = "".join(part.capitalize() for part in product.name.split("_"))
    declared = [
        (field.name, field.type, UNSET) if field.is_optional else (field.name, field.type)
        for field in (*fields, prediction_id)
    ]
    row = msgspec.defstruct(
        f"{title}Row", declared, module=__name__, kw_only=True, forbid_unknown_fields=True, gc=False
    )
    rows = Annotated[
        list[row],  # type: ignore[valid-type]
        Meta(min_length=1, max_length=product.serving.max_rows, description="rows to predict, answered in this order"),
    ]
    request = msgspec.defstruct(
        f"{title}Request", [("rows", rows)], bases=(RequestStruct,), module=__name__, forbid_unknown_fields=True
    )
    return BodySchema(product, (*fields, prediction_id), row, cast(type[RequestStruct], request))


class RowWarning(msgspec.Struct, frozen=True):
    """The row was answered although a value was missing or unknown to the model."""

    reason: Literal["unknown category", "missing", "stale", "unavailable"]
    features: tuple[str, ...]
    message: str


class Explanation(msgspec.Struct, frozen=True):
    """score = baseline + the sum of contributions. baseline: the score of the baseline row. A multiclass score is that of the
    most likely class."""

    baseline: float
    contributions: dict[str, float]


class _Prediction(msgspec.Struct, kw_only=True):
    prediction_id: str
    warnings: tuple[RowWarning, ...] = ()
    features: dict[str, float | str | None] | UnsetType = UNSET
    explanation: Explanation | UnsetType = UNSET


class BinaryPrediction(_Prediction, kw_only=True):
    """probability: of class 1. label: true, or the name of class 1, from 0.5 on."""

    probability: float
    label: bool | str


class MulticlassPrediction(_Prediction, kw_only=True):
    """probabilities: by class. label: the most likely class."""

    probabilities: dict[str, float]
    label: str


class RegressionPrediction(_Prediction, kw_only=True):
    """value: in `unit`, which is empty for a pure number."""

    value: float
    unit: str


class _Answer(msgspec.Struct, kw_only=True):
    product: str
    version: int
    request_id: str


class BinaryAnswer(_Answer, kw_only=True):
    predictions: list[BinaryPrediction]


class MulticlassAnswer(_Answer, kw_only=True):
    predictions: list[MulticlassPrediction]


class RegressionAnswer(_Answer, kw_only=True):
    predictions: list[RegressionPrediction]


Prediction = BinaryPrediction | MulticlassPrediction | RegressionPrediction
Answer = BinaryAnswer | MulticlassAnswer | RegressionAnswer


def _of_column(column: Column, *, is_event: bool) -> Field:
    return Field(
        column.name,
        column.kind,
        column.unit,
        column.description,
        is_nullable=column.nullable and not is_event,
        minimum=column.minimum,
        maximum=column.maximum,
        choices=column.choices,
        example=column.example,
    )


def _of_lookup(feature: Feature, view: str) -> Field:
    return Field(
        feature.name,
        Kind.STRING if feature.kind is FeatureKind.CATEGORICAL else Kind.FLOAT,
        feature.unit,
        ", ".join(filter(None, [feature.description, f"looked up in {view} when left out"])),
        is_optional=True,
        is_nullable=True,
    )


def _example(field: Field) -> str | float | bool | None:
    if field.example is not None or field.is_nullable:
        return field.example
    if field.choices:
        return field.choices[0]
    number = field.minimum if field.minimum is not None else min(0.0, field.maximum or 0.0)
    by_kind: dict[Kind, str | float | bool] = {
        Kind.STRING: "",
        Kind.INTEGER: int(number),
        Kind.FLOAT: number,
        Kind.BOOLEAN: False,
        Kind.TIMESTAMP: "2020-01-01T00:00:00Z",
    }
    return by_kind[field.kind]
