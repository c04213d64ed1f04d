"""Labels: only outcomes that are known by now, and null for one that never came."""

import dataclasses
from datetime import timedelta
from typing import Any

import narwhals as nw
import polars as pl

from mlops_assets.data.labels import known_labels
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
