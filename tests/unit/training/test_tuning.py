"""The search: what is declared first and in full, then others within the budget; one that was killed goes on."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_assets.errors import DeclarationError, StoreError
from mlops_assets.products.candidates import Candidate, dummy, forest, linear, own
from mlops_assets.products.search import OneOf, Real, Search, Whole
from mlops_assets.records.training import Leaderboard
from mlops_assets.state.trials import Trials
from mlops_assets.training.fit import fit
from mlops_assets.training.search import run_experiment
from tests.unit.training.builders import a_product, a_regression, a_training_set

TREE = Candidate("tree", "tests.unit.training.builders:shallow_tree", {"depth": 1}, {"depth": Whole(1, 6)})


def searched(
    product, told: Callable[[str], None] = lambda _: None, folder: Path | None = None, database: str = ""
) -> Leaderboard:
    """folder: of the state and of this machine's journals. database: Optuna's storage instead of a journal."""
    kept = None if folder is None else Trials("taxi", folder / "journals", database)
    return run_experiment(product, "2020-01-09", a_training_set(product), told, trials=kept)


def tried(board: Leaderboard) -> list[tuple]:
    return [(item.candidate, item.hyperparameters, item.score, item.folds) for item in board.searched]


def test_every_candidate_is_tried_as_declared_before_anything_else():
    board = searched(a_product(candidates=(dummy(), TREE, linear(C=0.5)), search=Search(trials=3)))

    assert [(item.candidate, item.hyperparameters) for item in board.searched[:3]] == [
        ("dummy", {}),
        ("tree", {"depth": 1}),
        ("linear", {"C": 0.5}),
    ]
    assert [item.folds for item in board.searched[:3]] == [3, 3, 3]
    assert len(board.searched) == 6
    assert board.ended_by == "3 trials"


def test_a_better_setting_that_was_found_stands_on_the_leaderboard():
    board = searched(a_product(candidates=(TREE,), search=Search(trials=6)))

    (tree,) = board.trials
    assert tree.hyperparameters["depth"] in range(2, 7)
    assert tree.score == max(item.score for item in board.searched if item.score is not None)
    assert tree.score > (board.searched[0].score or 1)
    assert tree.tried == 7


def test_a_search_of_a_metric_of_which_less_is_better_looks_for_less():
    board = searched(a_regression(candidates=(TREE,), search=Search(trials=5)))

    assert board.best.score == min(item.score for item in board.searched if item.score is not None)
    assert board.best.score > 0


def test_a_setting_below_the_median_is_left_before_the_last_fold():
    hopeless = {"C": Real(1e-9, 2e-9)}
    board = searched(
        a_product(candidates=(TREE, Candidate("linear", "linear", {}, hopeless)), search=Search(trials=12))
    )

    left = [item for item in board.searched if item.score is None]
    assert left
    assert all(item.folds < 3 for item in left)


def test_the_same_search_twice_is_the_same():
    product = a_product(candidates=(TREE, linear()), search=Search(trials=4))

    assert tried(searched(product)) == tried(searched(product))


def test_no_seconds_left_try_what_is_declared_and_no_more():
    board = searched(a_product(candidates=(dummy(), TREE), search=Search(trials=50, seconds=1e-9)))

    assert [item.candidate for item in board.searched] == ["dummy", "tree"]
    assert board.ended_by == "1e-09 seconds"


def test_without_a_range_there_is_nothing_else_to_try():
    fixed = Candidate("linear", "linear", {"C": 0.5}, {})

    board = searched(a_product(candidates=(fixed, dummy()), search=Search(trials=9)))

    assert (len(board.searched), board.ended_by) == (2, "the declared settings")


@pytest.mark.parametrize("is_kept", [False, True])
def test_the_best_setting_is_weighed_as_it_was_fitted_and_not_fitted_again(is_kept, tmp_path: Path, monkeypatch):
    fits: list[str] = []

    def counted(product, candidate, rows):
        fits.append(candidate.name)
        return fit(product, candidate, rows)

    monkeypatch.setattr("mlops_assets.training.folds.fit", counted)
    board = searched(
        a_product(candidates=(TREE, linear()), search=Search(trials=3)), folder=tmp_path if is_kept else None
    )

    assert len(fits) == sum(item.folds for item in board.searched)
    assert all(trial.bundle_bytes for trial in board.trials)


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


def test_a_search_that_was_killed_goes_on_with_what_it_kept(tmp_path: Path):
    product = a_product(candidates=(TREE, linear()), search=Search(trials=3))

    def until_the_third(line: str) -> None:
        if line.startswith("trial 3"):
            raise Killed

    with pytest.raises(Killed):
        searched(product, until_the_third, tmp_path)
    told: list[str] = []
    board = searched(product, told.append, tmp_path)

    assert told[0] == "continuing after 3 stored trials"
    assert [line.partition(",")[0] for line in told[1:]] == ["trial 4 of 5", "trial 5 of 5"]
    assert len(board.searched) == 5
    again = searched(product, told.append, tmp_path)
    assert tried(again) == tried(board)
    assert [trial.score for trial in again.trials] == [trial.score for trial in board.trials]


def test_a_search_that_was_killed_in_its_first_trial_tries_every_declared_candidate_once(tmp_path: Path):
    product = a_product(candidates=(TREE, linear()))

    def at_the_first(line: str) -> None:
        raise Killed

    with pytest.raises(Killed):
        searched(product, at_the_first, tmp_path)
    board = searched(product, folder=tmp_path)

    assert [item.candidate for item in board.searched] == ["tree", "linear"]


def test_another_machine_goes_on_with_a_search_whose_trials_lie_in_a_database(tmp_path: Path):
    product = a_product(candidates=(TREE, linear()), search=Search(trials=1))
    database = f"sqlite:///{tmp_path / 'optuna.sqlite'}"

    def at_the_second(line: str) -> None:
        if line.startswith("trial 2"):
            raise Killed

    with pytest.raises(Killed):
        searched(product, at_the_second, tmp_path, database)
    shutil.rmtree(tmp_path / "journals", ignore_errors=True)  # which another machine has not
    told: list[str] = []
    searched(product, told.append, tmp_path, database)

    assert told[0] == "continuing after 2 stored trials"


def test_a_database_of_trials_that_cannot_be_reached_is_named_without_its_password(tmp_path: Path):
    database = "postgresql+psycopg://me:secret@127.0.0.1:1/trials"

    with pytest.raises(StoreError, match=r"Optuna's storage at .* cannot be used") as caught:
        searched(a_product(candidates=(TREE,)), folder=tmp_path, database=database)

    assert "secret" not in str(caught.value)


def test_another_question_begins_anew(tmp_path: Path):
    first = searched(a_product(candidates=(TREE,), search=Search(trials=1)), folder=tmp_path)
    told: list[str] = []

    other = searched(a_product(candidates=(TREE, dummy()), search=Search(trials=1)), told.append, tmp_path)

    assert not told[0].startswith("going on")
    assert (len(first.searched), len(other.searched)) == (2, 3)


def test_the_best_is_one_that_can_be_served():
    blind = Candidate("blind", "tests.unit.training.builders:always_the_same")
    sizes = {trial.candidate: trial.bundle_bytes for trial in searched(a_product(candidates=(blind, dummy()))).trials}

    board = searched(a_product(candidates=(blind, dummy())))

    assert sizes["blind"] is None
    assert (sizes["dummy"] or 0) > 100
    assert board.best.candidate == "dummy"


def test_a_class_the_user_names_is_a_candidate_that_takes_nulls():
    board = searched(
        a_product(candidates=(own("sklearn.ensemble:ExtraTreesClassifier", n_estimators=5), forest(n_estimators=5)))
    )

    assert {trial.candidate for trial in board.trials} == {"ExtraTreesClassifier", "forest"}
    assert all(trial.bundle_bytes is not None and trial.score > 0.6 for trial in board.trials)


def test_hyperparameters_an_estimator_does_not_take_are_named():
    wrong = own("sklearn.ensemble:ExtraTreesClassifier", trees=5)

    with pytest.raises(DeclarationError, match=r"'ExtraTreesClassifier'.*does not take \{'trees': 5\}"):
        searched(a_product(candidates=(wrong,)))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Search(trials=-1),
        lambda: Search(seconds=0),
        lambda: Whole(5, 5),
        lambda: Real(0, 1, log=True),
        lambda: OneOf(()),
    ],
    ids=["trials", "seconds", "empty range", "logarithm of nothing", "no options"],
)
def test_a_search_that_cannot_be_is_refused(wrong):
    with pytest.raises(DeclarationError, match="search: "):
        wrong()
