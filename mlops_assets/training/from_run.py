"""Reads the settings of a recipe from an MLflow run of the platform or of a data scientist."""

import ast
from collections.abc import Mapping

import msgspec

from mlops_assets.errors import DataError
from mlops_assets.products.candidates import Candidate, Hyperparameter
from mlops_assets.products.product import ModelProduct
from mlops_assets.records.training import Settings
from mlops_assets.training.candidates import make_estimator
from mlops_assets.training.recipe import RECIPE_TAG

ESTIMATOR = "estimator"
AUTOLOGGED = "estimator_class"  # tag that autologging of mlflow.sklearn and mlflow.lightgbm sets


def settings_of_run(product: ModelProduct, run_id: str, params: Mapping[str, str], tags: Mapping[str, str]) -> Settings:
    """The run's settings, from the platform's tag, a parameter `estimator`, or the class that autologging recorded.

    Parameters are text in MLflow; each is parsed as a number, truth value or null if it looks like one.
    Raises DataError if the run does not name its estimator, DeclarationError if the estimator cannot be made or the product
    does not declare it."""
    if RECIPE_TAG in tags:
        settings = msgspec.json.decode(tags[RECIPE_TAG], type=Settings)
    elif ESTIMATOR in params:
        values = {name: _parsed(value) for name, value in params.items() if name != ESTIMATOR}
        settings = Settings(tags.get("mlflow.runName", run_id), params[ESTIMATOR], values)
    elif AUTOLOGGED in tags:
        module, _, name = tags[AUTOLOGGED].rpartition(".")
        values = {name: parsed for name, value in params.items() if (parsed := _parsed(value)) is not None}
        settings = Settings(tags.get("mlflow.runName", run_id), f"{module}:{name}", values)
    else:
        raise DataError(
            f"MLflow run {run_id} does not say which estimator it fitted: it has neither a parameter '{ESTIMATOR}' "
            f"(a family, or package.module:name) nor the tag '{AUTOLOGGED}' of autologging. "
            f"Its parameters: {', '.join(sorted(params)) or 'none'}."
        )
    candidate = Candidate(settings.candidate, settings.estimator, settings.hyperparameters)
    make_estimator(candidate, product.task, (), product.seed, product.declared_estimators)
    return settings


def _parsed(text: str) -> Hyperparameter:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, int | float | str | bool) or value is None else text
