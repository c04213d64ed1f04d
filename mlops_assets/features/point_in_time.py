"""Point-in-time join: each row gets the newest value that was known, and not yet expired, when its event happened."""

import polars as pl
import polars.selectors as cs

from mlops_assets.products.feature_view import CREATED_TIME, EVENT_TIME, FeatureView

# the rows may themselves have columns called event_time and created_time
_VALUE_EVENT, _VALUE_CREATED = "_value_event_time", "_value_created_time"
# a key may be a category on one side and a string on the other
_TEXTS = (cs.categorical() | cs.enum()).cast(pl.String)


def newest_known(lookup: pl.LazyFrame, view: FeatureView) -> pl.LazyFrame:
    """The values without late reports of old events, so that per key the event times rise with the created times.

    The result is ordered by the created time.
    lookup: the view's key, event_time, created_time (UTC) and one column per feature.
    """
    key = list(view.key)

    def ordered(values: pl.DataFrame) -> pl.DataFrame:
        by_created = values.sort(CREATED_TIME)
        events = by_created[EVENT_TIME]
        if events.is_sorted() and not events.has_nulls():  # sorted over all keys, hence within each key
            return by_created
        by_clocks = values.sort(CREATED_TIME, EVENT_TIME)
        return by_clocks.filter(pl.col(EVENT_TIME) >= pl.col(EVENT_TIME).cum_max().over(key))

    return lookup.select(*key, EVENT_TIME, CREATED_TIME, *view.names).map_batches(ordered)


def join_point_in_time(
    rows: pl.LazyFrame,
    lookup: pl.LazyFrame,
    view: FeatureView,
    event_timestamp: str,
    *,
    in_order: bool = False,
) -> pl.LazyFrame:
    """Add the view's features to `rows`, bounded by both clocks.

    A row at event time t gets, for its key, the values with the newest event among those created at or before t;
    values whose event is older than t - time_to_live are null. The number of rows stays the same; their order may change.
    in_order: the rows are already ordered by their event and stay so; a build with many views sorts them only once.
    Method: as-of join on the created timestamp (`polars.LazyFrame.join_asof`).
    """
    clocks = {EVENT_TIME: _VALUE_EVENT, CREATED_TIME: _VALUE_CREATED}
    values = newest_known(lookup, view).rename(clocks).with_columns(_TEXTS)
    joined = (
        (rows if in_order else rows.sort(event_timestamp))
        .with_columns(_TEXTS)
        .join_asof(
            values,
            left_on=event_timestamp,
            right_on=_VALUE_CREATED,
            by=list(view.key),
            strategy="backward",
            coalesce=False,
            check_sortedness=False,
        )
    )
    is_valid = pl.col(event_timestamp) - pl.col(_VALUE_EVENT) <= view.time_to_live
    return joined.with_columns(pl.when(is_valid).then(pl.col(name)).alias(name) for name in view.names).drop(
        *clocks.values()
    )
