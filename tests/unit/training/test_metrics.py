"""Metrics against values worked by hand and against scikit-learn, and intervals that resample whole days."""

from datetime import date, timedelta
from itertools import chain

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.products.task import Task, metrics_of
from mlops_assets.training.metrics import (
    RESAMPLES,
    day_blocks,
    mean_score,
    paired_gain,
    score,
    score_with_interval,
    scores_of_samples,
)

MONDAY = date(2020, 1, 6)


def numbers(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def spread_over(days: int, rows: int) -> pl.Series:
    """`rows` rows dealt out over `days` days in turn."""
    return pl.Series([MONDAY + timedelta(row % days) for row in range(rows)], dtype=pl.Date)


@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [
        # pairs of a positive and a negative in the right order: .35 > .1, .8 > .1, .8 > .4, not .35 > .4
        ((0, 0, 1, 1), (0.1, 0.4, 0.35, 0.8), 3 / 4),
        # .5 beats .2 and ties with .5 (1/2), .7 beats both, .1 beats none: 3.5 of 6 pairs
        ((0, 0, 1, 1, 1), (0.2, 0.5, 0.5, 0.7, 0.1), 3.5 / 6),
        ((0, 1), (0.3, 0.3), 1 / 2),
        ((1, 0), (0.9, 0.1), 1),
        ((1, 0), (0.1, 0.9), 0),
    ],
)
def test_roc_auc_is_the_share_of_pairs_in_the_right_order_and_a_tie_is_half_a_pair(labels, scores, expected):
    assert score("roc_auc", Task.BINARY, numbers(*labels), numbers(*scores)) == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=60))
def test_roc_auc_is_scikit_learns(rows):
    from sklearn.metrics import roc_auc_score

    labels = numbers(1, 0, *(label for label, _ in rows))
    scores = numbers(3, 2, *(value for _, value in rows)) / 5

    assert score("roc_auc", Task.BINARY, labels, scores) == pytest.approx(roc_auc_score(labels, scores))


def test_roc_auc_of_classes_is_the_unweighted_mean_of_one_class_against_the_rest():
    from sklearn.metrics import roc_auc_score

    draw = np.random.default_rng(2)
    labels, scores = draw.integers(0, 3, 200).astype(float), draw.dirichlet([1, 1, 1], 200)

    assert score("roc_auc", Task.MULTICLASS, labels, scores) == pytest.approx(
        roc_auc_score(labels, scores, multi_class="ovr", average="macro")
    )


def test_roc_auc_of_classes_leaves_out_a_class_that_does_not_occur():
    scores = np.array([[0.8, 0.2, 0.0], [0.3, 0.7, 0.0], [0.1, 0.9, 0.0]])

    assert score("roc_auc", Task.MULTICLASS, numbers(0, 1, 1), scores) == 1


@pytest.mark.parametrize(
    ("metric", "task", "labels", "scores", "expected"),
    [
        ("mae", Task.REGRESSION, (10, 20), (13, 15), 4),  # (3 + 5) / 2
        ("rmse", Task.REGRESSION, (10, 20), (13, 16), np.sqrt(12.5)),  # (9 + 16) / 2
        ("r2", Task.REGRESSION, (10, 20, 30), (10, 20, 20), 0.5),  # 1 - 100 / 200
        ("accuracy", Task.BINARY, (1, 0, 1, 1), (0.5, 0.4, 0.49, 0.9), 3 / 4),  # one half counts as yes
        ("brier", Task.BINARY, (1, 0), (0.9, 0.3), 0.05),  # (0.01 + 0.09) / 2
        ("log_loss", Task.BINARY, (1, 0), (0.5, 0.5), np.log(2)),
        ("log_loss", Task.BINARY, (1, 1), (0.5, 0.5), np.log(2)),  # one class only can be scored
        ("average_precision", Task.BINARY, (1, 0, 1), (0.9, 0.8, 0.7), (1 + 2 / 3) / 2),
    ],
)
def test_metrics_are_what_they_are_by_hand(metric, task, labels, scores, expected):
    assert score(metric, task, numbers(*labels), numbers(*scores)) == pytest.approx(expected)


