"""How declared kinds of columns are held: their Polars types, and timestamps as whole microseconds."""

from datetime import UTC, datetime, timedelta

import polars as pl

from mlops_assets.products.source import Kind

DTYPES: dict[Kind, pl.DataType] = {
    Kind.STRING: pl.String(),
    Kind.INTEGER: pl.Int64(),
    Kind.FLOAT: pl.Float64(),
    Kind.BOOLEAN: pl.Boolean(),
    Kind.TIMESTAMP: pl.Datetime("us", "UTC"),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(moment: datetime) -> int:
    """Since 1970 in UTC, exactly: a float of seconds would round."""
    return (moment - _EPOCH) // _MICROSECOND
