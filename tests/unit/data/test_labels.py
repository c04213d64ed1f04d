"""Labels: only outcomes that are known by now, and null for one that never came."""

import dataclasses
from datetime import timedelta
from typing import Any

import narwhals as nw
import polars as pl

from mlops_assets.data.labels import known_labels, with_reported_labels
from mlops_assets.products.periods import days
from mlops_assets.products.product import Label
from mlops_assets.products.task import Task
from tests.unit.training.builders import a_product, a_ride, january, rides

NOW = january(10)
DELAY = days(1)
A_MICROSECOND = timedelta(microseconds=1)


def known(*rows: dict[str, Any], **changes: Any) -> list[tuple[int, Any]]:
    product = dataclasses.replace(a_product(), **changes)
    return known_labels(product, rides(*rows).lazy(), NOW).select("ride", "label").rows()


def test_a_label_says_when_it_was_known():
    told_early = a_ride(1, january(2), told_at=january(2, 1), waited=9.0)
    told_late = a_ride(2, january(2), told_at=january(5), waited=3.0)

    found = known_labels(a_product(), rides(told_early, told_late).lazy(), NOW)

    # the delay is a day: neither before it has passed nor before the report
    assert found.rows(named=True) == [
        {"ride": 1, "asked_at": january(2), "label": 1.0, "known_at": january(3)},
        {"ride": 2, "asked_at": january(2), "label": 0.0, "known_at": january(5)},
    ]


def test_an_outcome_that_is_known_exactly_now_is_in_and_one_a_moment_later_is_not():
    assert known(
        a_ride(1, NOW - DELAY, told_at=NOW - DELAY),
        a_ride(2, NOW - DELAY + A_MICROSECOND, told_at=NOW - DELAY + A_MICROSECOND),
        a_ride(3, NOW - 2 * DELAY, told_at=NOW),
        a_ride(4, NOW - 2 * DELAY, told_at=NOW + A_MICROSECOND),
    ) == [(3, 1.0), (1, 1.0)]


def test_the_label_of_an_outcome_that_never_came_is_null():
    assert known(a_ride(1, january(2), waited=None)) == [(1, None)]


def test_rows_are_sorted_by_event_and_key_whatever_their_order_was():
    rows = [a_ride(3, january(3)), a_ride(2, january(2)), a_ride(1, january(3))]

    assert [ride for ride, _ in known(*rows)] == [2, 1, 3]


def test_no_rows_have_no_labels():
    assert known() == []


def test_labels_of_a_regression_are_numbers_and_of_classes_are_names():
    minutes = Label("minutes", nw.col("waited"), delay=DELAY)
    words = Label("word", nw.when(nw.col("waited") > 5).then(nw.lit("long")).otherwise(nw.lit("short")), delay=DELAY)
    ride = a_ride(1, january(2), waited=9.0)

    assert known(ride, task=Task.REGRESSION, label=minutes, metric="mae", gates=()) == [(1, 9.0)]
    assert known(ride, task=Task.MULTICLASS, label=words, metric="accuracy", gates=()) == [(1, "long")]


def test_an_entity_key_that_holds_the_event_timestamp_is_not_doubled():
    product = a_product(entity_key=("ride", "asked_at"))

    found = known_labels(product, rides(a_ride(1, january(2))).lazy(), NOW)

    assert found.columns == ["ride", "asked_at", "label", "known_at"]
    assert found.schema["label"] == pl.Float64


RAW = rides(
    a_ride(1, january(2), waited=9.0),
    a_ride(2, january(2), waited=None),
    a_ride(3, january(9, 23), waited=3.0),  # its delay is not over
)


def logged(**rides_by_id: int) -> pl.DataFrame:
    """The log of predictions: the row each id was given for. Keys may be floats there, as features are."""
    asked = dict(RAW.select("ride", "asked_at").rows()) | {4: january(2)}
    return pl.DataFrame(
        [{"prediction_id": name, "ride": float(ride), "event_time": asked[ride]} for name, ride in rides_by_id.items()],
        schema_overrides={"event_time": pl.Datetime("us", "UTC")},
    )


