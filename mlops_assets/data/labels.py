"""Labels: the observed outcomes that are known by now."""

from datetime import datetime

import narwhals as nw
import polars as pl

from mlops_assets.products.product import ModelProduct
from mlops_assets.products.task import Task

LABEL, KNOWN_AT = "label", "known_at"


def known_labels(product: ModelProduct, rows: pl.LazyFrame, now: datetime) -> pl.DataFrame:
    """Entity key, event timestamp, label and `known_at` of every row whose outcome could be known at `now`.

    An outcome is known once it was reported and the label's delay has passed; the label of a row whose outcome never
    came (a cancelled flight) is null. rows: the main table."""
    labelled = nw.to_native(nw.from_native(rows).with_columns(product.label.expression.alias(LABEL)))
    event = pl.col(product.event_timestamp)
    kind = pl.String if product.task is Task.MULTICLASS else pl.Float64
    return (
        labelled.select(
            *dict.fromkeys((*product.entity_key, product.event_timestamp)),
            pl.col(LABEL).cast(kind),
            pl.max_horizontal(pl.col(product.created_timestamp), event + product.label.delay).alias(KNOWN_AT),
        )
        .filter(pl.col(KNOWN_AT) <= now)
        .sort(product.event_timestamp, *product.entity_key)
        .collect()
    )
