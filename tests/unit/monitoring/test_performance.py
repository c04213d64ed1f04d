"""Rules of the performance reading: what was lost against the test report, and when that may be acted on."""

from datetime import date, timedelta

import msgspec
import numpy as np
import polars as pl
import pytest

from mlops_assets.monitoring.performance import measure_performance, periods_to_pool
from mlops_assets.products.task import Task
from mlops_assets.records.readings import PerformanceReading, PerformanceState

MONDAY = date(2013, 7, 1)


def predictions(labels: list[float | None], scores: list, days: int = 5) -> pl.DataFrame:
    """Rows dealt out over `days` days in turn."""
    return pl.DataFrame(
        {"label": labels, "score": scores, "day": [MONDAY + timedelta(index % days) for index in range(len(labels))]},
        schema_overrides={"label": pl.Float64, "day": pl.Date},
    )


def read(scored: pl.DataFrame, **changed) -> PerformanceReading:
    usual = {"task": Task.REGRESSION, "metric": "mae", "expected": 8.0, "spread_percent": 5.0, "min_rows": 10}
    return measure_performance(scored, **{**usual, **changed})


def test_more_error_than_in_the_test_report_is_a_loss_in_percent_of_it():
    reading = read(predictions([100.0] * 50, [110.0] * 50))  # every prediction is 10 off, 8 were expected

    assert reading.state is PerformanceState.CONCLUSIVE
    assert (reading.value, reading.low, reading.high) == (10, 10, 10)
    assert (reading.loss_percent, reading.loss_low, reading.loss_high) == (25, 25, 25)
    assert reading.is_actionable
    assert (reading.rows, reading.labelled) == (50, 50)


def test_less_error_than_in_the_test_report_is_a_negative_loss_and_does_not_act():
    reading = read(predictions([100.0] * 50, [106.0] * 50))

    assert reading.loss_percent == -25
    assert not reading.is_actionable
    # the interval lies below zero, so it does exclude zero
    assert (
        reading.reason == "mae 6 against 8 in the test report: 25.0 % gained, loss -25.0 to -25.0, so nothing was lost"
    )


def test_less_of_a_metric_of_which_more_is_better_is_a_loss():
    labels, scores = [1.0, 0.0, 1.0, 0.0, 1.0] * 10, [0.9, 0.1, 0.9, 0.1, 0.1] * 10  # 4 of 5 right on each round

    reading = read(predictions(labels, scores, days=2), task=Task.BINARY, metric="accuracy", expected=1.0)

    assert reading.value == pytest.approx(0.8)
    assert reading.loss_percent == pytest.approx(20)
    assert reading.loss_low <= reading.loss_percent <= reading.loss_high


@pytest.mark.parametrize(
    ("spread", "periods", "test_periods", "is_actionable"),
    [
        # the loss is 25; twice spread * sqrt(1/periods + 1/test_periods) has to stay below it
        (8.83, 1, 1, True),  # 2 * 8.83 * 1.41421 = 24.97
        (8.84, 1, 1, False),  # 25.003
        (14.4, 4, 2, True),  # 2 * 14.4 * 0.86603 = 24.94
        (14.5, 4, 2, False),  # 25.11
    ],
)
def test_a_loss_is_actionable_only_above_twice_its_natural_variation(spread, periods, test_periods, is_actionable):
    scored = predictions([100.0] * 50, [110.0] * 50)

    reading = read(scored, spread_percent=spread, periods=periods, test_periods=test_periods)

    assert reading.loss_percent == 25
    assert reading.is_actionable is is_actionable


@pytest.mark.parametrize(
    ("spread", "periods"),
    [
        (2.0, 1),  # 2 * 2 * sqrt(1 + 1/2) = 4.90 is below 5 at once
        (3.0, 6),  # 6 * sqrt(1/6 + 1/2) = 4.899, with 5 periods 5.02
        (5.5, 8),  # the test's own two weeks leave 7.8, so no number of periods can tell
    ],
)
def test_periods_are_pooled_until_a_loss_that_asks_for_retraining_could_be_told(spread, periods):
    assert periods_to_pool(spread, retrain=5, test_periods=2, most=8) == periods


def test_a_loss_whose_interval_reaches_zero_does_not_act():
    errors = [0.0, 0.0, 0.0, 0.0, 50.0] * 10  # one bad day in five: 10 on average, anything from 0 to 30 by days drawn

    reading = read(predictions([100.0] * 50, [100 + error for error in errors]), spread_percent=1.0)

    assert reading.loss_percent == 25
    assert reading.loss_low < 0
    assert not reading.is_actionable
    assert reading.reason.endswith("which does not exclude zero")


def test_labels_that_never_came_are_left_out_and_counted():
    reading = read(predictions([100.0] * 40 + [None] * 10, [110.0] * 50))

    assert (reading.value, reading.rows, reading.labelled) == (10, 50, 40)


@pytest.mark.parametrize("labels", [[], [None] * 50, [float("nan")] * 50])
def test_no_labels_yet_is_a_state_with_a_name(labels):
    reading = read(predictions(labels, [110.0] * len(labels)))

    assert reading.state is PerformanceState.NO_LABELS
    assert (reading.value, reading.loss_percent, reading.is_actionable) == (None, None, False)


@pytest.mark.parametrize(
    ("scored", "changed", "reason"),
    [
        (predictions([100.0] * 9, [110.0] * 9), {}, "9 labelled rows, the policy asks for 10"),
        (predictions([100.0] * 50, [110.0] * 50, days=1), {}, "labels of 1 day, an interval takes 2"),
        (predictions([1.0] * 50, [0.5] * 50), {"task": Task.BINARY, "metric": "roc_auc"}, "all have the same label"),
        (predictions([100.0] * 50, [110.0] * 50), {"expected": 0.0}, "a loss in percent does not exist"),
    ],
)
def test_what_cannot_be_scored_is_inconclusive_and_says_why(scored, changed, reason):
    reading = read(scored, **changed)

    assert reading.state is PerformanceState.INCONCLUSIVE
    assert reason in reading.reason
    assert not reading.is_actionable


@pytest.mark.parametrize("kind", [pl.List(pl.Float64), pl.Array(pl.Float64, 3)])
def test_multiclass_scores_are_lists_of_class_probabilities(kind):
    scores = [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]] * 10
    scored = predictions([0.0, 1.0, 2.0, 2.0] * 10, scores, days=2).cast({"score": kind})

    reading = read(scored, task=Task.MULTICLASS, metric="accuracy", expected=0.75)

    assert reading.value == pytest.approx(0.75)
    assert reading.loss_percent == pytest.approx(0)


def test_a_reading_survives_being_stored_as_json():
    reading = read(predictions([100.0] * 50, list(np.linspace(90, 120, 50))))

    assert msgspec.json.decode(msgspec.json.encode(reading), type=PerformanceReading) == reading
