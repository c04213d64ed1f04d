"""Settings out of MLflow runs of other people: what they logged is read, what they did not is asked for."""

import pytest

from mlops_assets.errors import DataError, DeclarationError
from mlops_assets.training.from_run import settings_of_run
from mlops_assets.training.recipe import RECIPE_TAG
from tests.unit.training.builders import a_product

PRODUCT = a_product()


def test_parameters_are_read_as_what_they_look_like():
    params = {
        "estimator": "lightgbm",
        "learning_rate": "0.1",
        "num_leaves": "31",
        "boosting_type": "dart",
        "seed": "None",
    }

    settings = settings_of_run(PRODUCT, "run", params, {"mlflow.runName": "ann tried dart"})

    assert (settings.candidate, settings.estimator) == ("ann tried dart", "lightgbm")
    assert settings.hyperparameters == {"learning_rate": 0.1, "num_leaves": 31, "boosting_type": "dart", "seed": None}


def test_an_autologged_run_names_its_class():
    tags = {"estimator_class": "sklearn.ensemble._forest.ExtraTreesClassifier"}

    settings = settings_of_run(PRODUCT, "run", {"max_depth": "12", "bootstrap": "False", "max_samples": "None"}, tags)

    assert settings.estimator == "sklearn.ensemble._forest:ExtraTreesClassifier"
    assert settings.hyperparameters == {"max_depth": 12, "bootstrap": False}


def test_the_platforms_own_tag_goes_before_what_else_the_run_says():
    own = '{"candidate": "tuned", "estimator": "linear", "hyperparameters": {"C": 0.5}}'

    settings = settings_of_run(PRODUCT, "run", {"estimator": "lightgbm", "partition": "2013"}, {RECIPE_TAG: own})

    assert (settings.candidate, settings.estimator, settings.hyperparameters) == ("tuned", "linear", {"C": 0.5})


def test_a_run_that_does_not_say_what_it_fitted_is_refused_with_what_it_has():
    with pytest.raises(DataError, match=r"run feed does not say which estimator it fitted.*Its parameters: depth, lr"):
        settings_of_run(PRODUCT, "feed", {"lr": "1", "depth": "2"}, {})


def test_settings_an_estimator_does_not_take_are_refused():
    with pytest.raises(DeclarationError, match="does not take"):
        settings_of_run(PRODUCT, "run", {"estimator": "sklearn.ensemble:ExtraTreesClassifier", "trees": "9"}, {})