def test_multiclass_metrics_take_a_probability_per_class():
    scores = np.array([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])

    assert score("accuracy", Task.MULTICLASS, numbers(0, 1, 2, 2), scores) == 3 / 4
    assert score("log_loss", Task.MULTICLASS, numbers(0, 1, 2, 2), scores) == pytest.approx(
        -np.log([0.7, 0.4, 0.25, 0.8]).mean()
    )


def test_float32_probabilities_are_scored_without_a_warning():
    scores = np.random.default_rng(6).dirichlet([1] * 5, 50).astype(np.float32).astype(np.float64)

    expected = -np.log(scores[:, 2]).mean()  # every label is 2

    labels = np.full(50, 2.0)
    assert score("log_loss", Task.MULTICLASS, labels, scores) == pytest.approx(expected, rel=1e-5)


def test_a_class_that_was_never_seen_in_training_had_no_probability():
    labels, scores = numbers(0, 1, np.nan, 1), np.array([[0.7, 0.3], [0.2, 0.8], [0.6, 0.4], [0.4, 0.6]])

    assert score("accuracy", Task.MULTICLASS, labels, scores) == 3 / 4
    # class 0: .7 is above .2, .6 and .4; class 1: .8 and .6 are above .3 and .4; the unseen one: three ties
    assert score("roc_auc", Task.MULTICLASS, labels, scores) == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert score("log_loss", Task.MULTICLASS, labels, scores) > 5  # a sure mistake


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "accuracy"])
def test_no_rows_have_no_score(metric):
    with pytest.raises(NothingToLearnFrom, match=f"{metric} of 0 rows does not exist. Wait for labels"):
        score(metric, Task.BINARY, numbers(), numbers())


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision"])
def test_one_class_has_no_ranking(metric):
    with pytest.raises(NothingToLearnFrom, match=f"{metric} of 2 rows that all have the same label does not exist"):
        score(metric, Task.BINARY, numbers(1, 1), numbers(0.2, 0.7))


def test_a_sample_draws_as_many_whole_days_as_there_are():
    days = pl.Series(["b", "a", "b", "c", "a", "b"])
    of_day = {"a": {1, 4}, "b": {0, 2, 5}, "c": {3}}

    for rows in day_blocks(days, seed=1, resamples=50):
        drawn = [list(of_day[day]) for day in ("a", "b", "c") for _ in range(rows.tolist().count(min(of_day[day])))]
        assert sorted(rows.tolist()) == sorted(chain.from_iterable(drawn))
        assert len(drawn) == 3


@pytest.mark.parametrize(
    ("metric", "task"), [(metric, task) for task in Task for metric in metrics_of(task)], ids=lambda value: str(value)
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(3, 60), ties=st.booleans())
def test_a_sample_scores_what_its_rows_score(metric, task, dtype, seed, rows, ties):
    draw, days = np.random.default_rng(seed), spread_over(3, rows)
    if task is Task.MULTICLASS:
        scores = draw.dirichlet(np.ones(3), rows).astype(dtype)
        labels = draw.integers(0, 3, rows).astype(float)
        labels[0] = np.nan  # of a class that was not seen in training
    else:
        scores = draw.random(rows).round(1 if ties else 9).astype(dtype)
        labels = draw.normal(5, 2, rows) if task is Task.REGRESSION else draw.integers(0, 2, rows).astype(float)

    found = scores_of_samples(metric, task, labels, scores, days, seed, resamples=10)

    for value, taken in zip(found, day_blocks(days, seed, resamples=10), strict=True):
        if np.isnan(value):
            assert len(np.unique(labels[taken])) == 1
        else:
            assert value == pytest.approx(score(metric, task, labels[taken], scores[taken]), rel=1e-5)


def test_samples_are_the_same_for_the_same_seed_and_there_are_none_of_nothing():
    days = spread_over(7, 50)

    first, again, other = (np.concatenate(day_blocks(days, seed)) for seed in (1, 1, 2))

    assert len(day_blocks(days, 1)) == RESAMPLES
    assert first.tolist() == again.tolist() != other.tolist()
    assert day_blocks(pl.Series([], dtype=pl.Date), seed=1) == []


