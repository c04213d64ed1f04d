"""The experiment: candidates on the same folds, differences that are noise are named so, the test window is not touched."""

import dataclasses
import doctest

import polars as pl
import pytest

from mlops_assets.data.labels import LABEL
from mlops_assets.errors import NothingToLearnFrom
from mlops_assets.products.candidates import Candidate, linear
from mlops_assets.records.training import Leaderboard
from mlops_assets.training import search
from mlops_assets.training.search import run_experiment, validation_folds
from mlops_assets.training.split import PERIOD, SPLIT, TEST
from tests.unit.training.builders import a_multiclass, a_product, a_regression, a_training_set

BLIND = Candidate("blind", "tests.unit.training.builders:always_the_same")
TREE = Candidate("tree", "tests.unit.training.builders:shallow_tree", {"depth": 2})


def without_seconds(board: Leaderboard) -> list:
    return [(trial.candidate, trial.score, trial.low, trial.high, trial.behind_best) for trial in board.trials]


@pytest.fixture(scope="module")
def board() -> Leaderboard:
    product = a_product(candidates=(BLIND, linear(C=0.5), TREE))
    return run_experiment(product, "2020-01-09", a_training_set(product))


def test_the_best_candidate_comes_first_and_is_behind_nobody(board):
    assert board.best.candidate == "linear"
    assert (board.best.behind_best, board.best.behind_low, board.best.behind_high) == (0, 0, 0)
    assert [trial.score for trial in board.trials] == sorted((trial.score for trial in board.trials), reverse=True)


def test_a_candidate_that_learned_nothing_is_told_apart_from_the_best(board):
    blind = next(trial for trial in board.trials if trial.candidate == "blind")

    assert blind.score == 0.5  # every pair is a tie
    assert blind.behind_best == pytest.approx(board.best.score - 0.5)
    assert not blind.is_tied_with_best
    assert blind.behind_low > 0


def test_the_leaderboard_says_what_was_searched(board):
    assert (board.product, board.as_of, board.metric) == ("taxi", "2020-01-09", "roc_auc")
    assert board.folds == ("2020-01-04", "2020-01-05", "2020-01-06")  # the last half of six days
    assert board.rows == 6 * 60
    assert {trial.candidate: trial.hyperparameters for trial in board.trials}["linear"] == {"C": 0.5}
    assert all(trial.fit_seconds >= 0 and trial.microseconds_per_row > 0 for trial in board.trials)


def test_two_candidates_that_are_the_same_are_tied():
    product = a_product(candidates=(linear("first"), linear("second")))

    board = run_experiment(product, "2020-01-09", a_training_set(product))

    assert [trial.is_tied_with_best for trial in board.trials] == [True, True]


def test_the_test_window_decides_nothing():
    product = a_product(candidates=(linear(), TREE))
    rows = a_training_set(product)
    other = rows.with_columns(pl.when(pl.col(SPLIT) == TEST).then(1 - pl.col(LABEL)).otherwise(LABEL).alias(LABEL))

    first, second = (run_experiment(product, "2020-01-09", table) for table in (rows, other))

    assert without_seconds(first) == without_seconds(second)


def test_a_metric_of_which_less_is_better_puts_the_smallest_first():
    product = a_regression(candidates=(BLIND, linear()))

    board = run_experiment(product, "2020-01-09", a_training_set(product))

    assert [trial.candidate for trial in board.trials] == ["linear", "blind"]
    assert board.trials[0].score < board.trials[1].score
    assert board.trials[1].behind_best == pytest.approx(board.trials[1].score - board.trials[0].score)


def test_classes_can_be_searched_too():
    product = a_multiclass(candidates=(linear(), TREE))

    board = run_experiment(product, "2020-01-09", a_training_set(product))

    assert board.best.score > 0.8


def test_a_class_that_first_appears_in_a_fold_is_one_the_model_gave_no_probability():
    product = a_multiclass(candidates=(linear(),), metric="accuracy")
    rows = a_training_set(product)
    every_tenth = pl.int_range(pl.len()) % 10 == 0
    late_class = rows.with_columns(
        pl.when((pl.col(PERIOD) >= "2020-01-05") & every_tenth).then(pl.lit("awful")).otherwise(LABEL).alias(LABEL)
    )

    usual, board = (run_experiment(product, "2020-01-09", table).best.score for table in (rows, late_class))

    # of 180 rows in three folds, 12 are of the new class, and only the last fold was fitted on a few of them
    assert usual - 12 / 180 - 0.01 <= board <= usual


def test_every_candidate_is_told_of_once():
    product = a_product(candidates=(linear(), BLIND))
    told: list[str] = []

    run_experiment(product, "2020-01-09", a_training_set(product), told.append)

    assert [line.rpartition(";")[0] for line in told] == [
        f"trial 1 of 2, linear: roc_auc {told[0].split()[6].rstrip(';')}",
        "trial 2 of 2, blind: roc_auc 0.5000",
    ]


def test_folds_are_the_last_half_of_the_periods_oldest_first():
    assert validation_folds(list("abcdefgh")) == [["e", "f"], ["g"], ["h"]]
    assert doctest.testmod(search).failed == 0


def test_too_few_periods_for_the_folds_are_nothing_to_learn_from():
    product = dataclasses.replace(a_product())

    with pytest.raises(NothingToLearnFrom, match="5 periods to fit are too few for 3 validation folds: 6 are needed"):
        run_experiment(product, "2020-01-09", a_training_set(product, fit_days=5))
