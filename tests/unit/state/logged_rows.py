"""Rows for the prediction log, as the API hands them over."""

from datetime import UTC, datetime, timedelta

from examples.flights.flight_delay import flight_delay
from mlops_assets.products.product import ModelProduct
from mlops_assets.state.prediction_log import LoggedRows, log_columns

NOON = datetime(2013, 7, 4, 12, 0, 0, 123_456, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def answers(
    *names: str,
    minutes: tuple[int, ...] = (),
    day: datetime = NOON,
    product: ModelProduct = flight_delay,
    **changes: object,
) -> LoggedRows:
    """One row per name, served so many minutes after `day`. changes: what they asked."""
    given = {
        "request_id": "r",
        "trace_id": "t",
        "version": 3,
        "event_time": day - timedelta(hours=1),
        "prediction": 0.25,
        "label": "false",
        "carrier": "UA",
        "flight": 1545,
        "scheduled_departure": NOON,
        "humidity": 50.5,
        **changes,
    }
    rows = []
    for name, late in zip(names, minutes or (0,) * len(names), strict=True):
        served = (day + timedelta(minutes=late) - EPOCH) // MICROSECOND
        row = {**given, "prediction_id": name, "received_at": served, "served_at": served}
        rows.append(tuple(row.get(column) for column in log_columns(product)))
    return (), list(zip(*rows, strict=True)), [()] * len(rows), [()] * len(rows)
