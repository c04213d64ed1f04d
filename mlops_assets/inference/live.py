"""Live predictions: the API's answers for the rows of a period, as columns beside the batch scores."""

from datetime import datetime

import polars as pl

from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task

LIVE_SCORE, LIVE_VERSION, LIVE_SERVED_AT = "live_score", "live_version", "live_served_at"


def with_live_answers(
    product: ModelProduct, scored: pl.DataFrame, logged: pl.DataFrame, start: datetime, end: datetime
) -> pl.DataFrame:
    """`scored` with the newest live answer for each entity whose event lies in [start, end); null if there is none.

    logged: the prediction log. live_score has the type of `score`: all class probabilities for multiclass."""
    score = "probabilities" if product.task is Task.MULTICLASS else "prediction"
    kind = pl.List(pl.Float64) if product.task is Task.MULTICLASS else pl.Float64
    answers = {LIVE_SCORE: kind, LIVE_VERSION: pl.Int64, LIVE_SERVED_AT: pl.Datetime("us", "UTC")}
    if logged.is_empty():
        return scored.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in answers.items())
    identity = list(product.entity_key)
    newest = (
        logged.filter(pl.col("event_time") >= start, pl.col("event_time") < end)
        .sort("served_at", maintain_order=True)
        .unique(identity, keep="last", maintain_order=True)
        .select(
            # a key column that is also a feature is logged as a float
            *(pl.col(name).cast(scored.schema[name]) for name in identity),
            pl.col(score).alias(LIVE_SCORE),
            pl.col("version").alias(LIVE_VERSION),
            pl.col("served_at").alias(LIVE_SERVED_AT),
        )
    )
    return scored.join(newest, on=identity, how="left", maintain_order="left")
