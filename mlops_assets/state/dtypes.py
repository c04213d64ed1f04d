"""The Polars types of declared columns and model inputs, and timestamps as whole microseconds."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import polars as pl

from mlops_assets.products.feature_view import FeatureKind
from mlops_assets.products.product import ModelProduct
from mlops_assets.products.source import Column, Kind

DTYPES: dict[Kind, pl.DataType] = {
    Kind.STRING: pl.String(),
    Kind.INTEGER: pl.Int64(),
    Kind.FLOAT: pl.Float64(),
    Kind.BOOLEAN: pl.Boolean(),
    Kind.TIMESTAMP: pl.Datetime("us", "UTC"),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def column_schema(columns: Iterable[Column]) -> dict[str, pl.DataType]:
    """The Polars type of every column, in order."""
    return {column.name: DTYPES[column.kind] for column in columns}


def input_schema(product: ModelProduct) -> dict[str, pl.DataType]:
    """Type of every model input, in the order of the model's columns."""
    kinds: dict[FeatureKind, pl.DataType] = {
        FeatureKind.NUMERIC: pl.Float64(),
        FeatureKind.CATEGORICAL: pl.String(),
    }
    return {feature.name: kinds[feature.kind] for feature in product.inputs}


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 in UTC; seconds as a float would be rounded."""
    return (moment - _EPOCH) // _MICROSECOND
