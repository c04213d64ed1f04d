"""Settings out of an MLflow run: the platform's own, or one of a data scientist."""

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
AUTOLOGGED = "estimator_class"  # tag of a run that mlflow.sklearn or mlflow.lightgbm logged by itself


def settings_of_run(product: ModelProduct, run_id: str, params: Mapping[str, str], tags: Mapping[str, str]) -> Settings:
    """What made the run's estimator: from the platform's tag, a parameter `estimator`, or an autologged class.

    Parameters are text in MLflow; each is read as the number, truth value or null it looks like.
    Raises DataError: the run does not say which estimator it was. DeclarationError: the estimator cannot be made,
    or is none that the product declares."""
    if RECIPE_TAG in tags:
        settings = msgspec.json.decode(tags[RECIPE_TAG], type=Settings)
    elif ESTIMATOR in params:
        given = {name: _read(value) for name, value in params.items() if name != ESTIMATOR}
        settings = Settings(tags.get("mlflow.runName", run_id), params[ESTIMATOR], given)
    elif AUTOLOGGED in tags:
        module, _, name = tags[AUTOLOGGED].rpartition(".")
        given = {name: _read(value) for name, value in params.items() if _read(value) is not None}
        settings = Settings(tags.get("mlflow.runName", run_id), f"{module}:{name}", given)
    else:
        raise DataError(
            f"MLflow run {run_id} does not say which estimator it fitted: it has neither a parameter '{ESTIMATOR}' "
            f"(a family, or package.module:name) nor the tag '{AUTOLOGGED}' of autologging. "
            f"Its parameters: {', '.join(sorted(params)) or 'none'}."
        )
    made = Candidate(settings.candidate, settings.estimator, settings.hyperparameters)
    make_estimator(made, product.task, (), product.seed, product.declared_estimators)
    return settings


def _read(text: str) -> Hyperparameter:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, int | float | str | bool) or value is None else text
