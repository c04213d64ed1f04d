"""Labels: the observed outcomes that are known by now."""

from datetime import datetime
from typing import NamedTuple

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


class WithReportedLabels(NamedTuple):
    """taken: how many reported outcomes fill in. ambiguous: how many reports were not taken, because clients gave their id to
    several rows."""

    labels: pl.DataFrame
    taken: int
    ambiguous: int


def with_reported_labels(
    product: ModelProduct, known: pl.DataFrame, rows: pl.DataFrame, logged: pl.DataFrame, reported: pl.DataFrame
) -> WithReportedLabels:
    """`known` with the outcomes that clients reported to the API, by the id of a prediction.

    An outcome of the source always wins. A reported outcome fills in where the source has none (yet), known from the moment it was
    reported. Of several reports of one row the last one counts. rows: the main table; only its rows have labels.
    logged: the prediction log. reported: the label log in the order of arrival."""
    identity = list(dict.fromkeys((*product.entity_key, product.event_timestamp)))
    if logged.is_empty() or reported.is_empty():
        return WithReportedLabels(known, 0, 0)
    value = pl.col("value") if product.task is Task.REGRESSION else pl.col(f"{LABEL}_reported")
    if product.task is Task.BINARY:
        value = pl.col(f"{LABEL}_reported").replace_strict(
            {"false": 0.0, "true": 1.0}, default=None, return_dtype=pl.Float64
        )
    logged_event = {"event_time": product.event_timestamp} if product.event_timestamp not in logged.columns else {}
    answered = logged.rename(logged_event)
    rows_of_id = answered.group_by("prediction_id").agg(several=pl.struct(identity).n_unique() > 1)
    ambiguous = reported.join(rows_of_id.filter("several"), on="prediction_id", how="semi")
    filling_in = (
        answered.join(
            reported.rename({LABEL: f"{LABEL}_reported", "received_at": "reported_at"}).with_row_index("place"),
            on="prediction_id",
        )
        .join(ambiguous, on="prediction_id", how="anti")
        .sort("place", maintain_order=True)
        .select(
            # a key column that is also a feature is a float in the log
            *(pl.col(name).cast(rows.schema[name]) for name in identity),
            value.cast(known.schema[LABEL]).alias(LABEL),
            pl.col("reported_at").cast(known.schema[KNOWN_AT]).alias(KNOWN_AT),
        )
        .drop_nulls(LABEL)
        .unique(identity, keep="last", maintain_order=True)
        .join(rows.select(identity), on=identity, how="semi")
        .join(known.drop_nulls(LABEL), on=identity, how="anti")
    )
    others = known.join(filling_in, on=identity, how="anti")
    labels = pl.concat([others, filling_in]).sort(product.event_timestamp, *product.entity_key)
    return WithReportedLabels(labels, filling_in.height, ambiguous.height)