def test_identical_scores_gain_nothing_at_any_confidence():
    draw = np.random.default_rng(3)
    labels, scores = (draw.random(300) < 0.4).astype(float), draw.random(300)

    gain = paired_gain("roc_auc", Task.BINARY, labels, scores, scores, spread_over(9, 300), confidence=0.99)

    assert (gain.value, gain.low, gain.high, gain.rows) == (0, 0, 0, 300)


def test_a_gain_in_error_is_what_the_error_shrank_by():
    labels, old, new = numbers(*[10.0] * 40), numbers(*[14.0] * 40), numbers(*[11.0] * 40)

    gain = paired_gain("mae", Task.REGRESSION, labels, new, old, spread_over(5, 40), confidence=0.95)

    assert (gain.value, gain.low, gain.high) == (3, 3, 3)


def test_a_score_lies_in_its_interval_and_a_wider_confidence_in_a_wider_one():
    draw = np.random.default_rng(4)
    labels = (draw.random(500) < 0.5).astype(float)
    scores, days = labels + draw.normal(0, 1, 500), spread_over(20, 500)

    narrow = score_with_interval("roc_auc", Task.BINARY, labels, scores, days, confidence=0.8)
    wide = score_with_interval("roc_auc", Task.BINARY, labels, scores, days, confidence=0.99)

    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
    assert narrow.value == wide.value == score("roc_auc", Task.BINARY, labels, scores)


def test_days_that_are_alike_leave_no_doubt():
    """Whatever days are drawn, half of the errors are 2 and half are 4."""
    found = score_with_interval(
        "mae", Task.REGRESSION, numbers(*[0.0] * 20), numbers(*[2.0] * 10, *[4.0] * 10), spread_over(5, 20)
    )

    assert (found.value, found.low, found.high) == (3, 3, 3)


def test_samples_with_one_class_only_are_passed_over():
    days = pl.Series([MONDAY, MONDAY, MONDAY + timedelta(1), MONDAY + timedelta(1)])

    found = score_with_interval("roc_auc", Task.BINARY, numbers(1, 0, 1, 1), numbers(0.9, 0.1, 0.8, 0.7), days)

    assert (found.value, found.low, found.high) == (1, 1, 1)


# two folds that a constant of their own is told about; the first has 1 of 4 late, the second 3 of 4
RATES = numbers(1, 0, 0, 0, 1, 1, 1, 0)
CONSTANTS = numbers(*[0.75] * 4, *[0.25] * 4)
FOLDS = np.array([0] * 4 + [1] * 4)


def test_a_rate_that_differs_between_groups_is_neither_skill_nor_its_lack():
    days = pl.Series([MONDAY + timedelta(day) for day in (0, 0, 1, 1, 2, 2, 3, 3)])

    found = score_with_interval("roc_auc", Task.BINARY, RATES, CONSTANTS, days, groups=FOLDS)
    gain = paired_gain("roc_auc", Task.BINARY, RATES, CONSTANTS, CONSTANTS, days, groups=FOLDS, confidence=0.95)

    # pooled: 3 of 16 pairs are tied at .75, 3 at .25, 1 is right and 9 are wrong
    assert score("roc_auc", Task.BINARY, RATES, CONSTANTS) == (1 + 6 / 2) / 16
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)
    assert (gain.value, gain.low, gain.high) == (0, 0, 0)


def test_the_mean_is_over_groups_and_not_over_rows():
    labels, predicted = numbers(0, 0, 0, 0), numbers(1, 1, 1, 5)

    # errors of 1 in the first group of three, of 5 in the second of one
    assert mean_score("mae", Task.REGRESSION, labels, predicted, np.array([0, 0, 0, 1])) == 3
    assert mean_score("mae", Task.REGRESSION, labels, predicted, None) == 2


def test_a_group_that_cannot_be_scored_is_passed_over_and_none_at_all_is_said():
    labels, scores, groups = numbers(0, 1, 1, 1), numbers(0.1, 0.9, 0.2, 0.3), np.array([0, 0, 1, 1])

    assert mean_score("roc_auc", Task.BINARY, labels, scores, groups) == 1
    with pytest.raises(NothingToLearnFrom, match="2 rows that all have the same label"):
        mean_score("roc_auc", Task.BINARY, labels[2:], scores[2:], groups[2:])
