"""A recipe leaves development with its reason, and the newest is the current one."""

import pytest

from mlops_assets.records.training import Leaderboard, Recipe, Trial
from mlops_assets.state.workspace import ProductState, Workspace
from mlops_assets.training.recipe import current_recipe, promote_best, recipe_key
from tests.unit.training.builders import a_product, january


@pytest.fixture
def state(workspace: Workspace) -> ProductState:
    return workspace.of(a_product())


def a_trial(name: str, value: float, *, is_tied: bool) -> Trial:
    return Trial(
        name, "linear", {"C": 0.5}, value, value - 0.02, value + 0.02, 0.75 - value, 0, 0, is_tied, 0.1, 2.0, 1_000, 1
    )


def promoted(*trials: Trial, version: int = 1) -> Recipe:
    board = Leaderboard("taxi", "2020-01-09", "roc_auc", ("2020-01-06",), 360, trials, (), "")
    return promote_best(a_product(), board, version, "team:rides", january(9), "run 1")


def test_the_best_candidate_leaves_development_with_its_score_as_the_reason():
    recipe = promoted(a_trial("first", 0.75, is_tied=True), a_trial("second", 0.6, is_tied=False))

    assert recipe.reason == "best roc_auc 0.7500 (0.7300 to 0.7700) of 2 candidates"
    assert (recipe.candidate, recipe.estimator, recipe.hyperparameters) == ("first", "linear", {"C": 0.5})
    assert (recipe.product, recipe.by, recipe.promoted_at, recipe.mlflow_run_id) == (
        *("taxi", "team:rides"),
        *(january(9), "run 1"),
    )


def test_the_reason_names_those_that_cannot_be_told_apart_from_the_best():
    recipe = promoted(
        a_trial("first", 0.75, is_tied=True),
        a_trial("second", 0.74, is_tied=True),
        a_trial("third", 0.6, is_tied=False),
        a_trial("fourth", 0.73, is_tied=True),
    )

    assert recipe.reason.endswith("of 4 candidates; tied with it: second, fourth")


def test_a_recipe_becomes_the_candidate_it_was():
    candidate = promoted(a_trial("first", 0.75, is_tied=True)).as_candidate()

    assert (candidate.name, candidate.estimator, dict(candidate.hyperparameters)) == ("first", "linear", {"C": 0.5})


def test_before_the_first_recipe_there_is_none(state):
    assert current_recipe(state) is None


def test_the_current_recipe_is_the_newest_also_after_the_tenth(state):
    for version in (2, 10, 9):
        recipe = promoted(a_trial("first", 0.75, is_tied=True), version=version)
        state.records.save(recipe_key(version), recipe)

    assert current_recipe(state) == promoted(a_trial("first", 0.75, is_tied=True), version=10)