def told(*labels: tuple[str, str, int]) -> pl.DataFrame:
    """Labels by id, and the hour of the 9th of January at which each was told."""
    return pl.DataFrame(
        [
            {"prediction_id": name, "label": label, "value": None, "received_at": january(9, hour)}
            for name, label, hour in labels
        ],
        schema_overrides={"value": pl.Float64, "received_at": pl.Datetime("us", "UTC")},
    )


def filled(answered: pl.DataFrame, labels: pl.DataFrame, **changes: Any) -> tuple[list[tuple[Any, ...]], int]:
    product = dataclasses.replace(a_product(), **changes)
    known = known_labels(product, RAW.lazy(), NOW)
    found, count, _ = with_reported_labels(product, known, RAW, answered, labels)
    assert found.schema == known.schema
    return found.select("ride", "label", "known_at").rows(), count


def test_what_clients_told_fills_in_where_the_source_says_nothing():
    rows, count = filled(logged(a=2, b=3), told(("a", "true", 4), ("b", "false", 5)))

    assert rows == [(1, 1.0, january(3)), (2, 1.0, january(9, 4)), (3, 0.0, january(9, 5))]
    assert count == 2


def test_the_source_counts_before_a_client_and_the_last_word_of_clients_counts():
    rows, count = filled(logged(a=1, b=2, c=2), told(("a", "false", 4), ("b", "true", 5), ("c", "false", 6)))

    assert rows == [(1, 1.0, january(3)), (2, 0.0, january(9, 6))]
    assert count == 1


def test_a_label_for_a_row_that_is_not_in_the_period_or_for_an_unknown_prediction_is_not_taken():
    rows, count = filled(logged(a=4), told(("a", "true", 4), ("nobody", "true", 5)))

    assert rows == [(1, 1.0, january(3)), (2, None, january(3))]
    assert count == 0


def test_numbers_and_names_of_classes_can_be_told():
    wait = Label("wait", nw.col("waited"), delay=DELAY, unit="min")
    numbers = told(("a", "", 4)).with_columns(label=pl.lit(None, pl.String), value=pl.lit(7.5))
    rows, _ = filled(logged(a=2), numbers, label=wait, task=Task.REGRESSION, metric="mae", gates=())
    assert (2, 7.5, january(9, 4)) in rows

    where = Label("where", nw.when(nw.col("waited") > 0).then(nw.col("origin")), delay=DELAY)
    rows, _ = filled(logged(a=2), told(("a", "JFK", 4)), label=where, task=Task.MULTICLASS, metric="accuracy", gates=())
    assert (2, "JFK", january(9, 4)) in rows


def test_of_several_outcomes_for_a_row_the_one_that_arrived_last_counts_whatever_the_clock_said():
    rows, _ = filled(logged(a=2, b=2), told(("a", "true", 6), ("b", "false", 5)))  # the clock went back between them

    assert rows[1] == (2, 0.0, january(9, 5))


def test_an_id_that_was_given_to_several_rows_tells_nothing_of_any():
    answered = pl.concat([logged(a=2, b=3), logged(a=3)])

    found = with_reported_labels(
        a_product(),
        known_labels(a_product(), RAW.lazy(), NOW),
        RAW,
        answered,
        told(("a", "true", 4), ("b", "true", 5)),
    )

    assert found.labels.select("ride", "label").rows() == [(1, 1.0), (2, None), (3, 1.0)]
    assert (found.taken, found.ambiguous) == (1, 1)


def test_an_id_that_was_asked_twice_for_one_row_tells_of_it():
    rows, count = filled(pl.concat([logged(a=2), logged(a=2)]), told(("a", "true", 4)))

    assert (rows[1][1], count) == (1.0, 1)
