"""Metrics against values worked by hand and against scikit-learn, and intervals that resample whole days."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.products.task import Task, metrics_of
from mlops_assets.training.bootstrap import (
    RESAMPLES,
    day_codes,
    draw_days,
    paired_gain,
    score_with_interval,
    scores_of_samples,
)
from mlops_assets.training.metrics import mean_score, score

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
    with pytest.raises(NothingToLearnFrom, match=f"{metric} cannot be computed on 0 rows. Wait for labels"):
        score(metric, Task.BINARY, numbers(), numbers())


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision", "r2"])
def test_one_class_has_no_ranking(metric):
    with pytest.raises(NothingToLearnFrom, match=f"{metric} cannot be computed on 2 rows that all have the same label"):
        score(metric, Task.BINARY, numbers(1, 1), numbers(0.2, 0.7))


def by_scikit_learn(metric: str, task: Task, labels: np.ndarray, scores: np.ndarray) -> float:
    """The same metric, by another program. A class that is NaN among the labels is one more, of probability 0."""
    if task is Task.MULTICLASS:
        labels = np.where(np.isnan(labels), scores.shape[1], labels)
        scores = np.column_stack([scores, np.zeros(len(scores))]).astype(np.float64)
    classes = range(scores.shape[1]) if task is Task.MULTICLASS else [0, 1]
    answered = scores.argmax(axis=1) if task is Task.MULTICLASS else scores >= 0.5
    if metric == "roc_auc":
        columns = scores.T if task is Task.MULTICLASS else [1 - scores, scores]
        present = np.unique(labels).astype(int) if task is Task.MULTICLASS else [1]
        return float(np.mean([sk.roc_auc_score(labels == code, columns[code]) for code in present]))
    return {
        "average_precision": lambda: sk.average_precision_score(labels, scores),
        "brier": lambda: sk.brier_score_loss(labels, scores),
        "accuracy": lambda: sk.accuracy_score(labels, answered),
        "log_loss": lambda: sk.log_loss(
            labels, scores / scores.sum(axis=1, keepdims=True) if scores.ndim > 1 else scores, labels=classes
        ),
        "mae": lambda: sk.mean_absolute_error(labels, scores),
        "rmse": lambda: sk.root_mean_squared_error(labels, scores),
        "r2": lambda: sk.r2_score(labels, scores),
    }[metric]()


def test_a_sample_draws_as_many_whole_days_as_there_are():
    for first, second in draw_days([3, 5], seed=1, resamples=50):
        assert (len(first), first.sum(), len(second), second.sum()) == (3, 3, 5, 5)


def test_days_are_numbered_from_the_oldest():
    assert day_codes(pl.Series(["b", "a", "b", "c", "a", "b"])).tolist() == [1, 0, 1, 2, 0, 1]


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

    rows_of = [np.repeat(np.arange(rows), drawn[day_codes(days)].astype(int)) for (drawn,) in draw_days([3], seed, 10)]
    for value, taken in zip(found, rows_of, strict=True):
        if np.isnan(value):
            assert len(np.unique(labels[taken])) == 1
        else:
            assert value == pytest.approx(by_scikit_learn(metric, task, labels[taken], scores[taken]), rel=1e-5)


def test_samples_are_the_same_for_the_same_seed_and_there_are_none_of_nothing():
    days, values = spread_over(7, 50), np.linspace(0, 1, 50)

    first, again, other = (
        scores_of_samples("mae", Task.REGRESSION, values, values**2, days, seed) for seed in (1, 1, 2)
    )

    assert len(first) == RESAMPLES
    assert first.tolist() == again.tolist() != other.tolist()
    nothing = np.empty(0)
    assert len(scores_of_samples("mae", Task.REGRESSION, nothing, nothing, pl.Series([], dtype=pl.Date))) == 0


def test_identical_scores_gain_nothing_at_any_confidence():
    draw = np.random.default_rng(3)
    labels, scores = (draw.random(300) < 0.4).astype(float), draw.random(300)

    gain = paired_gain("roc_auc", Task.BINARY, labels, scores, scores, spread_over(9, 300), confidence=0.99)

    assert (gain.value, gain.low, gain.high, gain.rows) == (0, 0, 0, 300)


def test_a_gain_in_error_is_what_the_error_shrank_by():
    labels, old, new = numbers(*[10.0] * 40), numbers(*[14.0] * 40), numbers(*[11.0] * 40)

    gain = paired_gain("mae", Task.REGRESSION, labels, new, old, spread_over(5, 40), confidence=0.95)

    assert (gain.value, gain.low, gain.high) == (3, 3, 3)


@pytest.mark.parametrize(
    ("days", "wider"), [(5, 2.1318 / 1.6449 * (5 / 4) ** 0.5), (12, 1.7959 / 1.6449 * (12 / 11) ** 0.5)]
)
def test_an_interval_of_few_days_is_widened_by_students_t(days, wider):
    """Student's t for 4 and 11 degrees of freedom against the normal quantile, at 95 % to one side."""
    draw = np.random.default_rng(4)
    labels, old, new = (draw.normal(0, 1, 600) for _ in range(3))
    asked = {"confidence": 0.9}

    plain = paired_gain("mae", Task.REGRESSION, labels, new, old, spread_over(days, 600), **asked)
    few = paired_gain("mae", Task.REGRESSION, labels, new, old, spread_over(days, 600), few_days=True, **asked)

    assert few.value == plain.value
    assert few.value - few.low == pytest.approx(wider * (plain.value - plain.low), rel=1e-3)
    assert few.high - few.value == pytest.approx(wider * (plain.high - plain.value), rel=1e-3)


def test_of_few_days_no_more_lower_bounds_lie_above_the_truth_than_are_allowed():
    draw = np.random.default_rng(8)
    days = spread_over(5, 20)
    above = {False: 0, True: 0}
    for _ in range(200):
        gain_of_day = draw.normal(0, 1, 5)  # nothing is gained on average
        new, old = numbers(*np.tile(10 - gain_of_day, 4)), np.full(20, 10.0)
        for few_days in above:
            gain = paired_gain("mae", Task.REGRESSION, np.zeros(20), new, old, days, confidence=0.9, few_days=few_days)
            above[few_days] += gain.low > 0

    # 10 of 200 are allowed; more than 19 come in 3 of 1,000 cases. Percentiles alone give about 20
    assert above[True] <= 19
    assert above[True] < above[False]


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
